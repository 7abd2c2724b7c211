"""The catalog's figures: `make bench-catalog`. Prints a table for tests/bench/results/.

Drives target/release/examples/catalog_load against `laked` on this machine's disk, commits once more on a disk whose
syncs take SYNC_DELAY_US longer (slow_disk.c; 3,500 unless it is set: a durable file takes some 8 ms), and then against
Apache Iceberg's reference server (iceberg-open-api's test fixtures over JdbcCatalog and SQLite) with the same client.
Its jars come by Maven (reference/pom.xml pins their versions, reference/jars.sha256 their bytes); ARGS=--alone leaves it
out. Needs a C compiler, and for the reference `mvn` and Java 17 or newer.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import daemon

HERE = pathlib.Path(__file__).resolve().parent
LOAD = daemon.BINARIES / "examples" / "catalog_load"


def load(what, whom, folder, **environment):
    folder.mkdir()
    subprocess.run([LOAD, what, whom, folder], check=True, env={**os.environ, **environment})


def slow_disk(folder):
    library = folder / "slow_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "slow_disk.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SYNC_DELAY_US": os.environ.get("SYNC_DELAY_US", "3500")}


def jars():
    """The reference's class path, each jar's bytes checked."""
    listed = daemon.WORK / "reference.txt"
    listed.parent.mkdir(parents=True, exist_ok=True)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
    command = ["mvn", "-q", "-B", "-ntp", "-Dstyle.color=never", "-f", HERE / "reference" / "pom.xml"]
    subprocess.run([*command, f"-Dmdep.outputFile={listed}", goal], check=True, stdout=sys.stderr)
    found = [pathlib.Path(jar) for jar in listed.read_text().strip().split(os.pathsep)]
    wanted = dict(reversed(line.split()) for line in (HERE / "reference" / "jars.sha256").read_text().splitlines())
    for jar in found:
        if wanted.get(jar.name) != hashlib.sha256(jar.read_bytes()).hexdigest():
            sys.exit(f"{jar.name} is not what reference/jars.sha256 says: not used")
    return os.pathsep.join(map(str, found))


def reference(folder, path):
    """The reference server on a free port, in the folder; its process and its address."""
    folder.mkdir()
    port = daemon.free_port()
    environment = {
        "CATALOG_CATALOG__IMPL": "org.apache.iceberg.jdbc.JdbcCatalog",
        "CATALOG_URI": f"jdbc:sqlite:{folder / 'catalog.db'}",
        "CATALOG_WAREHOUSE": (folder / "warehouse").as_uri(),
        "CATALOG_REST_PORT": str(port),
    }
    command = ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", path, "org.apache.iceberg.rest.RESTCatalogServer"]
    with open(folder / "log", "w") as log:
        child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/config", timeout=5).close()
            return child, f"127.0.0.1:{port}"
        except urllib.error.URLError:
            time.sleep(0.2)
    sys.exit(f"the reference server is not ready: {(folder / 'log').read_text()[-2000:]}")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="catalog-", dir=daemon.WORK))
    try:
        print("| what | figure |\n|---|---|", flush=True)
        load("all", daemon.BINARIES / "laked", folder / "fast")
        slow = slow_disk(folder)
        print(f"| **each sync {slow['SYNC_DELAY_US']} µs later** | |", flush=True)
        load("commits", daemon.BINARIES / "laked", folder / "slow", **slow)
        if "--alone" in sys.argv[1:]:
            return
        child, address = reference(folder / "reference", jars())
        print("| **the reference server on this disk** | |", flush=True)
        try:
            load("at", address, folder / "client")
        finally:
            child.kill()
            child.wait()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    daemon.WORK.mkdir(parents=True, exist_ok=True)
    main()
