"""One peer writes one file into a new table partitioned like ours, and prints what it used as JSON.

python peer.py pyiceberg|duckdb FILE WAREHOUSE [REST-URL]
"""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "readers"))

import process  # noqa: E402
import pyarrow as pa  # noqa: E402
from pyiceberg.catalog import load_catalog  # noqa: E402
from pyiceberg.partitioning import PartitionField, PartitionSpec  # noqa: E402
from pyiceberg.schema import Schema  # noqa: E402
from pyiceberg.transforms import IdentityTransform, MonthTransform  # noqa: E402
from pyiceberg.types import DoubleType, NestedField, StringType, TimestamptzType  # noqa: E402

NAMES = ["reading_id", "user_id", "device_id", "timestamp", "glucose_mg_dl", "country", "source", "trend"]
TYPES = {"timestamp": TimestamptzType(), "glucose_mg_dl": DoubleType()}
SCHEMA = Schema(*[NestedField(i + 1, name, TYPES.get(name, StringType())) for i, name in enumerate(NAMES)])
SPEC = PartitionSpec(
    PartitionField(6, 1000, IdentityTransform(), "country"),
    PartitionField(4, 1001, MonthTransform(), "timestamp_month"),
)
ARROW = pa.schema([(name, {"timestamp": pa.timestamp("us", "UTC"), "glucose_mg_dl": pa.float64()}.get(name, pa.string())) for name in NAMES])


def read(path):
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).cast(ARROW)
    if path.suffix == ".arrow":
        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        source = pa.memory_map(str(path))
        return (pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)).read_all().cast(ARROW)
    if path.suffix == ".csv":
        import pyarrow.csv

        types = pyarrow.csv.ConvertOptions(column_types=dict(zip(ARROW.names, ARROW.types)))
        return pyarrow.csv.read_csv(path, convert_options=types).select(NAMES)
    import pyarrow.json

    return pyarrow.json.read_json(path, parse_options=pyarrow.json.ParseOptions(explicit_schema=ARROW))


def by_pyiceberg(path, warehouse, _):
    catalog = load_catalog("peer", type="sql", uri=f"sqlite:///{warehouse}/peer.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace("peer")
    table = catalog.create_table("peer.cgm", SCHEMA, partition_spec=SPEC)

    def work():
        table.append(read(path))
        return sum(task.file.record_count for task in table.scan().plan_files())

    return work


def by_duckdb(path, _, url):
    import extensions

    catalog = load_catalog("lake", type="rest", uri=url)
    catalog.create_namespace_if_not_exists("peer")
    table = f"cgm_{os.getpid()}"
    catalog.create_table(("peer", table), SCHEMA, partition_spec=SPEC)
    connection = extensions.connect()
    connection.execute("SET threads = 2; SET memory_limit = '2GB'")
    connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{url}', AUTHORIZATION_TYPE 'none')")
    source = {
        ".parquet": f"read_parquet('{path}')",
        ".csv": f"read_csv('{path}')",
    }.get(path.suffix, f"read_json('{path}', format = 'newline_delimited')")

    def work():
        columns = ", ".join(f'"{name}"' for name in NAMES)
        connection.execute(f"INSERT INTO lake.peer.{table} SELECT {columns} FROM {source}")
        return connection.execute(f"SELECT count(*) FROM lake.peer.{table}").fetchone()[0]

    return work


def main():
    peer, path, warehouse, *url = sys.argv[1:]
    work = {"pyiceberg": by_pyiceberg, "duckdb": by_duckdb}[peer](pathlib.Path(path), warehouse, url[0] if url else None)
    usage = process.Usage(os.getpid())
    rows = work()
    print(json.dumps({"rows": rows, **usage.stop()}))


if __name__ == "__main__":
    main()
