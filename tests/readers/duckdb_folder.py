"""DuckDB reads the table's folder without a catalog, by the version hint."""

import pathlib

import extensions
import whole

args = whole.arguments("folder")
connection = extensions.connect()


def count():
    # Before the first row a table has no snapshot; the extension needs one.
    if not any(pathlib.Path(args.folder, "metadata").glob("snap-*.avro")):
        return 0, 0
    sql = f"SELECT count(*), count(DISTINCT reading_id) FROM iceberg_scan('{args.folder}')"
    return connection.execute(sql).fetchone()


whole.run(count, args.step)
