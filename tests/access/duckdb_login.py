"""DuckDB logs in with a secret of the iceberg extension: client id and client secret, or a token."""

import sys

import extensions

url, writer_id, writer, reader_id, reader = sys.argv[1:]


def attach(name, secret):
    connection.execute(f"CREATE SECRET {name} (TYPE ICEBERG, {secret})")
    connection.execute(f"ATTACH '' AS {name} (TYPE ICEBERG, ENDPOINT '{url}', SECRET {name})")


def fails(sql):
    try:
        connection.execute(sql)
    except Exception as error:
        return str(error)
    raise AssertionError(f"no error: {sql}")


connection = extensions.connect()
login = f"OAUTH2_SERVER_URI '{url}/v1/oauth/tokens'"
attach("writing", f"CLIENT_ID '{writer_id}', CLIENT_SECRET '{writer}', {login}")
connection.execute("CREATE SCHEMA writing.w")
connection.execute("CREATE TABLE writing.w.t (n BIGINT)")
connection.execute("INSERT INTO writing.w.t SELECT range FROM range(5)")

attach("reading", f"CLIENT_ID '{reader_id}', CLIENT_SECRET '{reader}', {login}")
attach("bearer", f"TOKEN '{reader}'")
for name in ("reading", "bearer"):
    assert connection.execute(f"SELECT count(*) FROM {name}.w.t").fetchone() == (5,)
    said = fails(f"INSERT INTO {name}.w.t SELECT 1")
    assert "403" in said or "Forbidden" in said or "role" in said, said
fails(f"CREATE SECRET wrong (TYPE ICEBERG, CLIENT_ID '{reader_id}', CLIENT_SECRET '{writer}', {login})")
