"""`make bench-tables`, the part that needs a daemon: what a table of 100,000 files in 144 partitions costs to change and to
plan, by `lakectl` and by REST. Prints rows of a Markdown table.

The table is made by target/release/examples/plan_cost: its manifests are mixed, and its data files exist as far as a plan
leaves them (links to one small file), because `lakectl explain` reads their footers.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request

import daemon
import pyarrow
import pyarrow.parquet

LAKECTL = daemon.BINARIES / "lakectl"
TABLE = "glucose.mixed"
CONDITION = "country = 'TW' and timestamp >= '2025-03-01' and timestamp < '2025-04-01'"
DATA = daemon.ROOT / "target" / "release" / "examples" / "plan_cost"
TIMES = 15


def compare(kind, term, value):
    return {"type": kind, "term": term, "value": value}


FILTER = {
    "type": "and",
    "left": compare("eq", "country", "TW"),
    "right": {
        "type": "and",
        "left": compare("gt-eq", "timestamp", "2025-03-01T00:00:00+00:00"),
        "right": compare("lt", "timestamp", "2025-04-01T00:00:00+00:00"),
    },
}


def row(what, figure):
    print(f"| {what} | {figure} |", flush=True)


def timed(work):
    begun = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - begun) * 1000


def spread(times):
    return f"{statistics.median(times):.1f} ms, {min(times):.1f} to {max(times):.1f}"


def lakectl(at, *words):
    command = [LAKECTL, "--url", at.url, "--output", "json", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def by_rest(at):
    """The answers of a whole plan, page by page, as they came."""
    namespace, table = TABLE.split(".")
    asked, pages = [("plan", {"filter": FILTER, "select": ["reading_id", "glucose_mg_dl"]})], []
    for route, body in asked:
        url = f"{at.url}/v1/namespaces/{namespace}/tables/{table}/{route}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            pages.append(json.load(response))
        asked += [("tasks", {"plan-task": task}) for task in pages[-1].get("plan-tasks", [])]
    return [task for page in pages for task in page["file-scan-tasks"]]


def place(paths):
    """One file of readings under all these names."""
    columns = ["reading_id", "user_id", "device_id", "timestamp", "glucose_mg_dl", "country", "source", "trend"]
    some = pyarrow.table({name: ["x"] for name in columns})
    first = None
    for path in paths:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if first is None:
            first = path
            pyarrow.parquet.write_table(some, path)
        else:
            os.link(first, path)


def planning(at, manifests):
    answers = [timed(lambda: by_rest(at)) for _ in range(TIMES)]
    tasks = answers[0][0]
    row(f"planning by REST, manifests {manifests}: {len(tasks)} files, median of {TIMES}", spread([took for _, took in answers]))
    if manifests == "mixed":
        place([task["data-file"]["file-path"].removeprefix("file://") for task in tasks])
    told = [timed(lambda: lakectl(at, "explain", TABLE, "--where", CONDITION)) for _ in range(3)]
    last = told[-1][0]
    share = last["entries_read"] * 100 / last["entries"]
    row(
        f"planning by `lakectl explain`, manifests {manifests}: {last['manifests_read']} of {last['manifests']} manifests, "
        f"{last['entries_read']} of {last['entries']} entries ({share:.2f} %)",
        f"{spread([one['planned_ms'] for one, _ in told])}; with all that it counts {min(took for _, took in told):.0f} ms",
    )


def evolving(at):
    start = [timed(lambda: subprocess.run([LAKECTL, "--version"], check=True, capture_output=True))[1] for _ in range(TIMES)]
    specs = ["country, day(timestamp)", "country, month(timestamp)"] * TIMES
    took = [timed(lambda: lakectl(at, "evolve-partition", TABLE, spec))[1] for spec in specs[:TIMES]]
    row(f"`lakectl evolve-partition` on 100,000 files, end to end, median of {TIMES}", spread(took))
    row("of it, that `lakectl` starts and ends", spread(start))


def main():
    fill = lambda lake: subprocess.run([DATA, lake], check=True)  # noqa: E731
    with daemon.Daemon(fill=fill) as at:
        planning(at, "mixed")
        said, took = timed(lambda: lakectl(at, "rewrite-manifests", TABLE))
        row(
            f"`lakectl rewrite-manifests`: {said['manifests-before']} manifests become {said['manifests-after']}",
            f"{took / 1000:.2f} s",
        )
        planning(at, "rewritten")
        evolving(at)


if __name__ == "__main__":
    sys.exit(main())
