"""Several engines and `laked` write one table at once; nothing is lost and nothing is there twice.

Each writer is a process that commits batches of rows of its own, again where the table was faster, and keeps count of
what was acknowledged. Afterwards every acknowledged row must be there exactly once, no other may be, and the snapshots
must be one line of ancestors whose counts add up. It ends after so many commits of each writer (`--commits`), or after
so many seconds (`--seconds`). The table is `shop.orders` of `tests/contracts/mod.rs`.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time

import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException

ROWS = 5
"""Rows of a batch."""
TRIES = 1000
"""How often a batch is tried: each try that fails, another writer committed."""
PAUSE = 0.5
"""Seconds between a writer's commits where they are timed: without it the fastest keeps the slow from ever committing."""
SPACE = 1_000_000_000
"""Ids of a writer begin at its number times this."""
AT = datetime.datetime(2026, 1, 15, tzinfo=datetime.timezone.utc)
WRITERS = ("laked", "pyiceberg", "duckdb", "trino")


def ids(writer, batch):
    first = WRITERS.index(writer) * SPACE + batch * ROWS
    return range(first, first + ROWS)


def catalog(args):
    properties = {"credential": args.credential} if args.credential else {}
    return load_catalog("lake", type="rest", uri=args.url, **properties)


class Laked:
    def __init__(self, args):
        self.url = f"{args.url}/ingest/shop/orders?wait=committed"
        self.headers = {"content-type": "application/x-ndjson"}
        if args.credential:
            self.headers["authorization"] = f"Bearer {args.credential.partition(':')[2]}"
        self.session = requests.Session()

    def write(self, batch, numbers):
        rows = [{"id": id, "n": 1, "name": "laked", "price": 1.5, "at": AT.isoformat()} for id in numbers]
        body = "".join(json.dumps(row) + "\n" for row in rows)
        answer = self.session.post(self.url, body, headers=self.headers, timeout=120)
        assert answer.status_code == 200, answer.text


class PyIceberg:
    def __init__(self, args):
        self.catalog = catalog(args)

    def write(self, batch, numbers):
        import decimal

        import pyarrow

        table = self.catalog.load_table("shop.orders")
        row = {"n": 1, "name": "py", "price": decimal.Decimal("1.50"), "at": AT}
        rows = [{"id": id, **row} for id in numbers]
        try:
            table.append(pyarrow.Table.from_pylist(rows, schema=table.schema().as_arrow()))
        except CommitFailedException as error:
            raise Conflict from error


class DuckDB:
    def __init__(self, args):
        import extensions

        self.connection = extensions.connect()
        extensions.attach(self.connection, args.url, args.credential)
        # It writes to a table with a sort order only if told that its files need not be in it; they need not.
        self.connection.execute("SET unsafe_iceberg_ignore_sort_order=true")

    def write(self, batch, numbers):
        import duckdb

        values = ", ".join(f"({id}, 1, 'duck', 1.5, TIMESTAMPTZ '{AT.isoformat()}')" for id in numbers)
        try:
            self.connection.execute(f"INSERT INTO lake.shop.orders (id, n, name, price, \"at\") VALUES {values}")
        except duckdb.Error as error:
            conflict(error, "409", "onflict", "equirement failed")


class Trino:
    def __init__(self, args):
        import trino

        self.query = lambda sql: trino.query(args.trino, sql)

    def write(self, batch, numbers):
        values = ", ".join(f"({id}, 1, 'trino', DECIMAL '1.50', TIMESTAMP '{AT:%Y-%m-%d %H:%M:%S} UTC')" for id in numbers)
        try:
            self.query(f"INSERT INTO lake.shop.orders (id, n, name, price, \"at\") VALUES {values}")
        except RuntimeError as error:
            conflict(error, "Failed to commit", "onflict", "equirement failed")


class Conflict(Exception):
    """Somebody else committed first; nothing of this batch was written."""


def conflict(error, *words):
    if any(word in str(error) for word in words):
        raise Conflict from error
    raise error


def work(args):
    """What a writer's process does; prints how many batches were acknowledged and how many tries failed."""
    writer = {"laked": Laked, "pyiceberg": PyIceberg, "duckdb": DuckDB, "trino": Trino}[args.role](args)
    batch, conflicts, end = 0, 0, time.monotonic() + args.seconds
    while batch < args.commits if args.commits else time.monotonic() < end:
        numbers = ids(args.role, batch)
        for _ in range(TRIES):
            try:
                writer.write(batch, numbers)
                break
            except Conflict:
                conflicts += 1
        else:
            sys.exit(f"{args.role}: no commit in {TRIES} tries")
        batch += 1
        time.sleep(0 if args.commits else PAUSE)
    print(json.dumps([batch, conflicts]))


def check(args, acknowledged):
    table = catalog(args).load_table("shop.orders")
    found = table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist()
    wanted = {id for writer, batches in acknowledged.items() for batch in range(batches) for id in ids(writer, batch)}
    assert len(found) == len(set(found)), f"{len(found) - len(set(found))} rows are there twice"
    lost, strange = wanted - set(found), set(found) - wanted
    assert not lost and not strange, f"{len(lost)} rows are lost, {len(strange)} were never acknowledged"
    line, total = [], 0
    snapshot = table.current_snapshot()
    while snapshot is not None:
        line.append(snapshot.snapshot_id)
        # A compaction, which laked does by itself meanwhile, adds what it deletes.
        figures = snapshot.summary.additional_properties
        total += int(figures.get("added-records", 0)) - int(figures.get("deleted-records", 0))
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
    assert len(line) == len(set(line)) == len(table.snapshots()), "a snapshot is no ancestor of the current one"
    assert total == len(found), f"the snapshots added {total} rows, {len(found)} are there"
    return len(found), len(line)


def run(args):
    """Runs the writers side by side and checks; gives what each did, rows and snapshots."""
    writers = [writer for writer in WRITERS if writer != "trino" or args.trino]
    command = [sys.executable, __file__, args.url, "--commits", str(args.commits), "--seconds", str(args.seconds)]
    command += ["--credential", args.credential] if args.credential else []
    command += ["--trino", str(args.trino)] if args.trino else []
    started = {w: subprocess.Popen([*command, "--role", w], stdout=subprocess.PIPE, text=True) for w in writers}
    did = {}
    for writer, process in started.items():
        said, _ = process.communicate()
        assert process.returncode == 0, f"{writer} ended with {process.returncode}"
        did[writer] = json.loads(said)
    rows, snapshots = check(args, {writer: batches for writer, (batches, _) in did.items()})
    return did, rows, snapshots


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--commits", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--credential", help="a token's id, a colon, the token")
    parser.add_argument("--trino", type=int, help="port of a Trino that has the catalog as `lake`")
    parser.add_argument("--role", choices=WRITERS)
    return parser.parse_args()


if __name__ == "__main__":
    args = arguments()
    if args.role:
        work(args)
    else:
        did, rows, snapshots = run(args)
        said = ", ".join(f"{writer} {batches} commits after {conflicts} conflicts" for writer, (batches, conflicts) in did.items())
        print(f"{said}; {rows} rows in {snapshots} snapshots")
