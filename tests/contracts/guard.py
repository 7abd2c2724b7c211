"""PyIceberg tries to break the contract of a table in every way there is, and then changes what it may.

Needs the address of a daemon with the contracts that `mod.rs` beside this file writes.
"""

import sys

import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import IntegerType, LongType, NestedField, StringType

URL = sys.argv[1]
catalog = load_catalog("lake", type="rest", uri=URL)


def load(name="orders"):
    return catalog.load_table(f"shop.{name}")


def ingest(ids, name="orders", at="2026-01-15T00:00:00Z"):
    lines = [f'{{"id": {id}, "n": 1, "name": "x", "price": 1.5, "at": "{at}"}}' for id in ids]
    headers = {"content-type": "application/x-ndjson"}
    body = "\n".join(lines) + "\n"
    answer = requests.post(f"{URL}/ingest/shop/{name}?wait=committed", body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def refused(change, *words):
    """The change gets a 409 that says why and how to do it instead, and nothing of it takes effect."""
    before = load().metadata
    try:
        change()
    except CommitFailedException as error:
        said = str(error)
        for word in (*words, "breaks the contract of shop.orders", "laked.contract.enforce"):
            assert word in said, f"{word!r} is not in {said!r}"
    else:
        raise AssertionError(f"not refused: {words}")
    assert load().metadata == before


def schema_change(action, name="orders"):
    def run():
        with load(name).update_schema(allow_incompatible_changes=True) as change:
            action(change)

    return run


instead = "in the contract first, raise its version to 2, and run `lakectl apply`"
ingest([1])
refused(schema_change(lambda change: change.delete_column("n")), "`n` is not in the table", f"remove `n` {instead}")
refused(schema_change(lambda change: change.update_column("n", LongType())), "`n` is int in the contract, long in the table", f"make `n` long {instead}")
refused(schema_change(lambda change: change.update_column("name", required=False)), "optional in the table", f"take `required` from `name` {instead}")
refused(schema_change(lambda change: change.rename_column("n", "m")), "`n` is named `m` in the table", f"rename `n` to `m` {instead}")


def replaced():
    """Another column of the same name, by a commit as no client of ours makes it."""
    metadata = load().metadata
    schema = metadata.schema()
    fields = [field if field.name != "n" else NestedField(99, "n", IntegerType()) for field in schema.fields]
    document = Schema(*fields, identifier_field_ids=schema.identifier_field_ids).model_dump(by_alias=True, mode="json")
    updates = [{"action": "add-schema", "schema": document, "last-column-id": 99}, {"action": "set-current-schema", "schema-id": -1}]
    return {"requirements": [], "updates": updates}


def send(path, body):
    answer = requests.post(f"{URL}/v1/{path}", json=body, timeout=60)
    if answer.status_code != 409:
        raise AssertionError(f"{answer.status_code}: {answer.text}")
    assert answer.json()["error"]["code"] == 409
    raise CommitFailedException(answer.json()["error"]["message"])


refused(lambda: send("namespaces/shop/tables/orders", replaced()), "another column than before", "keep the column")
# One commit cannot lift the rule and break it, nor does a transaction of several tables.
lifting = replaced()
lifting["updates"].insert(0, {"action": "set-properties", "updates": {"laked.contract.enforce": "off"}})
refused(lambda: send("namespaces/shop/tables/orders", lifting), "another column than before")
fine = {"identifier": {"namespace": ["shop"], "name": "returns"}, "requirements": [], "updates": [{"action": "set-properties", "updates": {"note": "x"}}]}
both = {"table-changes": [fine, {"identifier": {"namespace": ["shop"], "name": "orders"}, **replaced()}]}
refused(lambda: send("transactions/commit", both), "another column than before")
assert "note" not in load("returns").metadata.properties, "all or nothing"

# What the contract does not have may come and go, and ingestion leaves it null.
with load().update_schema() as change:
    change.add_column("remark", StringType())
ingest([2])
with load().update_schema() as change:
    change.delete_column("remark")
ingest([3])

# Layout is the table's: a new spec and a new order pass, and what comes in afterwards follows them.
with load().update_spec() as change:
    change.remove_field("at_month")
    change.add_field("at", DayTransform(), "at_day")
    change.add_field("name", IdentityTransform(), "name")
with load().update_sort_order() as change:
    change.desc("id", IdentityTransform())
ingest(range(10, 60))
with load().update_spec() as change:
    change.remove_field("name")
ingest([100])
table = load()
files = table.inspect.files().to_pylist()
by_spec = {}
for file in files:
    by_spec.setdefault(file["spec_id"], []).append(file)
assert sorted(by_spec) == [0, 1, 2], (by_spec, table.specs(), table.spec())
assert table.spec().spec_id == 2 and len(by_spec[2]) == 1, by_spec[2]
fifty = [file for file in by_spec[1] if file["record_count"] == 50]
assert len(fifty) == 1 and fifty[0]["sort_order_id"] == table.sort_order().order_id != 0, by_spec[1]
rows = table.scan().to_arrow()
assert sorted(rows["id"].to_pylist()) == [1, 2, 3, *range(10, 60), 100]
import pyarrow.parquet  # noqa: E402

written = pyarrow.parquet.read_table(fifty[0]["file_path"].removeprefix("file://"))["id"].to_pylist()
assert written == sorted(written, reverse=True), "rows are in the table's new order"

# The rule can be relaxed on a table.
for name, how in (("returns", "warn"), ("drafts", "off")):
    with load(name).transaction() as change:
        change.set_properties({"laked.contract.enforce": how})
    schema_change(lambda change: change.delete_column("n"), name)()
    assert "n" not in load(name).schema().column_names
