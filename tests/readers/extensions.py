"""DuckDB with its iceberg extension, loaded from the PyPI packages: nothing is installed into a home directory."""

import importlib.util
import pathlib

import duckdb


def connect():
    connection = duckdb.connect(config={"threads": 1, "memory_limit": "512MB"})
    for name in ("avro", "httpfs", "iceberg"):
        folder = pathlib.Path(importlib.util.find_spec(f"duckdb_extension_{name}").origin).parent
        path = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        connection.execute(f"LOAD '{path}'")
    return connection


def attach(connection, url, token=None):
    """Attaches a daemon's catalog as `lake`."""
    login = f"TOKEN '{token}'" if token else "AUTHORIZATION_TYPE 'none'"
    connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{url}', {login})")
