"""What lakectl says of a table against Trino's `$snapshots`, `$refs`, `$files` and `$partitions`.

Its `$history` is left out: it has the snapshots between the first and the last of a commit too, which the table's log, by
the specification, has not. `tests/maintain/agree.py` holds the history against PyIceberg.
"""

import json
import os
import subprocess

import trino

CONTENT = {"data": 0, "positiondeletes": 1, "equalitydeletes": 2}


def ask(lakectl, url, token, verb, table):
    command = [lakectl, "--url", url, "--output", "json", verb, table]
    environment = {**os.environ, **({"LAKECTL_TOKEN": token} if token else {})}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def time_of(text):
    """Trino's `2026-01-02 03:04:05.678 UTC` as lakectl writes it."""
    return text.removesuffix(" UTC").replace(" ", "T") + "Z"


def month(name, count):
    return "" if name is None else f"{name}={1970 + count // 12}-{count % 12 + 1:02}"


def differences(lakectl, url, token, port, table):
    """A line for each of the four in which they differ; tables are partitioned by `moment_month` or by nothing."""
    schema, name = table.split(".")
    ours = {verb: ask(lakectl, url, token, verb, table) for verb in ("snapshots", "refs", "files", "partitions")}
    theirs = lambda what, columns: trino.query(port, f'SELECT {columns} FROM lake.{schema}."{name}${what}"')  # noqa: E731
    parted = any(one["partition"] for one in ours["partitions"])
    partition = "'moment_month', partition.moment_month" if parted else "NULL, NULL"
    compared = {
        "snapshots": (
            [[one["snapshot-id"], one["parent-id"], one["time"], one["summary"]["operation"], one["manifest-list"]] for one in ours["snapshots"]],
            [[id, parent, time_of(at), operation, listed] for id, parent, at, operation, listed in theirs(
                "snapshots", "snapshot_id, parent_id, committed_at, operation, manifest_list")],
        ),
        "refs": (
            [[name, one["type"].upper(), one["snapshot-id"]] for name, one in ours["refs"].items()],
            theirs("refs", "name, type, snapshot_id"),
        ),
        "files": (
            [[one["path"], CONTENT[one["content"]], one["format"].upper(), one["records"], one["bytes"]] for one in ours["files"]],
            theirs("files", "file_path, content, file_format, record_count, file_size_in_bytes"),
        ),
        # Trino counts the data files.
        "partitions": (
            [[one["partition"], one["rows"], one["files"], one["bytes"]] for one in ours["partitions"] if one["files"]],
            [[month(name, count), *rest] for name, count, *rest in theirs("partitions", f"{partition}, record_count, file_count, total_size")],
        ),
    }
    key = lambda row: [str(cell) for cell in row]  # noqa: E731
    return [
        f"of {table}'s {what} lakectl says {sorted(ours, key=key)}, Trino {sorted(theirs, key=key)}"
        for what, (ours, theirs) in compared.items()
        if sorted(ours, key=key) != sorted(theirs, key=key)
    ]
