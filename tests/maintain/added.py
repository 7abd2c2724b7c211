"""A table with a partition whose files were added without field ids, which laked does not rewrite, and one of small files."""

import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

catalog = load_catalog("lake", type="rest", uri=sys.argv[1])
schema = Schema(NestedField(1, "n", LongType()), NestedField(2, "place", StringType()))
spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "place"))
table = catalog.create_table("probe.added", schema, partition_spec=spec)
folder = pathlib.Path(table.location().removeprefix("file://")) / "data"
folder.mkdir(parents=True, exist_ok=True)
paths = [folder / f"added-{n}.parquet" for n in range(3)]
for n, path in enumerate(paths):
    pq.write_table(pa.table({"n": [n], "place": ["a"]}), path)
table.add_files([f"file://{path}" for path in paths])
for n in range(4):
    table.append(pa.table({"n": [10 + n], "place": ["b"]}))
with table.transaction() as change:
    change.set_properties({"laked.maintenance.min-inputs": "2", "laked.maintenance.compact": "3 commits"})
