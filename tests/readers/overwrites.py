"""Spark overwrites a table whose partition spec has changed: no row is lost, none is there twice (HIVE-26133).

A dynamic overwrite takes away files of the newest spec only; the daemon refuses it while older files have rows of the
partitions, and lets it in once `lakectl` has moved them. A static overwrite is by a condition, and Iceberg refuses it by
itself where a file has other rows too. So after each the rows are the old ones or the new ones, never both.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import spark

TABLE = "lake.overwrites.t"
OLD = [(id, "ab"[id % 2], f"2026-0{1 + id % 3}-15") for id in range(30)]
NEW = [(id, "a", "2026-05-01") for id in range(100, 103)]


def values(rows):
    return ", ".join(f"({id}, '{name}', DATE '{at}')" for id, name, at in rows)


def found(session):
    return sorted((row.id, row.name, str(row.at)) for row in session.sql(f"SELECT id, name, at FROM {TABLE}").collect())


def overwrite(session, mode):
    """Rows of the name `a` by the new ones; whether it was let in, and what was said if not."""
    session.conf.set("spark.sql.sources.partitionOverwriteMode", mode)
    into = f"{TABLE} PARTITION (name = 'a')" if mode == "static" else TABLE
    rows = ", ".join(f"({id}, DATE '{at}')" for id, _, at in NEW) if mode == "static" else values(NEW)
    columns = "(id, at)" if mode == "static" else "(id, name, at)"
    try:
        session.sql(f"INSERT OVERWRITE {into} {columns} VALUES {rows}")
    except Exception as error:  # Whatever Spark makes of a refusal.
        return str(error)
    return None


def check(session, lakectl, url, token=None):
    """With a daemon's address, and a token if it asks for one."""

    def evolve(*more):
        command = [lakectl, "--url", url, "evolve-partition", "overwrites.t", "name", *more]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | ({"LAKECTL_TOKEN": token} if token else {}))
        session.sql(f"REFRESH TABLE {TABLE}")

    session.sql("CREATE NAMESPACE IF NOT EXISTS lake.overwrites")
    session.sql(f"CREATE TABLE {TABLE} (id BIGINT, name STRING, at DATE) USING iceberg PARTITIONED BY (months(at))")
    session.sql(f"INSERT INTO {TABLE} VALUES {values(OLD)}")
    evolve()
    refused = overwrite(session, "dynamic")
    assert refused and "older partition spec" in refused, refused
    assert found(session) == sorted(OLD), "a refused overwrite changes nothing"
    refused = overwrite(session, "static")
    after = sorted([row for row in OLD if row[1] != "a"] + NEW)
    assert found(session) == (sorted(OLD) if refused else after), (refused, found(session))
    evolve("--rewrite", "")
    for mode in ("dynamic", "static"):
        refused = overwrite(session, mode)
        assert refused is None, refused
        assert found(session) == after, found(session)
    session.sql(f"DROP TABLE {TABLE} PURGE")
    session.sql("DROP NAMESPACE lake.overwrites")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("lakectl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check(spark.session(args.url, pathlib.Path(folder)), args.lakectl, args.url)
    print("Spark's overwrites after an evolution lose and double no row")
