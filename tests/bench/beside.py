"""`make bench-beside`: how much ingestion keeps while the schedule looks after tables. Prints rows of a Markdown table.

One daemon, and a producer that posts fixed batches by HTTP, one after another, each answered once it is durable: without a
schedule, and with one that compacts, expires and lists anew. The table begins with many small files, so that there is
compaction to do from the first second on. Rows a second until all are in the table, and how long answers took.

  --seconds N      how long each run takes (60)
  --rows N         rows of a batch (10,000)
  --bodies N       batches that are small files at the beginning (100)
  --rounds N       how often both are measured, in turns (3)
"""

import argparse
import itertools
import statistics
import time

import daemon

TABLE = "/ingest/glucose/cgm_readings"
SCHEDULE = {
    "LAKED_MAINTENANCE_TABLES": "contracts",
    "LAKED_MAINTENANCE_COMPACT": "cooled 1s or 20 files",
    "LAKED_MAINTENANCE_EXPIRE": "20 commits",
    "LAKED_MAINTENANCE_MANIFESTS": "100 commits",
}


def batches(rows):
    """Lines of the sample, so many at a time, for ever: made before anything is measured."""
    path, _ = daemon.sample("beside.ndjson", 200, "--order", "arrival", "--ids", "random")
    with open(path, "rb") as sample:
        lines = sample.readlines()
    firsts = range(0, len(lines) - rows + 1, rows)
    return itertools.cycle([b"".join(lines[first : first + rows]) for first in firsts])


def fill(at, args):
    """Many small files: each batch is committed by itself."""
    source = batches(max(args.rows // 10, 1))
    for _ in range(args.bodies):
        at.post(TABLE + "?wait=committed", next(source))


def produce(at, args):
    """Rows a second, and the times of answers in ms."""
    source, answers, rows, before = batches(args.rows), [], 0, at.rows()
    begun = time.monotonic()
    while time.monotonic() - begun < args.seconds:
        body = next(source)
        asked = time.monotonic()
        at.post(TABLE, body)
        answers.append((time.monotonic() - asked) * 1000)
        rows += args.rows
    at.await_rows(before + rows, every=0.05)
    return rows / (time.monotonic() - begun), answers


def counted(at, name):
    """The sum of a counter over its labels."""
    lines = at.get("/metrics").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


def measured(what, settings, args):
    commit = {"LAKED_COMMIT_AGE": "200ms", "LAKED_LOG_LEVEL": "error"}
    with daemon.Daemon(**commit) as at:
        fill(at, args)
        at.restart(settings)
        usage = at.usage()
        rate, answers = produce(at, args)
        used = usage.stop()
        runs = counted(at, "laked_maintenance_runs_total")
        rewritten = counted(at, "laked_maintenance_rows_total")
        waited = counted(at, "laked_maintenance_yielded_seconds")
    if settings and runs == 0:
        raise SystemExit("the schedule did nothing: measure for longer, with --seconds")
    cuts = statistics.quantiles(answers, n=100)
    row(
        what, f"{rate:,.0f}", f"{cuts[49]:.0f} ms", f"{cuts[98]:.0f} ms", f"{max(answers):.0f} ms", f"{used['cpu_s']:.1f} s",
        f"{used['peak_bytes'] / 2**20:.0f} MiB", f"{runs:.0f}, {rewritten:,.0f} rows, waited {waited:.0f} s",
    )
    return rate, cuts[98]


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--bodies", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    row("schedule", "rows/s", "median", "p99", "longest", "CPU", "peak", "runs")
    row(*["---"] * 8)
    found = {"off": [], "on": []}
    for _ in range(args.rounds):
        found["off"].append(measured("off", {}, args))
        found["on"].append(measured("on", SCHEDULE, args))
    (off, slow_off), (on, slow_on) = (map(statistics.median, zip(*found[what])) for what in ("off", "on"))
    print(f"\nIngestion keeps {on / off * 100:.0f} % of its rows a second; the p99 of answers is {slow_on / slow_off:.2f} times as long.")


if __name__ == "__main__":
    main()
