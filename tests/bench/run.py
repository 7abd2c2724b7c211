"""`make bench`: laked, PyIceberg and DuckDB's Iceberg insert, one after another on this machine, on the same files.

laked checks the whole contract and syncs every byte; the peers check nothing. Rows per CPU-second count user and system
time of the process that writes, its children included; the client that feeds laked is not counted, as the file the
peers read costs nothing either. Prints a table, and keeps it, line by line, in tests/bench/results.

  --users N        5,000 make 9,667,990 rows, a thousand take a fifth of the time
  --only A,B       of: files, bodies, singles, visible, commit, snapshots, partitions, peers
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import process  # noqa: F401  (fails early where there is no /proc)
from daemon import BINARIES, ROOT, WORK, Daemon, sample

RESULTS = pathlib.Path(__file__).parent / "results"
LOAD = ROOT / "target" / "release" / "examples" / "load"
ORDERS = {"sorted": [], "arrival": ["--order", "arrival", "--ids", "random"]}
FORMS = {"sorted": ["parquet", "arrow", "csv", "ndjson"], "arrival": ["parquet", "csv", "ndjson"]}
TABLE = [["work", "who", "figure", "time", "rate", "peak"], ["---"] * 6]
# ext4 gives no inode away that was freed within five seconds, and looks at each of them again at each new file: what
# thousands of commits in a row freed would be charged to the few that are timed.
REST = 6


def report(work, who, figure, wall=None, rate=None, peak=None):
    cells = [work, who, figure, wall or "", rate or "", peak or ""]
    TABLE.append(cells)
    keep()
    print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, (38, 10, 28, 10, 12, 10))).rstrip(), flush=True)


def report_rows(work, who, rows, used, size):
    report(
        work, who, f"{rows / used['cpu_s'] / 1e6:.2f} M rows/CPU-s", f"{used['wall_s']:.1f} s",
        f"{size / used['wall_s'] / 1e6:.0f} MB/s", f"{used['peak_bytes'] / 2**20:.0f} MiB",
    )


def inputs(args):
    for order, options in ORDERS.items():
        for form in FORMS[order]:
            path, rows = sample(f"{order}.{form}", args.users, *options)
            yield f"{order}, {form}", path, rows


def files(args):
    for work, path, rows in inputs(args):
        with Daemon() as daemon:
            usage = daemon.usage()
            daemon.drop(path)
            daemon.await_rows(rows)
            used = usage.stop()
            assert daemon.rows("cgm_readings__rejected") == 0, "the sample is sound"
            report_rows(work, "laked", rows, used, path.stat().st_size)


def peers(args):
    for work, path, rows in inputs(args):
        for peer in ("pyiceberg", "duckdb"):
            if peer == "duckdb" and path.suffix == ".arrow":
                continue
            with Daemon() as daemon, tempfile.TemporaryDirectory(dir=WORK) as warehouse:
                script = pathlib.Path(__file__).parent / "peer.py"
                command = [sys.executable, script, peer, path, warehouse, daemon.url]
                ended = subprocess.run(command, capture_output=True, text=True)
                if ended.returncode != 0:
                    report(work, peer, f"failed: {ended.stderr.strip().splitlines()[-1][:100]}")
                    continue
                used = json.loads(ended.stdout.splitlines()[-1])
                assert used["rows"] == rows, used
                report_rows(work, peer, rows, used, path.stat().st_size)


def load(*arguments, **settings):
    environment = {**os.environ, **{key: str(value) for key, value in settings.items()}}
    command = [LOAD, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def bodies(args):
    path, rows = sample("arrival.ndjson", args.users, *ORDERS["arrival"])
    with Daemon() as daemon:
        usage = daemon.usage()
        load("bodies", daemon.url, path, 10_000, 4)
        daemon.await_rows(rows)
        report_rows("HTTP, bodies of 10,000 NDJSON records", "laked", rows, usage.stop(), path.stat().st_size)


def singles(args):
    with Daemon() as daemon:
        did = load("singles", daemon.url, 64, args.seconds)
        daemon.await_rows(did["answers"])
        report("HTTP, 64 clients, single records", "laked", f"{did['answers'] / did['seconds']:.0f} durable answers/s", peak=f"p99 {did['p99_ms']:.0f} ms")


def visible(args):
    with Daemon(LAKED_COMMIT_AGE="1s") as daemon:
        did = load("visible", daemon.url, 60)
        report("answer to visible, commit age 1 s", "laked", f"median {did['median_ms']:.0f}, p99 {did['p99_ms']:.0f} ms")


def one_commit(daemon, number):
    """Seconds of the commit that one small body needs, as the daemon measured it."""
    record = {
        "reading_id": f"c{number}", "user_id": "u1", "device_id": "d1", "timestamp": "2026-06-27T00:00:00Z",
        "glucose_mg_dl": 100, "country": "TW", "source": "cgm", "trend": "flat",
    }
    before = daemon.stage_seconds("commit")
    daemon.post("/ingest/glucose/cgm_readings?wait=committed", json.dumps(record).encode() + b"\n")
    after = daemon.stage_seconds("commit")
    return (after[0] - before[0]) / max(after[1] - before[1], 1)


def disks():
    """The machine's disk, and the same where each sync takes 3.5 ms longer: a durable write takes 8 ms there."""
    library = WORK / "slow_disk.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, pathlib.Path(__file__).parent / "slow_disk.c", "-ldl"], check=True)
    yield "", {}
    yield ", 8 ms disk", {"LD_PRELOAD": library, "SYNC_DELAY_US": 3500}


def durable_write(disk):
    """Seconds of one: write, fsync, rename, fsync of the folder, of 4 KiB, on the lake's disk."""
    return load("durable", WORK, 1, **disk)["median_ms"] / 1000


def timed_commits(daemon, disk, first, count):
    """Medians in ms of single-record commits, and of a durable write after each."""
    pairs = [(one_commit(daemon, number), durable_write(disk)) for number in range(first, first + count)]
    return [statistics.median(column) * 1000 for column in zip(*pairs)]


def commit(args):
    for name, disk in disks():
        with Daemon(LAKED_COMMIT_AGE="1ms", **disk) as daemon:
            took, durable = timed_commits(daemon, disk, 0, 100)
        peak = f"a durable write: {durable:.1f} ms"
        report(f"a commit, median of 100{name}", "laked", f"{took:.1f} ms", rate=f"{took / durable:.1f} x", peak=peak)


def snapshots(args):
    for name, disk in disks():
        snapshots_on(args, name, disk)


def snapshots_on(args, name, disk):
    with Daemon(LAKED_COMMIT_AGE="1ms", **disk) as daemon:
        for number in range(10):
            one_commit(daemon, number)
        time.sleep(REST)
        few, durable_then = timed_commits(daemon, disk, 10, 31)
        for number in range(41, args.snapshots):
            one_commit(daemon, number)
        time.sleep(REST)
        many, durable_now = timed_commits(daemon, disk, args.snapshots, 31)
    peak = f"at 10: {few:.1f} ms; a durable write {durable_then:.1f} ms then, {durable_now:.1f} ms now"
    report(f"a commit at {args.snapshots} snapshots{name}", "laked", f"{many:.1f} ms", rate=f"{many / few:.2f} x", peak=peak)


def partitions(args):
    """Ten thousand users, a partition each, reporting in turn."""
    with tempfile.TemporaryDirectory(dir=WORK) as schemas:
        contract = (ROOT / "schemas" / "glucose" / "cgm_readings.toml").read_text()
        folder = pathlib.Path(schemas, "glucose")
        folder.mkdir()
        by_user = contract.replace('partition = ["country", "month(timestamp)"]', 'partition = ["user_id"]')
        assert by_user != contract
        (folder / "cgm_readings.toml").write_text(by_user)
        options = ["--days", "0.25", "--gaps", "0", *ORDERS["arrival"]]
        path, rows = sample("partitions.parquet", 10_000, *options)
        with Daemon(schemas=schemas) as daemon:
            usage = daemon.usage()
            daemon.drop(path)
            daemon.await_rows(rows)
            report_rows("10,000 open partitions, Parquet", "laked", rows, usage.stop(), path.stat().st_size)


ALL = [files, bodies, singles, visible, commit, snapshots, partitions, peers]


def keep():
    HELD.write_text("\n".join([HEAD, "", *("| " + " | ".join(cells) + " |" for cells in TABLE)]) + "\n")


def begin(args):
    """Where the results go, under what was measured and where."""
    global HELD, HEAD
    RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    HELD = RESULTS / f"{now:%Y-%m-%d-%H%M}.md"
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    HEAD = f"# {now:%Y-%m-%d %H:%M} UTC, commit {commit.strip()}, {machine}, {args.users} users, parts {args.only}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--only", default=",".join(part.__name__ for part in ALL))
    parser.add_argument("--snapshots", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=10, help="how long single records are posted")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    assert (BINARIES / "laked").exists(), "make build first"
    begin(args)
    wanted = args.only.split(",")
    for part in ALL:
        if part.__name__ in wanted:
            part(args)
    print(f"kept in {HELD.relative_to(ROOT)}")
    shutil.rmtree(WORK / "samples", ignore_errors=True)


if __name__ == "__main__":
    main()
