"""A PostgreSQL server of the run's own, on a socket in a temporary folder; tests/kit/postgres.rs does the same for Rust.

PostgreSQL refuses to run as root, so root runs it as `nobody`. Should the run be killed, the server goes too.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

NOBODY = 65534


def command(name):
    # Debian keeps them outside of the path.
    debian = map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    binary = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *debian]))
    if not binary:
        sys.exit(f"{name} is missing: install PostgreSQL (apt-get install postgresql), as .ci/run does")
    drop = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig", "INT", *drop, binary]


@contextlib.contextmanager
def server():
    """The URL of a server that runs while this is entered."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=laked"]
        data = ["-D", f"{folder}/data"]
        subprocess.run([*command("initdb"), *options, *data], check=True, cwd="/", stdout=subprocess.DEVNULL)
        settings = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        process = subprocess.Popen([*command("postgres"), *data, *settings], cwd="/", stderr=subprocess.PIPE, text=True)
        try:
            said = ""
            for line in process.stderr:
                said += line
                if "ready to accept connections" in line:
                    break
            else:
                sys.exit(f"postgres ended: {said}")
            # A pipe that nobody empties would stop it.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield f"postgres://laked@{folder.replace('/', '%2F')}/postgres"
        finally:
            # Sessions are cut off, and it ends in order.
            process.send_signal(signal.SIGINT)
            process.wait(60)
