"""DuckDB deletes the foreign rows, by position delete files."""

import pathlib
import sys

from pyiceberg.catalog import load_catalog

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "readers"))
import extensions  # noqa: E402

connection = extensions.connect()
connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{sys.argv[1]}', AUTHORIZATION_TYPE 'none')")
connection.execute("DELETE FROM lake.shop.audited WHERE id >= 1000")
table = load_catalog("lake", type="rest", uri=sys.argv[1]).load_table("shop.audited")
assert int(table.current_snapshot().summary["total-delete-files"]) > 0
