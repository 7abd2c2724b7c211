"""Trino 476 on this machine, beside a daemon.

Fetches the server core and the iceberg plugin with Maven into .trino (half a gigabyte, once). Needs `mvn`, and Java 22
or newer: JAVA_HOME, or one below /usr/lib/jvm.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "476"
HOME = ROOT / ".trino"


def java(least=22, most=999):
    """The newest Java found of these versions."""
    homes = [pathlib.Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    homes += sorted(pathlib.Path("/usr/lib/jvm").glob("*")) if pathlib.Path("/usr/lib/jvm").exists() else []
    found = []
    for home in homes:
        binary = home / "bin" / "java"
        if not binary.exists():
            continue
        said = subprocess.run([binary, "-version"], capture_output=True, text=True).stderr
        match = re.search(r'version "(\d+)', said)
        found += [(int(match[1]), home)] if match else []
    found = [one for one in found if least <= one[0] <= most]
    if not found:
        sys.exit(f"there is no Java {least} or newer: set JAVA_HOME")
    return max(found)[1]


def fetch():
    server = HOME / f"trino-server-core-{VERSION}"
    plugin = server / "plugin" / "iceberg"
    if plugin.exists():
        return server
    HOME.mkdir(exist_ok=True)
    for artifact in (f"trino-server-core:{VERSION}:tar.gz", f"trino-iceberg:{VERSION}:zip"):
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
        subprocess.run(["mvn", "-q", "-B", goal, f"-Dartifact=io.trino:{artifact}", f"-DoutputDirectory={HOME}"], check=True)
    with tarfile.open(HOME / f"trino-server-core-{VERSION}.tar.gz") as archive:
        archive.extractall(HOME)
    shutil.rmtree(server / "plugin", ignore_errors=True)
    (server / "plugin").mkdir()
    with zipfile.ZipFile(HOME / f"trino-iceberg-{VERSION}.zip") as archive:
        archive.extractall(server / "plugin")
    (server / "plugin" / f"trino-iceberg-{VERSION}").rename(plugin)
    return server


def configure(data, catalog, port, credential, heap):
    login = f"""iceberg.rest-catalog.security=OAUTH2
iceberg.rest-catalog.oauth2.credential={credential}
iceberg.rest-catalog.oauth2.server-uri={catalog}/v1/oauth/tokens
""" if credential else ""
    etc = data / "etc"
    (etc / "catalog").mkdir(parents=True)
    (etc / "node.properties").write_text(f"node.environment=test\nnode.id=one\nnode.data-dir={data}\n")
    (etc / "jvm.config").write_text(f"-server\n-Xmx{heap}M\n")
    (etc / "config.properties").write_text(f"""coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
query.max-memory={heap * 3 // 10}MB
query.max-memory-per-node={heap * 3 // 10}MB
memory.heap-headroom-per-node={heap // 5}MB
""")
    (etc / "catalog" / "lake.properties").write_text(f"""connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={catalog}
fs.native-local.enabled=true
local.location=/
{login}""")
    return etc


def query(port, sql, seconds=120):
    """Runs one statement; rows, or an exception with Trino's message. An answer may take so many seconds."""
    headers = {"X-Trino-User": "test", "X-Trino-Catalog": "lake"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/statement", sql.encode(), headers)
    rows = []
    while True:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        rows += answer.get("data", [])
        if "nextUri" not in answer:
            return rows
        request = urllib.request.Request(answer["nextUri"], headers=headers)


def await_first(port, sql, server):
    """Until its first node has joined, Trino refuses queries: ask a real one until it answers."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return query(port, sql)
        except (OSError, RuntimeError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Trino does not answer: {error}")
            time.sleep(1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(url, folder, credential=None):
    """A Trino that has the daemon's catalog as `lake`; gives its port once it answers."""
    with started(url, folder, credential) as (port, _):
        yield port


@contextlib.contextmanager
def started(url, folder, credential=None, heap=1024):
    """The same with a heap of so many MiB; gives its port and its process."""
    server, home, port = fetch(), java(), free_port()
    etc = configure(folder / "trino", url, port, credential, heap)
    environment = {**os.environ, "JAVA_HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    command = [server / "bin" / "launcher", "run", f"--etc-dir={etc}"]
    with open(folder / "trino.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            await_first(port, "SELECT 1 FROM lake.information_schema.schemata LIMIT 1", process)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(60)
