"""PyIceberg loads the table through the REST catalog, as README.md shows, and scans it."""

import pyarrow.compute
import whole
from pyiceberg.catalog import load_catalog

args = whole.arguments("url")
catalog = load_catalog("lake", type="rest", uri=args.url)


def count():
    table = catalog.load_table("glucose.cgm_readings")
    rows = table.scan(selected_fields=("reading_id", "glucose_mg_dl", "country")).to_arrow()
    some = table.scan(row_filter="country = 'TW'", selected_fields=("country",)).to_arrow()
    assert set(some["country"].to_pylist()) <= {"TW"}
    return rows.num_rows, pyarrow.compute.count_distinct(rows["reading_id"]).as_py()


whole.run(count, args.step)
