"""A night: from the folder that the guide begins with, to a run that the schedule began."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.project import DG, ROOT
from tests.end_to_end.dagster.test_docs import PAGE, make_project
from tests.project.test_docs import blocks

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
SCHEDULE = "incarts_nightly_schedule"
_SECONDS = 240  # for `dg dev` to start, and for the next minute to come
_SCHEDULES = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
    schedules { name scheduleState { status } } } } } }"""
_ASSETS = "{ assetNodes { assetKey { path } } }"
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
        return list(asked(url, _RUNS)["runsOrError"]["results"])
    except httpx.TransportError:
        return []


def asked(url: str, query: str) -> Any:
    """Return what Dagster answers."""
    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=60)
    return answer.raise_for_status().json()["data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A project in which a night has run, with Dagster still up at `url`."""

    url: str
    project: Path
    box: Sandbox
    run: dict[str, Any]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The guide's component, loaded by `dg dev`, until a night has come; nobody switched it on."""
    project = make_project(tmp_path_factory.mktemp("night") / "shop")
    (project / "home").mkdir()
    with Sandbox() as box:
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
            yield Night(url=url, project=project, box=box, run=first_run(url, project))


def first_run(url: str, project: Path) -> dict[str, Any]:
    """Return the first run that has ended, which may be the one of the next minute."""
    until = time.monotonic() + _SECONDS
    while not (ended := [run for run in runs(url) if run["status"] in ("SUCCESS", "FAILURE")]):
        assert time.monotonic() < until, (project / "dev.log").read_text()
        time.sleep(1)
    return ended[-1]


def test_schedule_runs_by_itself(night: Night) -> None:
    """The schedule is on, the night's run is its own, and each product has its link."""
    [found] = asked(night.url, _SCHEDULES)["repositoriesOrError"]["nodes"][0]["schedules"]
    assert (found["name"], found["scheduleState"]["status"]) == (SCHEDULE, "RUNNING")
    tags = {tag["key"]: tag["value"] for tag in night.run["tags"]}
    assert (night.run["status"], tags["dagster/schedule_name"]) == ("SUCCESS", SCHEDULE)
    assert pq.read_table(night.project / "data" / "links.parquet").num_rows == 194
    assert (night.box.audit().links, night.box.audit().duplicates) == (176, 0)


@pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)
def test_the_night_is_seen_in_a_browser(night: Night) -> None:
    """The schedule is on, its tick led to a run, and the asset has that run's links and checks."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    SHOTS.mkdir(exist_ok=True)
    run_id = night.run["runId"]
    [node] = asked(night.url, _ASSETS)["assetNodes"]
    asset = "/".join([night.url, "assets", *node["assetKey"]["path"]])
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})

        def see(name: str, address: str, *texts: str) -> None:
            page.goto(address)
            for text in texts:
                page.get_by_text(text).filter(visible=True).first.wait_for(timeout=60_000)
            page.screenshot(path=SHOTS / f"night-{name}.png")

        see("schedules", f"{night.url}/automation", SCHEDULE, "Every minute")
        see("ticks", f"{night.url}/locations/shop/schedules/{SCHEDULE}", "Every minute", run_id[:8])
        see("asset", f"{asset}?view=events", "incarts/requests")
        see("checks", f"{asset}?view=checks", "no_row_lost", "Succeeded")
        browser.close()
