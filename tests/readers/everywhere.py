"""Trino, Spark, PyIceberg and DuckDB through one daemon: `make readers`.

Each engine creates a table, writes, updates, deletes, evolves it, and then every engine reads every table: all must see
the same rows. Spark reads a second time with its scans planned by the daemon. What lakectl says of those tables must be
what Trino's metadata tables say (`agree_trino.py`). Then PyIceberg, DuckDB, Trino and `laked`
write one table at once (`writers.py`), for two minutes. All log in by their standard settings, unless `--open` is given.
"""

import argparse
import contextlib
import datetime
import decimal
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

import agree_trino
import extensions
import overwrites
import pyarrow
import spark
import trino
import writers
from pyiceberg.exceptions import UnauthorizedError
from pyiceberg.expressions import EqualTo
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType, TimestamptzType

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("TEST_BIN_DIR", ROOT / "target" / "release"))
UTC = datetime.timezone.utc
ROWS = 12


def at(id):
    return datetime.datetime(2025, 12, 25, 23, 59, 59, 123456, UTC) + datetime.timedelta(days=id)


def expected():
    """(id, label, amount, microseconds, day, note) after the whole story."""
    rows = []
    for id in range(1, ROWS + 1):
        label = "changed" if id == 3 else None if id == 4 else f"é{id}"
        row = (id, label, f"{id}.50", int(at(id).timestamp() * 1_000_000 + 0.5), str(at(id).date()), None)
        rows += [row] if id != 5 else []
    return [*rows, (99, "late", "0.10", int(at(20).timestamp() * 1_000_000 + 0.5), str(at(20).date()), "noted")]


class Sql:
    """An engine that speaks SQL. Its dialect: type names, literals, partitions, how an instant is read."""

    text, decimal, instant = "VARCHAR", "DECIMAL(9,2)", "TIMESTAMP WITH TIME ZONE"
    columns, rename = "ADD COLUMN", "RENAME COLUMN"

    def create(self, table):
        self.run(
            f"CREATE TABLE {table} (id BIGINT, word {self.text}, amount {self.decimal}, moment {self.instant}, day DATE)"
            f"{self.partitions}"
        )

    def insert(self, table):
        word = lambda id: "NULL" if id == 4 else f"'é{id}'"  # noqa: E731
        rows = [f"({id}, {word(id)}, {self.number(f'{id}.50')}, {self.moment(at(id))}, DATE '{at(id).date()}')" for id in range(1, ROWS + 1)]
        self.run(f"INSERT INTO {table} VALUES {', '.join(rows)}")

    def number(self, text):
        return f"CAST({text} AS DECIMAL(9,2))"

    def moment(self, time):
        return f"TIMESTAMP '{time:%Y-%m-%d %H:%M:%S.%f} UTC'"

    def update(self, table):
        self.run(f"UPDATE {table} SET word = 'changed' WHERE id = 3")

    def delete(self, table):
        self.run(f"DELETE FROM {table} WHERE id = 5")

    def evolve(self, table):
        self.run(f"ALTER TABLE {table} {self.columns} note {self.text}")
        self.run(f"ALTER TABLE {table} {self.rename} word TO label")

    def append(self, table):
        values = f"99, 'late', {self.number('0.10')}, {self.moment(at(20))}, DATE '{at(20).date()}', 'noted'"
        self.run(f"INSERT INTO {table} (id, label, amount, moment, day, note) VALUES ({values})")

    def read(self, table):
        sql = f"SELECT id, label, CAST(amount AS {self.text}), {self.micros}, CAST(day AS {self.text}), note FROM {table} ORDER BY id"
        return [tuple(row) for row in self.run(sql)]


class Trino(Sql):
    name, catalog = "trino", "lake"
    instant, partitions = "TIMESTAMP(6) WITH TIME ZONE", " WITH (partitioning = ARRAY['month(moment)'])"
    micros = "CAST(to_unixtime(date_trunc('second', moment)) AS BIGINT) * 1000000 + CAST(format_datetime(moment, 'SSS') AS BIGINT) * 1000 + 456"

    def __init__(self, port):
        self.run = lambda sql: trino.query(port, sql)


class Spark(Sql):
    name, catalog = "spark", "lake"
    text, instant, partitions = "STRING", "TIMESTAMP", " USING iceberg PARTITIONED BY (months(moment))"
    micros = "unix_micros(moment)"

    def __init__(self, session, catalog="lake", name="spark"):
        self.run = lambda sql: [tuple(row) for row in session.sql(sql).collect()]
        self.catalog, self.name = catalog, name


class DuckDB(Sql):
    name, catalog = "duckdb", "lake"
    partitions, micros = "", "epoch_us(moment)"

    def __init__(self, url, credential):
        self.connection = extensions.connect()
        extensions.attach(self.connection, url, credential)

    def run(self, sql):
        return self.connection.execute(sql).fetchall()

    def moment(self, time):
        return f"TIMESTAMPTZ '{time.isoformat()}'"


class PyIceberg:
    name, catalog = "pyiceberg", None

    def __init__(self, catalog):
        self.of = lambda table: catalog.load_table(table)
        self.catalogue = catalog

    def create(self, table):
        fields = [LongType(), StringType(), DecimalType(9, 2), TimestamptzType(), DateType()]
        names = ["id", "word", "amount", "moment", "day"]
        schema = Schema(*(NestedField(n + 1, name, kind) for n, (name, kind) in enumerate(zip(names, fields))))
        spec = PartitionSpec(PartitionField(4, 1000, MonthTransform(), "moment_month"))
        self.catalogue.create_table(table, schema, partition_spec=spec)

    def rows(self, table, rows):
        schema = self.of(table).schema().as_arrow()
        return pyarrow.Table.from_pylist(rows, schema=schema)

    def row(self, id, word):
        amount = decimal.Decimal(f"{id}.50")
        return {"id": id, "word": word, "amount": amount, "moment": at(id), "day": at(id).date()}

    def insert(self, table):
        rows = [self.row(id, None if id == 4 else f"é{id}") for id in range(1, ROWS + 1)]
        self.of(table).append(self.rows(table, rows))

    def update(self, table):
        self.of(table).overwrite(self.rows(table, [self.row(3, "changed")]), overwrite_filter=EqualTo("id", 3))

    def delete(self, table):
        self.of(table).delete(EqualTo("id", 5))

    def evolve(self, table):
        with self.of(table).update_schema() as change:
            change.add_column("note", StringType())
            change.rename_column("word", "label")

    def append(self, table):
        row = {"id": 99, "label": "late", "amount": decimal.Decimal("0.10"), "moment": at(20), "day": at(20).date(), "note": "noted"}
        self.of(table).append(self.rows(table, [row]))

    def read(self, table):
        rows = self.of(table).scan().to_arrow().sort_by("id").to_pylist()
        micros = lambda time: int(time.timestamp() * 1_000_000 + 0.5)  # noqa: E731
        return [(r["id"], r["label"], str(r["amount"]), micros(r["moment"]), str(r["day"]), r["note"]) for r in rows]


def named(engine, table):
    return f"{engine.catalog}.{table}" if engine.catalog else table


STORY = ("create", "insert", "update", "delete", "evolve", "append")


def tell(engines):
    """Each writer's story, then everybody reads everything. What an engine cannot do another does for it."""
    failed = []
    for engine in engines:
        for step in STORY if engine.name != "planned" else ():
            try:
                getattr(engine, step)(named(engine, f"engines.by_{engine.name}"))
            except Exception as error:  # noqa: BLE001
                failed.append(f"{engine.name} cannot {step}: {type(error).__name__}: {str(error).splitlines()[0][:300]}")
                print(failed[-1], flush=True)
                break
    for writer in [engine for engine in engines if engine.name != "planned"]:
        for reader in engines:
            rows = reader.read(named(reader, f"engines.by_{writer.name}"))
            if rows != expected():
                failed.append(f"{reader.name} reads of {writer.name}'s table: {rows}")
    return failed


@contextlib.contextmanager
def daemon(folder):
    """A daemon of the build under test with the contracts of tests/contracts; gives its address."""
    text = (ROOT / "tests" / "contracts" / "mod.rs").read_text()
    contract = re.search(r'CONTRACT: &str = r#"\n(.*?)"#', text, re.DOTALL)[1]
    (folder / "schemas" / "shop").mkdir(parents=True)
    (folder / "schemas" / "shop" / "orders.toml").write_text(contract)
    url = f"http://127.0.0.1:{trino.free_port()}"
    command = [BINARIES / "laked", "--lake", folder / "lake", "--schemas", folder / "schemas", "--commit-age", "200ms"]
    with open(folder / "laked.log", "w") as log:
        process = subprocess.Popen([*command, "--listen", url.removeprefix("http://")], stderr=log)
        try:
            wait_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def wait_ready(url, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    sys.exit("laked is not ready")


def credential_of(url, role):
    """Makes a token, from which on nobody comes in without one; what clients take as `credential`."""
    command = [BINARIES / "lakectl", "token", "create", "--url", url, "--role", role, "--output", "json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    try:
        writers.catalog(types.SimpleNamespace(url=url, credential=None))
    except UnauthorizedError:
        return f"{told['info']['id']}:{told['token']}"
    sys.exit("the daemon lets in who has no token")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120, help="how long the writers write together")
    parser.add_argument("--open", action="store_true", help="without tokens")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, daemon(pathlib.Path(folder)) as url:
        folder = pathlib.Path(folder)
        credential = None if args.open else credential_of(url, "writer")
        catalog = writers.catalog(types.SimpleNamespace(url=url, credential=credential))
        catalog.create_namespace("engines")
        with trino.running(url, folder, credential) as port:
            session = spark.session(url, folder, credential)
            engines = [
                Trino(port), Spark(session), PyIceberg(catalog), DuckDB(url, credential), Spark(session, "planned", "planned"),
            ]
            failed = tell(engines)
            overwrites.check(session, str(BINARIES / "lakectl"), url, credential and credential.partition(":")[2])
            session.stop()
            token = credential and credential.partition(":")[2]
            written = [f"engines.by_{engine.name}" for engine in engines if engine.name != "planned"]
            for table in written:
                failed += agree_trino.differences(BINARIES / "lakectl", url, token, port, table)
            together = types.SimpleNamespace(url=url, credential=credential, trino=port, commits=0, seconds=args.seconds)
            did, rows, snapshots = writers.run(together)
    if failed:
        sys.exit("\n".join(failed))
    print(f"{', '.join(engine.name for engine in engines)} see the same {len(expected())} rows of each other's tables")
    print(f"lakectl and Trino say the same of the snapshots, refs, files and partitions of {', '.join(written)}")
    each = ", ".join(f"{writer} {batches} commits after {conflicts} conflicts" for writer, (batches, conflicts) in did.items())
    print(f"together in {args.seconds:.0f} s: {each}; {rows} rows in {snapshots} snapshots, none lost, none twice")


if __name__ == "__main__":
    main()
