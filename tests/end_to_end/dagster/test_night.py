"""A night: from the folder that the guide begins with, to a run that the schedule began."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.project import DG, ROOT
from tests.end_to_end.dagster.test_docs import PAGE, make_project
from tests.project.test_docs import blocks

_SECONDS = 240  # for `dg dev` to start, and for the next minute to come
_RUNS = """{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"""


@contextmanager
def served(project: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run the guide's `dg dev` and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A file, because nobody reads a pipe while the test waits.
    with (project / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [DG, "dev", "--port", str(port)],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def runs(url: str) -> list[dict[str, Any]]:
    """Return the runs that Dagster knows, none while it isn't up yet."""
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": _RUNS}, timeout=60)
    except httpx.TransportError:
        return []
    return list(answer.raise_for_status().json()["data"]["runsOrError"]["results"])


def test_schedule_runs_by_itself(tmp_path: Path, box: Sandbox) -> None:
    """The guide's component, loaded by `dg dev`: the night comes, and nobody switched it on."""
    project = make_project(tmp_path / "shop")
    (project / "home").mkdir()
    environment = os.environ | {
        "INCARTS": str(ROOT),
        "PATH": f"{Path(DG).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{project / 'src'}{os.pathsep}{ROOT}",
        "DAGSTER_HOME": str(project / "home"),
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_LEDGER": str(project / "ledger.db"),
        "INCARTS_RATE": "fixed:none",
    }
    _, fill, *_ = blocks("sh", PAGE)
    subprocess.run(fill, shell=True, cwd=project, env=environment, check=True, timeout=300)
    # The guide's night, only that it comes every minute.
    text = re.sub('cron: "[^"]*"', 'cron: "* * * * *"', blocks("yaml", PAGE)[0])
    (project / "src" / "shop" / "defs" / "links" / "defs.yaml").write_text(text)
    with served(project, environment) as url:
        until = time.monotonic() + _SECONDS
        while not (ended := [run for run in runs(url) if run["status"] in ("SUCCESS", "FAILURE")]):
            assert time.monotonic() < until, (project / "dev.log").read_text()
            time.sleep(1)
    first = ended[-1]
    tags = {tag["key"]: tag["value"] for tag in first["tags"]}
    assert (first["status"], tags["dagster/schedule_name"]) == (
        "SUCCESS",
        "incarts_nightly_schedule",
    )
    assert pq.read_table(project / "data" / "links.parquet").num_rows == 194
    assert (box.audit().links, box.audit().duplicates) == (176, 0)
