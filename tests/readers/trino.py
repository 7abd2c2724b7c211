"""Trino 476 reads and writes a lake: `make readers`.

Fetches the server core and the iceberg plugin with Maven into .trino (half a gigabyte, once), starts a daemon on a lake
of its own with a small sample in it, and Trino beside it. Needs `mvn`, and Java 22 or newer: JAVA_HOME, or one below
/usr/lib/jvm.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "476"
HOME = ROOT / ".trino"


def java():
    """The newest Java found, which must be 22 or newer."""
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
    if not found or max(found)[0] < 22:
        sys.exit("Trino needs Java 22 or newer: set JAVA_HOME")
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


def configure(server, data, catalog, port):
    etc = data / "etc"
    (etc / "catalog").mkdir(parents=True)
    (etc / "node.properties").write_text(f"node.environment=test\nnode.id=one\nnode.data-dir={data}\n")
    (etc / "jvm.config").write_text("-server\n-Xmx1G\n")
    (etc / "config.properties").write_text(f"""coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
query.max-memory=300MB
query.max-memory-per-node=300MB
memory.heap-headroom-per-node=200MB
""")
    (etc / "catalog" / "lake.properties").write_text(f"""connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={catalog}
fs.native-local.enabled=true
local.location=/
""")
    return etc


def query(port, sql):
    """Runs one statement; rows, or an exception with Trino's message."""
    headers = {"X-Trino-User": "test", "X-Trino-Catalog": "lake"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/statement", sql.encode(), headers)
    rows = []
    while True:
        with urllib.request.urlopen(request, timeout=120) as response:
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
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    server, home = fetch(), java()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        port = free_port()
        url = f"http://127.0.0.1:{free_port()}"
        binaries = ROOT / "target" / "release"
        daemon = subprocess.Popen([binaries / "laked", "--lake", folder / "lake", "--listen", url.removeprefix("http://")])
        trino = None
        try:
            wait_ready(url, daemon)
            body = subprocess.run([binaries / "lakectl", "sample", "cgm", "--users", "20"], check=True, capture_output=True).stdout
            post(f"{url}/ingest/glucose/cgm_readings?wait=committed", body)
            wanted = body.count(b"\n")
            etc = configure(server, folder / "trino", url, port)
            trino = subprocess.Popen(
                [server / "bin" / "launcher", "run", f"--etc-dir={etc}"],
                env={**os.environ, "JAVA_HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"},
                stdout=open(folder / "trino.log", "w"), stderr=subprocess.STDOUT,
            )
            check(port, trino, wanted)
        finally:
            for process in filter(None, (trino, daemon)):
                process.terminate()
                process.wait(60)


def check(port, trino, wanted):
    table = "lake.glucose.cgm_readings"
    rows = await_first(port, f"SELECT count(*), count(DISTINCT reading_id) FROM {table}", trino)
    assert rows == [[wanted, wanted]], rows
    of_country = query(port, f"SELECT country, count(*) FROM {table} GROUP BY country")
    assert sum(count for _, count in of_country) == wanted, of_country
    partitions = query(port, 'SELECT count(*) FROM lake.glucose."cgm_readings$partitions"')
    assert partitions[0][0] >= len(of_country), partitions
    query(port, "CREATE TABLE lake.glucose.by_trino AS SELECT user_id, avg(glucose_mg_dl) AS mean FROM "
          f"{table} GROUP BY user_id")
    users = query(port, "SELECT count(*) FROM lake.glucose.by_trino")[0][0]
    assert users == 20, users
    query(port, "DROP TABLE lake.glucose.by_trino")
    print(f"Trino {VERSION} read {wanted} rows, and wrote and dropped a table")


def wait_ready(url, daemon):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    sys.exit("laked is not ready")


def post(url, body):
    request = urllib.request.Request(url, body, {"content-type": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.status == 200, response.status


if __name__ == "__main__":
    main()
