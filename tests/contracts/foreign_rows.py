"""PyIceberg appends six rows, four of which break the contract; one of them two rules."""

import datetime
import decimal
import sys
import uuid

import pyarrow
from pyiceberg.catalog import load_catalog

table = load_catalog("lake", type="rest", uri=sys.argv[1]).load_table("shop.audited")
at = datetime.datetime(2026, 1, 20, tzinfo=datetime.timezone.utc)


def row(number, n, name, price):
    return {"id": 1000 + number, "n": n, "name": name, "price": decimal.Decimal(price), "at": at, "key": uuid.uuid4().bytes}


rows = [
    row(0, 101, "a", "1.00"),
    row(1, -1, "b", "1.00"),
    row(2, 500, "much too long", "1.00"),
    row(3, 5, "c", "0.00"),
    row(4, None, "d", "1.00"),
    row(5, 6, "e", "2.00"),
]
table.append(pyarrow.Table.from_pylist(rows, schema=table.schema().as_arrow()))
