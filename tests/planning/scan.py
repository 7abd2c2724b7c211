"""PyIceberg scans a table twice over, planning for itself and having the catalog plan, and compares.

Needs the address of a daemon. The table has partitions by day and by bucket, nulls, NaN, a column that was renamed and
one that was added, and position deletes that DuckDB wrote; another has more files than a page of a plan. PyIceberg 0.12
cannot read a plan with a null partition value, which is written as the reference writes it; so no partition is null.
"""

import datetime
import decimal
import pathlib
import sys

import pyarrow
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import AlwaysTrue, And, EqualTo, GreaterThan, GreaterThanOrEqual, In, IsNaN, IsNull, LessThan
from pyiceberg.expressions import Not, NotEqualTo, NotIn, NotNull, NotStartsWith, Or, StartsWith
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
from pyiceberg.types import DateType, DecimalType, DoubleType, LongType, NestedField, StringType, TimestamptzType

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "readers"))
import extensions  # noqa: E402

UTC = datetime.timezone.utc
URL = sys.argv[1]


def catalog(**properties):
    return load_catalog("lake", type="rest", uri=URL, **properties)


ours, theirs = catalog(), catalog(**{"scan-planning-mode": "server"})


def moment(hour):
    return datetime.datetime(1969, 12, 30, tzinfo=UTC) + datetime.timedelta(hours=hour)


def make():
    fields = [
        NestedField(1, "n", LongType()),
        NestedField(2, "x", DoubleType()),
        NestedField(3, "s", StringType()),
        NestedField(4, "t", TimestamptzType()),
        NestedField(5, "d", DateType()),
        NestedField(6, "price", DecimalType(9, 2)),
    ]
    spec = PartitionSpec(
        PartitionField(4, 1000, DayTransform(), "day"), PartitionField(3, 1001, BucketTransform(2), "bucket")
    )
    ours.create_namespace("planning")
    table = ours.create_table("planning.mixed", Schema(*fields), partition_spec=spec)
    arrow = table.schema().as_arrow()
    for part in range(3):
        rows = [row(number) for number in range(part * 40, part * 40 + 40)]
        table.append(pyarrow.Table.from_pylist(rows, schema=arrow))
    with table.update_schema() as change:
        change.rename_column("s", "word")
        change.add_column("later", LongType())


def row(number):
    return {
        "n": None if number % 7 == 0 else number,
        "x": float("nan") if number % 5 == 0 else number / 4,
        "s": "abcdefgh"[number % 8] * (number % 3 + 1),
        "t": moment(number),
        "d": datetime.date(1970, 1, 1) + datetime.timedelta(days=number - 60),
        "price": None if number % 9 == 0 else decimal.Decimal(f"{number}.50"),
    }


FILTERS = [
    AlwaysTrue(),
    EqualTo("n", 12),
    And(GreaterThan("n", 30), LessThan("n", 50)),
    Or(IsNull("n"), EqualTo("word", "aa")),
    Not(Or(LessThan("n", 100), IsNull("price"))),
    In("word", {"a", "bb", "zz"}),
    NotIn("n", {1, 2, 3}),
    NotEqualTo("word", "a"),
    StartsWith("word", "cc"),
    NotStartsWith("word", "a"),
    IsNaN("x"),
    And(GreaterThanOrEqual("t", "1969-12-31T00:00:00+00:00"), LessThan("t", "1970-01-01T12:00:00+00:00")),
    LessThan("t", moment(0).isoformat()),
    EqualTo("d", "1970-01-03"),
    GreaterThan("price", "80.25"),
    NotNull("later"),
    IsNull("later"),
]


def read(catalog, name, condition):
    scan = catalog.load_table(name).scan(row_filter=condition)
    files = sorted(task.file.file_path for task in scan.plan_files())
    return files, sorted(map(repr, scan.to_arrow().to_pylist()))


def compare(name, filters):
    for condition in filters:
        own, rows = read(ours, name, condition)
        asked, same = read(theirs, name, condition)
        assert rows == same, f"{condition}: {len(rows)} rows, planned by the server {len(same)}"
        assert set(asked) <= set(own), f"{condition}: {set(asked) - set(own)}"
        assert len(asked) == len(set(asked)), f"{condition}: a file twice"


def delete_by_duckdb():
    connection = extensions.connect()
    connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{URL}', AUTHORIZATION_TYPE 'none')")
    connection.execute("DELETE FROM lake.planning.mixed WHERE n % 10 = 3")
    snapshot = ours.load_table("planning.mixed").current_snapshot()
    assert int(snapshot.summary["total-delete-files"]) > 0, snapshot.summary


def many():
    """More files than a page: one a partition."""
    schema = Schema(NestedField(1, "part", LongType()), NestedField(2, "n", LongType()))
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "part"))
    table = ours.create_table("planning.many", schema, partition_spec=spec)
    numbers = list(range(1100))
    table.append(pyarrow.table({"part": numbers, "n": numbers}))
    files, rows = read(theirs, "planning.many", AlwaysTrue())
    assert len(set(files)) == 1100 and len(rows) == 1100, (len(files), len(rows))
    files, rows = read(theirs, "planning.many", GreaterThan("n", 1090))
    assert len(files) == 9 and len(rows) == 9, (len(files), len(rows))


assert theirs.supports_server_side_planning() and not ours.supports_server_side_planning()
make()
compare("planning.mixed", FILTERS)
delete_by_duckdb()
compare("planning.mixed", FILTERS)
many()
