"""Spark 4.0 on this machine with Iceberg's runtime, beside a daemon.

PySpark comes from `tests/requirements-readers.txt`, the runtime by Maven into .engines (once). Needs Java 17 to 21. Two
catalogs of the same daemon: `lake`, and `planned`, which leaves the planning of its scans to the daemon.
"""

import os
import pathlib
import subprocess

import trino

RUNTIME = "iceberg-spark-runtime-4.0_2.13"
VERSION = "1.11.0"
HOME = pathlib.Path(__file__).resolve().parents[2] / ".engines"


def fetch():
    jar = HOME / f"{RUNTIME}-{VERSION}.jar"
    if not jar.exists():
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
        artifact = f"-Dartifact=org.apache.iceberg:{RUNTIME}:{VERSION}"
        subprocess.run(["mvn", "-q", "-B", goal, artifact, f"-DoutputDirectory={HOME}"], check=True)
    return jar


def session(url, folder, credential=None, memory="1g"):
    os.environ["JAVA_HOME"] = str(trino.java(17, 21))
    from pyspark.sql import SparkSession

    settings = {
        "spark.jars": str(fetch()),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "spark"),
    }
    for name, more in (("lake", {}), ("planned", {"scan-planning-mode": "server"})):
        catalog = {"": "org.apache.iceberg.spark.SparkCatalog", ".type": "rest", ".uri": url}
        if credential:
            more = {**more, "credential": credential, "oauth2-server-uri": f"{url}/v1/oauth/tokens"}
        catalog |= {f".{key}": value for key, value in more.items()}
        settings |= {f"spark.sql.catalog.{name}{key}": value for key, value in catalog.items()}
    builder = SparkSession.builder.master("local[2]").appName("laked")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark
