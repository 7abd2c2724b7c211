"""A `laked` of the release build on a lake of its own."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import process

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("TEST_BIN_DIR", ROOT / "target" / "release"))
WORK = ROOT / "target" / "bench"


def sample(name, users, *options):
    """A sample file, made once; its path and its rows."""
    path = WORK / "samples" / f"{users}-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = path.with_name(path.name + ".rows")
    if not count.exists():
        command = [BINARIES / "lakectl", "sample", "cgm", "--users", str(users), *options, "-o", path]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        count.write_text(re.match(r"(\d+) records", said.splitlines()[-1])[1])
    return path, int(count.read_text())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """Use as a context: the lake is removed at the end. `fill` makes a lake in its folder before the daemon starts."""

    def __init__(self, **settings):
        self.settings = settings

    def __enter__(self):
        self.lake = WORK / f"lake-{os.getpid()}"
        shutil.rmtree(self.lake, ignore_errors=True)
        if "fill" in self.settings:
            self.settings["fill"](self.lake)
        self.start()
        return self

    def start(self):
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        # Figures are of one thing at a time: nothing is compacted meanwhile.
        environment = {**os.environ, "LAKED_LOG_LEVEL": "warn", "LAKED_MAINTENANCE_TABLES": "none"}
        environment.update({key: str(value) for key, value in self.settings.items() if key not in ("schemas", "fill")})
        command = [BINARIES / "laked", "--lake", self.lake, "--listen", address]
        if "schemas" in self.settings:
            command += ["--schemas", self.settings["schemas"]]
        self.child = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while not self.healthy():
            if self.child.poll() is not None or time.monotonic() > deadline:
                sys.exit("laked is not ready: see its message above")
            time.sleep(0.1)

    def restart(self, settings):
        """The same lake with other settings besides."""
        self.child.terminate()
        self.child.wait(120)
        self.settings.update(settings)
        self.start()

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(120)
        shutil.rmtree(self.lake, ignore_errors=True)

    def healthy(self):
        try:
            return self.get("/health") is not None
        except OSError:
            return False

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return response.read().decode()

    def post(self, path, body, kind="application/x-ndjson"):
        request = urllib.request.Request(self.url + path, body, {"content-type": kind})
        with urllib.request.urlopen(request, timeout=600) as response:
            return json.load(response)

    def rows(self, table="cgm_readings"):
        metadata = json.loads(self.get(f"/v1/namespaces/glucose/tables/{table}?snapshots=refs"))["metadata"]
        current = metadata.get("current-snapshot-id")
        for snapshot in metadata.get("snapshots", []):
            if snapshot["snapshot-id"] == current:
                return int(snapshot["summary"]["total-records"])
        return 0

    def await_rows(self, wanted, every=0.25):
        moved, before = time.monotonic(), -1
        while (now := self.rows()) < wanted:
            if now != before:
                before, moved = now, time.monotonic()
            if time.monotonic() - moved > 600:
                sys.exit(f"{now} of {wanted} rows are visible, and nothing moves")
            time.sleep(every)

    def stage_seconds(self, stage):
        """Sum and count of a stage's histogram."""
        text = self.get("/metrics")
        found = [re.search(rf'^laked_stage_seconds_{part}{{[^}}]*stage="{stage}"[^}}]*}} (\S+)$', text, re.M) for part in ("sum", "count")]
        return tuple(float(match[1]) if match else 0.0 for match in found)

    def drop(self, path):
        """Puts a copy into the inbox the way a producer should: under a dot name, then renamed."""
        inbox = self.lake / "inbox" / "glucose.cgm_readings"
        part = inbox / f".{path.name}.part"
        shutil.copyfile(path, part)
        part.rename(inbox / path.name)

    def usage(self):
        return process.Usage(self.child.pid)
