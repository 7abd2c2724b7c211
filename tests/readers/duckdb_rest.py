"""DuckDB attaches the REST catalog, as README.md shows, and counts."""

import extensions
import whole

args = whole.arguments("url")
connection = extensions.connect()
connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{args.url}', AUTHORIZATION_TYPE 'none')")


def count():
    sql = "SELECT count(*), count(DISTINCT reading_id) FROM lake.glucose.cgm_readings"
    return connection.execute(sql).fetchone()


whole.run(count, args.step)
