"""Spark sessions: of Sail, which needs no Java, and of Spark itself where it is installed."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SAIL = "sail"
SPARK = "spark"


def why_not(kind: str) -> str | None:
    """Return why there is no session of a kind, None where there can be one."""
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark isn't installed"
    if kind == SAIL:
        return None if importlib.util.find_spec("pysail") else "pysail isn't installed"
    if importlib.util.find_spec("py4j") is None:
        return "only the client of Spark is installed, not pyspark itself"
    return None if shutil.which("java") else "there is no Java"


@contextmanager
def session(kind: str) -> Iterator[Any]:
    """Yield a session; of Spark one with two tasks at a time, each tried up to four times."""
    # Of what pyspark says of its own: that pandas 3 is new to it, and that sockets are left open.
    warnings.filterwarnings("ignore", module=r"pyspark\b")
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    from pyspark.sql import SparkSession

    # pyspark takes a main module without a file, as xdist's workers have, for doctests of its own.
    sys.modules["__main__"].__dict__.setdefault("__file__", __file__)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    logging.getLogger("py4j").setLevel(logging.ERROR)
    if kind == SPARK:
        made = (
            SparkSession.builder.master("local[2,4]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", "3")
            .config("spark.driver.host", "127.0.0.1")
            .getOrCreate()
        )
        try:
            yield made
        finally:
            made.stop()
        return
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    # By the variable, so that what asks for the process's session finds this one.
    os.environ["SPARK_REMOTE"] = f"sc://127.0.0.1:{server.listening_address[1]}"
    made = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).create()
    try:
        yield made
    finally:
        del os.environ["SPARK_REMOTE"]
        made.stop()
        server.stop()
