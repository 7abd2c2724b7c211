"""`make bench-tables ARGS=--peers`: laked, Trino's `optimize` and Spark's `rewrite_data_files` on the same files.

PyIceberg writes a table of CGM readings (8 columns, random ids, in order of arrival) by country, in small files of zstd at
level 3; each rewrite gets a table of its own that is registered with those very files, so all read the same bytes. All
may use both cores, target 512 MiB a file, and write zstd at level 3 (Trino's codec has no level, and is said to be that). laked is `lakectl
compact` beside the daemon, its CPU and memory those of that process from start to end. Trino and Spark run twice, on two
tables: the first time their code is being compiled, the second time it is warm. Their memory is what the JVM holds at
most meanwhile, with a heap of 4 GiB. CPU of the daemon, which takes everybody's commits, is left out.

  --rows N      rows, at most what the sample has: 9,667,990
  --files N     about so many files
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "readers"))

import daemon  # noqa: E402
import process  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
import spark  # noqa: E402
import trino  # noqa: E402
from peer import ARROW, SCHEMA  # noqa: E402
from pyiceberg.catalog import load_catalog  # noqa: E402
from pyiceberg.partitioning import PartitionField, PartitionSpec  # noqa: E402
from pyiceberg.transforms import IdentityTransform  # noqa: E402

TARGET = 512 << 20
HEAP = 4096
PROPERTIES = {
    "write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "3",
    "write.target-file-size-bytes": str(TARGET),
}
SPEC = PartitionSpec(PartitionField(6, 1000, IdentityTransform(), "country"))
TABLES = ["laked", "laked_again", "trino", "trino_again", "spark", "spark_again"]


def fill(catalog, rows, files):
    """A table of the sample's rows, and others that are registered with its files."""
    path, _ = daemon.sample("arrival.parquet", 5000, "--order", "arrival", "--ids", "random")
    source = pyarrow.parquet.read_table(path).cast(ARROW).slice(0, rows)
    catalog.create_namespace("peers")
    table = catalog.create_table(("peers", "source"), SCHEMA, partition_spec=SPEC, properties=PROPERTIES)
    appends = max(files // len(source["country"].unique()), 2)
    step = -(-len(source) // appends)
    for begin in range(0, len(source), step):
        table.append(source.slice(begin, step))
    for name in TABLES:
        catalog.register_table(("peers", name), table.metadata_location)
    return len(source)


def amount(catalog, name):
    """Files, rows, bytes."""
    summary = catalog.load_table(("peers", name)).current_snapshot().summary
    return tuple(int(summary[f"total-{what}"]) for what in ("data-files", "records", "files-size"))


class Table:
    """Rows of the report, each checked: nothing lost, files fewer."""

    def __init__(self, catalog):
        self.catalog = catalog
        print("| who | files | rows/s | rows/CPU-s | input MB/CPU-s | time | CPU | peak memory |\n|" + "---|" * 8, flush=True)

    def measure(self, who, name, work):
        files, rows, size = amount(self.catalog, name)
        used = work()
        after, left, _ = amount(self.catalog, name)
        assert left == rows and after < files, f"{who}: {files} files of {rows} rows became {after} of {left}"
        wall, cpu = used["wall_s"], used["cpu_s"]
        print(
            f"| {who} | {files} to {after} | {rows / wall / 1e6:.2f} M | {rows / cpu / 1e6:.2f} M | {size / cpu / 1e6:.0f} "
            f"| {wall:.1f} s | {cpu:.1f} s | {used['peak_bytes'] / 2**20:.0f} MiB |", flush=True,
        )


def of_process(pid, work):
    used = process.Usage(pid)
    work()
    return used.stop()


def by_lakectl(url, name):
    """Its CPU is what the kernel says when it has ended. Of memory the kernel counts what this process held when it started
    the other, so that is looked at while it runs."""
    begun = time.monotonic()
    command = [str(daemon.BINARIES / "lakectl"), "--url", url, "compact", f"peers.{name}"]
    ended, peak = 0, 0
    with tempfile.TemporaryFile() as said:
        actions = [(os.POSIX_SPAWN_DUP2, said.fileno(), 1), (os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        while not ended:
            peak = max(peak, process.peak(pid))
            time.sleep(0.01)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
        said.seek(0)
        assert status == 0, said.read().decode()
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall_s": time.monotonic() - begun, "cpu_s": cpu, "peak_bytes": peak}


def by_trino(url, folder, table):
    with trino.started(url, folder, heap=HEAP) as (port, pid):
        for who, name in (("Trino 476 `optimize`, first", "trino"), ("Trino 476 `optimize`, warm", "trino_again")):
            sql = f"ALTER TABLE lake.peers.{name} EXECUTE optimize(file_size_threshold => '512MB')"
            table.measure(who, name, lambda: of_process(pid, lambda: trino.query(port, sql, 900)))


def program(pid):
    """What a process runs; nothing if it has ended: Spark is started by scripts that come and go."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except FileNotFoundError:
        return None


def by_spark(url, folder, table):
    before = set(process.tree(os.getpid()))
    session = spark.session(url, folder, memory=f"{HEAP}m")
    (jvm,) = {pid for pid in process.tree(os.getpid()) if pid not in before and program(pid) == "java"}
    try:
        for who, name in (("Spark 4.0 `rewrite_data_files`, first", "spark"), ("Spark 4.0 `rewrite_data_files`, warm", "spark_again")):
            sql = f"CALL lake.system.rewrite_data_files(table => 'peers.{name}', options => map('min-input-files', '2', 'max-concurrent-file-group-rewrites', '2'))"
            table.measure(who, name, lambda: of_process(jvm, lambda: session.sql(sql).collect()))
    finally:
        session.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=9_667_990)
    parser.add_argument("--files", type=int, default=200)
    args = parser.parse_args()
    with daemon.Daemon() as at, tempfile.TemporaryDirectory(dir=daemon.WORK) as folder:
        catalog = load_catalog("lake", type="rest", uri=at.url)
        fill(catalog, args.rows, args.files)
        table = Table(catalog)
        for who, name in (("laked", "laked"), ("laked, again", "laked_again")):
            table.measure(f"{who}, `lakectl compact`", name, lambda: by_lakectl(at.url, name))
        by_trino(at.url, pathlib.Path(folder), table)
        by_spark(at.url, pathlib.Path(folder), table)
    print("\nPublished: RisingWave's compactor 33 MB/s a vCPU with zstd, Spark 6, on their machines and data.")


if __name__ == "__main__":
    main()
