"""A foreign writer beside compaction: PyIceberg appends and deletes while `lakectl compact` runs again and again.

Every row has a number. What was appended and not deleted must be there at the end, each once, and nothing else. A delete
is copied on write by this client, so that it takes files away from under the compaction. The table is `shop.orders` of
`tests/contracts/mod.rs`; it ends after so many commits (`--commits`), or so many seconds (`--seconds`).
"""

import argparse
import datetime
import decimal
import json
import random
import subprocess
import sys
import threading
import time

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

AT = datetime.datetime(2026, 1, 15, tzinfo=datetime.timezone.utc)
ROWS = 20
"""Rows of an append."""
TRIES = 100
"""How often a commit is tried: each that fails, somebody else committed."""


class Compactor:
    """Compacts again and again, each time once the writer has committed, so that neither keeps the other from it."""

    def __init__(self, args):
        self.command = [args.lakectl, "--url", args.url, "compact", "shop.orders", "--output", "json"]
        self.moved, self.stopping, self.failure, self.told = threading.Event(), False, None, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.moved.wait() and not self.stopping:
            self.moved.clear()
            done = subprocess.run(self.command, capture_output=True, text=True)
            if done.returncode != 0:
                self.failure = done.stderr
                return
            self.told.append(json.loads(done.stdout))

    def stop(self):
        self.stopping = True
        self.moved.set()
        self.thread.join()


def batch(schema, first):
    day = datetime.timedelta(days=31)
    price = decimal.Decimal("1.50")
    ids = range(first, first + ROWS)
    rows = [{"id": id, "n": 1, "name": "foreign", "price": price, "at": AT + id % 3 * day} for id in ids]
    return pa.Table.from_pylist(rows, schema=schema)


def insist(catalog, change, lost):
    for _ in range(TRIES):
        try:
            return change(catalog.load_table("shop.orders"))
        except (CommitFailedException, ValidationException):
            # The second says that files which a delete was to take away were compacted meanwhile.
            lost.append(1)
    raise SystemExit(f"somebody else was faster {TRIES} times")


def write(args, catalog, compactor):
    """Appends and deletes; gives the rows that must be there, how many rounds it made, and how often it lost."""
    schema = catalog.load_table("shop.orders").schema().as_arrow()
    chance, expected, began, rounds, lost = random.Random(7), set(), time.monotonic(), 0, []
    while time.monotonic() - began < args.seconds if args.seconds else rounds < args.commits:
        assert compactor.failure is None, compactor.failure
        first = rounds * ROWS
        insist(catalog, lambda table: table.append(batch(schema, first)), lost)
        expected.update(range(first, first + ROWS))
        if rounds % 3 == 2:
            low = chance.randrange(0, first + ROWS)
            high = low + chance.randrange(1, ROWS)
            hit = And(GreaterThanOrEqual("id", low), LessThan("id", high))
            insist(catalog, lambda table: table.delete(hit), lost)
            expected.difference_update(range(low, high))
        rounds += 1
        compactor.moved.set()
    return expected, rounds, len(lost)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("lakectl")
    parser.add_argument("--commits", type=int, default=30)
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    catalog = load_catalog("lake", type="rest", uri=args.url)
    compactor = Compactor(args)
    try:
        expected, rounds, lost = write(args, catalog, compactor)
    finally:
        compactor.stop()
    assert compactor.failure is None, compactor.failure
    table = catalog.load_table("shop.orders")
    found = table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist()
    assert len(found) == len(set(found)), "a row is there twice"
    assert set(found) == expected, (sorted(set(found) - expected)[:9], sorted(expected - set(found))[:9])
    replaced = sum(len(step["snapshots"]) for step in compactor.told)
    gave_way = sum(len(step["left-out"]) for step in compactor.told)
    operations = [snapshot.summary.operation.value for snapshot in table.metadata.snapshots]
    assert operations.count("replace") == replaced > 0, (replaced, compactor.told)
    print(f"{rounds} rounds, {lost} commits lost and made again, {len(found)} rows in place;"
          f" {len(compactor.told)} runs made {replaced} compactions, {gave_way} partitions gave way")


if __name__ == "__main__":
    sys.exit(main())
