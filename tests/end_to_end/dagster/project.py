"""The code location copied into a folder of its own, and processes that run on it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support.paths import ROOT

DG = str(Path(sys.executable).with_name("dg"))
# What `create-dagster project shop` writes, as far as `dg` reads it: it looks for shop.definitions.
PROJECT = """
[project]
name = "shop"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""


def copy_project(folder: Path) -> Path:
    """Copy what `dg` needs, so that nothing is written into this checkout."""
    project = folder / "shop"
    project.mkdir()
    for name in ("dagster_defs", "sample_data"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "home").mkdir()
    return project


def environment(project: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that runs on the project."""
    return os.environ | {
        "DAGSTER_HOME": str(project / "home"),
        "VIRTUAL_ENV": sys.prefix,
        "INCARTS_LEDGER": str(project / "ledger.db"),
        **more,
    }


def dg(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `dg` to its end."""
    return subprocess.run(
        [DG, *arguments],
        cwd=project,
        env=environment(project, **more),
        capture_output=True,
        text=True,
        timeout=300,
    )


class Ui:
    """A running `make ui`: Dagster at `url`, its Incarts at `incarts`, steered with `token`."""

    def __init__(self, url: str, incarts: str, token: str) -> None:
        self.url, self.incarts, self.token = url, incarts, token

    def graphql(self, query: str, **variables: Any) -> Any:
        """Ask Dagster."""
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        return answer.raise_for_status().json()["data"]

    def location(self) -> str:
        """Return the code location's name."""
        query = "{repositoriesOrError{... on RepositoryConnection{nodes{location{name}}}}}"
        [node] = self.graphql(query)["repositoriesOrError"]["nodes"]
        return str(node["location"]["name"])

    def launch_nightly(self) -> str:
        """Launch the job incarts_nightly; return the run's id."""
        query = """mutation($selector: JobOrPipelineSelector!) {
            launchRun(executionParams: {selector: $selector, runConfigData: {}}) {
                ... on LaunchRunSuccess { run { runId } }
                ... on PythonError { message }
            }
        }"""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": self.location(),
            "jobName": "incarts_nightly",
        }
        return str(self.graphql(query, selector=selector)["launchRun"]["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """Do what the button Terminate does."""
        query = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
        answer = self.graphql(query, id=run_id)
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def runs(self) -> list[str]:
        """Return the ids of all runs."""
        query = "{ runsOrError { ... on Runs { results { runId } } } }"
        return [str(run["runId"]) for run in self.graphql(query)["runsOrError"]["results"]]

    def status(self, run_id: str) -> str:
        """Return a run's status."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.graphql(query, id=run_id)["runOrError"]["status"])

    def wait(self, run_id: str, *statuses: str) -> str:
        """Wait until a run has one of the statuses."""
        until = time.monotonic() + 120
        while (status := self.status(run_id)) not in statuses:
            assert time.monotonic() < until, status
            time.sleep(0.2)
        return status

    def requests(self) -> list[dict[str, Any]]:
        """Return what the Incarts beside it was asked so far."""
        return list(self._asked("requests"))

    def audit(self) -> dict[str, Any]:
        """Return the audit of the Incarts beside it."""
        return dict(self._asked("audit"))

    def _asked(self, what: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(f"{self.incarts}/_sandbox/{what}", headers=headers).json()


@contextmanager
def running_ui(project: Path, **more: str) -> Iterator[Ui]:
    """Run what `make ui` runs, on the project, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster_defs.ui"],
        cwd=project,
        env=environment(project, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "Serving dagster-webserver" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        ready.wait(120)
        told = r"Dagster: (\S+)  \(Incarts: (\S+), its controls' token: (\S+)\)"
        found = re.search(told, "".join(lines))
        assert found is not None, "".join(lines)
        _wait_until_answers(found[1])
        yield Ui(found[1], found[2], found[3])
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


def _wait_until_answers(url: str) -> None:
    """Wait for the server: it says that it is serving a moment before it does."""
    until = time.monotonic() + 60
    while True:
        try:
            httpx.get(url, timeout=60)
        except httpx.ConnectError:
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return
