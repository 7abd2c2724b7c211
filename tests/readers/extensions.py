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


def attach(connection, url, credential=None):
    """Attaches a daemon's catalog as `lake`; `credential` is a token's id, a colon, the token."""
    login = "AUTHORIZATION_TYPE 'none'"
    if credential:
        id, _, token = credential.partition(":")
        server = f"OAUTH2_SERVER_URI '{url}/v1/oauth/tokens'"
        connection.execute(f"CREATE SECRET lake (TYPE ICEBERG, CLIENT_ID '{id}', CLIENT_SECRET '{token}', {server})")
        login = "SECRET lake"
    connection.execute(f"ATTACH '' AS lake (TYPE ICEBERG, ENDPOINT '{url}', {login})")
