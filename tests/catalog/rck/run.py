"""Apache Iceberg's REST Compatibility Kit against `laked`: `make test-catalog`.

Resolves the kit's jars with Maven (pom.xml pins their versions, jars.sha256 their bytes), starts a daemon on a lake of
its own, and runs three parts, each in a Java process of its own: the kit's catalog tests, its view tests, and those of
nested namespaces and of names with dots and slashes, which no setting of the kit switches on (java/Names.java). All of
it with the catalog's state in SQLite, and again in PostgreSQL.

A part fails if a test fails, and if one is left out that `left-out.txt` does not name with a reason, or none is left
out that it names. Logs stay in .rck/. Needs `mvn`, PostgreSQL, `java` and `javac`, 17 or newer. TEST_BIN_DIR says where `laked` is; arguments are
given to it.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
import queue
import re
import subprocess
import sys
import tempfile
import threading

import postgres

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUT = ROOT / ".rck"
PACKAGE = "org.apache.iceberg.rest"
PARTS = {
    "catalog": ("RESTCompatibilityKitCatalogTests", ".*"),
    "view": ("RESTCompatibilityKitViewCatalogTests", ".*"),
    "names": ("Names", ".*#(.*NestedNamespace.*|.*With(Dot|Slash).*)"),
}
SETTINGS = ["-Drck.local=false", "-Drck.requires-namespace-create=true", "-Drck.supports-serverside-retry=true"]
DATABASES = {"SQLite": lambda: contextlib.nullcontext(""), "PostgreSQL": postgres.server}


def resolve():
    """The kit's class path, each jar's bytes checked."""
    listed = OUT / "classpath.txt"
    if not listed.exists() or listed.stat().st_mtime < (HERE / "pom.xml").stat().st_mtime:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
        subprocess.run(["mvn", "-q", "-B", "-ntp", "-Dstyle.color=never", "-f", HERE / "pom.xml", f"-Dmdep.outputFile={listed}", goal], check=True)
    jars = [pathlib.Path(jar) for jar in listed.read_text().strip().split(os.pathsep)]
    wanted = dict(reversed(line.split()) for line in (HERE / "jars.sha256").read_text().splitlines())
    for jar in jars:
        found = hashlib.sha256(jar.read_bytes()).hexdigest()
        if wanted.pop(jar.name, None) != found:
            sys.exit(f"{jar.name} has SHA-256 {found}, which is not what jars.sha256 says: not used")
    if wanted:
        sys.exit(f"jars.sha256 names what pom.xml does not bring: {', '.join(wanted)}")
    return jars


def compile_names(jars):
    classes = OUT / "classes"
    command = ["javac", "-nowarn", "-d", classes, "-cp", os.pathsep.join(map(str, jars)), *(HERE / "java").glob("*.java")]
    subprocess.run(command, check=True)
    return classes


def start(folder, database):
    """A daemon on a free port, with this script's arguments; the process and its address, which it logs."""
    binary = pathlib.Path(os.environ.get("TEST_BIN_DIR", ROOT / "target" / "release")) / "laked"
    # The kit writes to locations in the system's temporary folder.
    allowed = pathlib.Path(tempfile.gettempdir()).as_uri()
    command = [binary, "--lake", folder / "lake", "--listen", "127.0.0.1:0", "--allow-location", allowed, *sys.argv[1:]]
    command += ["--database", database] if database else []
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = queue.Queue()

    def read():
        with open(OUT / "laked.log", "w") as log:
            for line in process.stderr:
                log.write(line)
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := lines.get(timeout=60)) is not None:
        if match := re.search(r"http://[0-9.:]+", line):
            return process, match[0]
    sys.exit(f"laked ended at once: see {OUT / 'laked.log'}")


def not_passed(report):
    """The tests with a cross, or that were aborted or skipped: name, mark, and what was said, from the launcher's tree."""
    mark = re.compile(r"([A-Za-z_]\w*|\[\d+\] .*?)(?:\(.*?\))? \[(X|A|S)\] ?(.*)")
    return [match.groups() for match in map(mark.search, report.splitlines()) if match]


def count(report, outcome):
    """How many tests the launcher says there were of an outcome; -1 if it says nothing."""
    match = re.search(rf"\[\s*(\d+) tests {outcome}\s*\]", report)
    return int(match[1]) if match else -1


def run(name, classpath, uri, warehouse, folder):
    suite, methods = PARTS[name]
    command = ["java", "-Xmx1g", f"-Djava.io.tmpdir={folder}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    command += [*SETTINGS, f"-Duri={uri}", f"-Dwarehouse={warehouse}", "-cp", classpath]
    command += ["org.junit.platform.console.ConsoleLauncher", "execute", "--select-class", f"{PACKAGE}.{suite}"]
    command += ["--include-classname", ".*", "--include-methodname", methods, "--fail-if-no-tests"]
    command += ["--details=tree", "--details-theme=ascii", "--disable-banner", "--disable-ansi-colors"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def judge(title, report, allowed):
    """Prints a part's outcome; whether it is as it must be."""
    log = OUT / f"{title.replace(' ', '-')}.log"
    log.write_text(report)
    passed, failing = count(report, "successful"), count(report, "failed")
    found = not_passed(report)
    failed = [f"{test}: {said}" for test, mark, said in found if mark == "X"]
    left_out = {test: said for test, mark, said in found if mark in "AS"}
    print(f"{title}: {passed} passed, {failing} failed, {len(left_out)} left out")
    for test in left_out:
        print(f"  {test}: {allowed.get(test, 'no reason')}")
    problems = [f"failed: {line}" for line in failed]
    problems += [f"left out without a reason: {test}: {said}" for test, said in left_out.items() if test not in allowed]
    problems += [f"no longer left out, remove it from left-out.txt: {test}" for test in allowed if test not in left_out]
    uncounted = count(report, "aborted") + count(report, "skipped") != len(left_out)
    if passed < 1 or failing != 0 or uncounted:
        problems.append(f"what the launcher counts is not as it must be: see {log}")
    for problem in problems:
        print(f"  {problem}")
    return not problems


def reasons():
    """Tests that are left out, by part: lines of `part test: reason`."""
    allowed = {name: {} for name in PARTS}
    for line in (HERE / "left-out.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            test, reason = line.split(": ", 1)
            part, test = test.split(" ", 1)
            allowed[part][test] = reason
    return allowed


def main():
    OUT.mkdir(exist_ok=True)
    jars = resolve()
    classpath = os.pathsep.join(map(str, [compile_names(jars), *jars]))
    allowed, good = reasons(), True
    for database, name in itertools.product(DATABASES, PARTS):
        with tempfile.TemporaryDirectory() as folder, DATABASES[database]() as url:
            folder = pathlib.Path(folder).resolve()
            daemon, uri = start(folder, url)
            try:
                warehouse = f"file://{folder}/lake/warehouse"
                good &= judge(f"{name} on {database}", run(name, classpath, uri, warehouse, folder), allowed[name])
            finally:
                daemon.terminate()
                daemon.wait(60)
    print("the kit is content" if good else "the kit is not content")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
