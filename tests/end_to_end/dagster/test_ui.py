"""Dagster's UI in a real browser, and its button Terminate."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox.config import DEFAULT_KEY
from tests.end_to_end.dagster.project import Ui, copy_project, running_ui

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHECKS = (
    "no_row_lost",
    "one_link_per_content",
    "rejected_share",
    "suspicious_share",
    "new_rejects",
    "nothing_in_doubt",
    "nothing_stale",
)
SHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code location."""
    return copy_project(tmp_path_factory.mktemp("ui"))


@pytest.fixture(scope="module")
def ui(project: Path) -> Iterator[Ui]:
    """The UI, with a slow Incarts: 30 links a second, so that there is time to interrupt."""
    with running_ui(project, INCARTS_RATE="fixed:30") as running:
        yield running


def test_terminate_stops_sending_and_publishes(ui: Ui, project: Path) -> None:
    """Within a second nothing is sent any more; what was made is recorded, and nothing twice."""
    run_id = ui.launch_nightly()
    until = time.monotonic() + 300
    while len(ui.requests()) < 20:
        assert time.monotonic() < until
        time.sleep(0.05)
    ui.terminate(run_id)
    asked = time.time()
    assert ui.wait(run_id, "CANCELED", "FAILURE", "SUCCESS") == "CANCELED"
    times = [one["at"] for one in ui.requests()]
    assert len(times) < 176
    assert max(times) < asked + 1.0
    table = pq.read_table(project / "demo" / "links.parquet")
    assert table.num_rows == 194
    created = sum(status == "created" for status in table["status"].to_pylist())
    assert abs(created - len(times)) <= 1  # two catalog rows share one link
    query = """{ assetOrError(assetKey: {path: ["incarts", "links"]}) { ... on Asset {
        assetMaterializations(limit: 5) { runId } } } }"""
    [made] = ui.graphql(query)["assetOrError"]["assetMaterializations"]
    assert made["runId"] == run_id
    again = ui.launch_nightly()
    assert ui.wait(again, "SUCCESS", "FAILURE") == "SUCCESS"
    audit = ui.audit()
    assert (audit["links"], audit["duplicates"]) == (176, 0)


@pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)
def test_browser_shows_links_checks_and_no_key(ui: Ui, project: Path) -> None:
    """Materialize by a click; the checks are green, the numbers there, the key nowhere."""
    SHOTS.mkdir(exist_ok=True)
    if not (project / "demo" / "catalog.csv").exists():
        assert ui.wait(ui.launch_nightly(), "SUCCESS", "FAILURE") == "SUCCESS"
    asset, job = f"{ui.url}/assets/incarts/links", f"{ui.url}/locations/{ui.location()}"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})

        def see(*texts: str) -> None:
            for text in texts:
                page.get_by_text(text).filter(visible=True).first.wait_for()

        page.goto(asset)
        before = ui.runs()
        page.get_by_role("button", name="Materialize").first.click()
        see("Launched run")
        [run_id] = set(ui.runs()) - set(before)
        assert ui.wait(run_id, "SUCCESS", "FAILURE") == "SUCCESS"
        seen = []
        for name, address, texts in (
            ("checks", f"{asset}?view=checks", CHECKS),
            ("metadata", f"{asset}?view=events", ["incarts/requests", "incarts/share_429"]),
            ("resource", f"{job}/resources/incarts", ["INCARTS_API_KEY"]),
            ("launchpad", f"{job}/jobs/incarts_nightly/playground", ["INCARTS_API_KEY"]),
        ):
            page.goto(address)
            see(*texts)
            if name == "checks":
                assert page.get_by_text("Succeeded").filter(visible=True).count() == len(CHECKS)
            page.screenshot(path=SHOTS / f"{name}.png")
            seen.append(page.content())
        browser.close()
    assert [text for text in seen if DEFAULT_KEY in text] == []
