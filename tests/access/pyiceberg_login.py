"""PyIceberg logs in with `credential`, as its documentation says, and with `token`."""

import sys

import pyarrow
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import ForbiddenError, OAuthError, UnauthorizedError

url, writer_id, writer, reader_id, reader = sys.argv[1:]


def fails(error, work):
    try:
        work()
    except error:
        return
    raise AssertionError(f"no {error}")


def catalog(**settings):
    return load_catalog("lake", type="rest", uri=url, **settings)


fails(UnauthorizedError, lambda: catalog())
fails((OAuthError, UnauthorizedError), lambda: catalog(credential=f"{reader_id}:{writer}"))

rows = pyarrow.table({"n": [1, 2, 3]})
writing = catalog(credential=f"{writer_id}:{writer}")
writing.create_namespace("w")
fails(ForbiddenError, lambda: writing.create_namespace("other"))
table = writing.create_table("w.t", schema=rows.schema)
table.append(rows)

for settings in (
    {"credential": f"{reader_id}:{reader}", "oauth2-server-uri": f"{url}/v1/oauth/tokens", "scope": "catalog"},
    {"credential": reader},
    {"token": reader},
):
    reading = catalog(**settings)
    table = reading.load_table("w.t")
    assert table.scan().to_arrow().num_rows == 3
    assert reading.list_namespaces() == [("w",)], reading.list_namespaces()
    fails(ForbiddenError, lambda: table.append(rows))
    fails(ForbiddenError, lambda: reading.drop_table("w.t"))
