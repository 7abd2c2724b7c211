"""Overwrites of a table whose partition spec has changed: no row is there twice, none is lost.

PyIceberg appends, overwrites by a condition, and overwrites partitions, while `lakectl` gives the table another spec, then
moves some of the older files to it, then all. After each change the rows are those of a list. The trap (HIVE-26133): an
overwrite that takes away only files of the newest spec leaves the older rows beside their new ones. The table is
`shop.orders` of `tests/contracts/mod.rs`.
"""

import collections
import datetime
import decimal
import json
import subprocess
import sys

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import ForbiddenError
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

AT = datetime.datetime(2026, 1, 15, tzinfo=datetime.timezone.utc)
MONTH = datetime.timedelta(days=31)
NAMES = ("a", "b", "c")


class Shop:
    def __init__(self, url, lakectl):
        self.command = [lakectl, "--url", url]
        self.catalog = load_catalog("lake", type="rest", uri=url)
        self.rows = []
        self.overwrites = 0

    def batch(self, rows):
        price = decimal.Decimal("1.50")
        records = [{"id": id, "n": n, "name": name, "price": price, "at": AT + id % 3 * MONTH} for id, n, name in rows]
        return pa.Table.from_pylist(records, schema=self.table().schema().as_arrow())

    def table(self):
        return self.catalog.load_table("shop.orders")

    def evolve(self, spec, *more):
        command = [*self.command, "evolve-partition", "shop.orders", spec, *more, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        self.holds()
        return json.loads(done.stdout)

    def append(self, low, high):
        """Ten rows a commit, of one name and three months."""
        for first in range(low, high, 10):
            rows = [(id, 1, NAMES[first // 10 % 3]) for id in range(first, first + 10)]
            self.table().append(self.batch(rows))
            self.rows += rows
        self.holds()

    def overwrite(self, low, high):
        """Rows of these ids by new ones of the same ids."""
        new = [(id, n + 1, name) for id, n, name in self.rows if low <= id < high]
        self.table().overwrite(self.batch(new), And(GreaterThanOrEqual("id", low), LessThan("id", high)))
        self.rows = [row for row in self.rows if not low <= row[0] < high] + new
        self.overwrites += 1
        self.holds()

    def overwrite_partition(self, name):
        """All rows of a name by a few new ones; the table is partitioned by name."""
        new = [(1000 * self.overwrites + id, 7, name) for id in range(5)]
        self.table().dynamic_partition_overwrite(self.batch(new))
        self.rows = [row for row in self.rows if row[2] != name] + new
        self.overwrites += 1
        self.holds()

    def replace_partitions(self, name):
        """As Java's `ReplacePartitions` where no file of the newest spec is of that partition; whether it is let in."""
        new = [(1000 * self.overwrites + id, 9, name) for id in range(5)]
        try:
            self.table().append(self.batch(new), snapshot_properties={"replace-partitions": "true"})
        except ForbiddenError as error:
            assert "--rewrite" in str(error) and "older partition spec" in str(error), error
            self.holds()
            return False
        self.rows += new
        self.overwrites += 1
        self.holds()
        return True

    def holds(self):
        found = self.table().scan(selected_fields=("id", "n", "name")).to_arrow().to_pylist()
        found = collections.Counter((row["id"], row["n"], row["name"]) for row in found)
        assert found == collections.Counter(self.rows), (found - collections.Counter(self.rows))
        sql = "select count(*), sum(id) from shop.orders"
        told = subprocess.run([*self.command, "query", "--format", "csv", sql], capture_output=True, text=True, check=True)
        count, total = told.stdout.splitlines()[1].split(",")
        assert (int(count), int(total)) == (len(self.rows), sum(row[0] for row in self.rows)), told.stdout

    def specs(self):
        return {file["spec_id"] for file in self.table().inspect.files().to_pylist()}


def main():
    shop = Shop(*sys.argv[1:3])
    shop.append(0, 90)
    assert shop.replace_partitions("a"), "there is one spec only"
    shop.evolve("name")
    assert not shop.replace_partitions("a"), "older files have rows of it"
    assert shop.replace_partitions("z"), "none has"
    shop.append(90, 120)
    assert shop.specs() == {0, 1}, shop.specs()
    shop.overwrite(50, 95)
    shop.overwrite_partition("a")
    shop.append(120, 150)
    moved = shop.evolve("name", "--rewrite-before", "2026-02-01")["moved"]
    assert moved["before"]["rows"] == moved["after"]["rows"] > 0 and not moved["left-out"], moved
    assert shop.specs() == {0, 1}, "what came later is where it was"
    shop.overwrite(10, 20)
    shop.overwrite_partition("b")
    moved = shop.evolve("name", "--rewrite", "")["moved"]
    assert moved["snapshots"] and shop.specs() == {1}, moved
    assert shop.replace_partitions("y"), "all files are of one spec"
    shop.overwrite(0, 150)
    shop.overwrite_partition("c")
    shop.overwrite_partition("a")
    again = shop.evolve("name", "--rewrite", "")
    assert not again["changes"] and again["moved"]["snapshots"] == [], again
    print(f"{shop.overwrites} overwrites, {len(shop.rows)} rows in place")


if __name__ == "__main__":
    sys.exit(main())
