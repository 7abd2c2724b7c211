"""What lakectl says of a table against PyIceberg's `inspect`: agree.py URL TABLE FILE, with lakectl's answers as JSON."""

import json
import sys

from pyiceberg.catalog import load_catalog

url, name, file = sys.argv[1:]
table = load_catalog("lake", type="rest", uri=url).load_table(name)
with open(file) as answers:
    said = json.load(answers)


def same(what, ours, theirs):
    assert ours == theirs, f"{what}:\n{ours}\n{theirs}"


def millis(time):
    return time.isoformat(timespec="milliseconds")[:23] + "Z"


inspect = table.inspect
same(
    "snapshots",
    sorted((one["snapshot-id"], one["parent-id"], one["time"], one["manifest-list"]) for one in said["snapshots"]),
    sorted(
        (one["snapshot_id"], one["parent_id"], millis(one["committed_at"]), one["manifest_list"])
        for one in inspect.snapshots().to_pylist()
    ),
)
same(
    "history",
    [(one["made-current"], one["snapshot-id"], one["parent-id"], one["current-ancestor"]) for one in said["history"]],
    [
        (millis(one["made_current_at"]), one["snapshot_id"], one["parent_id"], one["is_current_ancestor"])
        for one in inspect.history().to_pylist()
    ],
)
same(
    "refs",
    sorted((name, one["type"], one["snapshot-id"], one.get("max-ref-age-ms")) for name, one in said["refs"].items()),
    sorted(
        (one["name"], one["type"].lower(), one["snapshot_id"], one["max_reference_age_in_ms"])
        for one in inspect.refs().to_pylist()
    ),
)
CONTENT = {"data": 0, "positiondeletes": 1, "equalitydeletes": 2}
same(
    "files",
    sorted((one["path"], CONTENT[one["content"]], one["records"], one["bytes"], one["spec"]) for one in said["files"]),
    sorted(
        (one["file_path"], one["content"], one["record_count"], one["file_size_in_bytes"], one["spec_id"])
        for one in inspect.files().to_pylist()
    ),
)
same(
    "partitions",
    sorted(
        (
            one["partition"], one["spec"], one["rows"], one["files"], one["bytes"],
            one["position-deletes"]["rows"], one["position-deletes"]["files"],
        )
        for one in said["partitions"]
    ),
    sorted(
        (
            "/".join(f"{key}={value}" for key, value in one["partition"].items()), one["spec_id"], one["record_count"],
            one["file_count"], one["total_data_file_size_in_bytes"],
            one["position_delete_record_count"], one["position_delete_file_count"],
        )
        for one in inspect.partitions().to_pylist()
    ),
)
print("all agree")
