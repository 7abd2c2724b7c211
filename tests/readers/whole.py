"""What the readers share: read until standard input closes, and hold each answer to what a commit may look like."""

import argparse
import select
import sys


def arguments(what):
    parser = argparse.ArgumentParser()
    parser.add_argument(what)
    parser.add_argument("--step", type=int, required=True, help="rows of a request: every count is a multiple")
    return parser.parse_args()


def closed():
    """Whether the test has closed our standard input."""
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and sys.stdin.read(1) == ""


def run(count, step):
    """Calls `count()` in a loop; it returns rows, distinct ids, or raises. Prints the last rows and the reads."""
    reads, before, last = 0, 0, False
    while not last:
        # The last read begins after the last commit.
        last = closed()
        rows, ids = count()
        assert rows == ids, f"{rows} rows but {ids} ids: a row is there twice"
        assert rows % step == 0, f"{rows} rows: part of a request is visible"
        assert rows >= before, f"{rows} rows after {before}: rows are gone"
        reads, before = reads + 1, rows
    print(before, reads)
