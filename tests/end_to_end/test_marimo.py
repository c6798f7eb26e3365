"""Cards in a real marimo: its own page in a browser, in its theme, with nothing from elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from incarts_pipeline.sandbox import Sandbox

pytest.importorskip("marimo", reason="marimo is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
    ),
]
SHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / "screenshots"))
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 31)"
_SECONDS = 120
# What marimo itself writes, and a theme that is not the system's.
NOTEBOOK = """\
# /// script
# [tool.marimo.display]
# theme = "{theme}"
# ///
import marimo

app = marimo.App()


@app.cell
def _():
    from incarts_pipeline import plan_links, suggest_mapping, write_links

    frame = [
        {{"sku": f"s{{at}}", "title": title, "walmart_item_id": str(50_000 + at)}}
        for at, title in enumerate(["Tea", "<script>document.title = 'run'</script>", "Rye"])
    ]
    guessed = suggest_mapping(frame, link_set="summer")
    guessed
    return frame, guessed, plan_links, write_links


@app.cell
def _(frame, guessed, plan_links):
    plan = plan_links(frame, guessed.mapping)
    plan
    return (plan,)


@app.cell
def _(frame, guessed, plan, write_links):
    result = write_links(frame, guessed.mapping, output="links.parquet")
    result
    return (result,)


@app.cell
def _(result):
    result.link(sku="s1")
    return


if __name__ == "__main__":
    app.run()
"""


@contextmanager
def served(folder: Path, theme: str, box: Sandbox) -> Iterator[str]:
    """Run a notebook as marimo does, and yield its address."""
    (folder / "notebook.py").write_text(NOTEBOOK.format(theme=theme), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "HOME": str(folder),
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_LEDGER": str(folder / "ledger.db"),
        "INCARTS_RATE": "fixed:none",
    }
    command = ["run", "notebook.py", "--headless", "--no-token", "--host", "127.0.0.1"]
    with (folder / "marimo.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "marimo", *command, "--port", str(port)],
            cwd=folder,
            env=os.environ | given,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _SECONDS
        while not _answers(url):
            told = (folder / "marimo.log").read_text()
            assert process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("theme", "scheme", "colour"), [("light", "dark", LIGHT), ("dark", "light", DARK)]
)
def test_cards_in_marimo(
    tmp_path: Path, box: Sandbox, theme: str, scheme: str, colour: str
) -> None:
    """Suggestion, plan, result and link are cards in marimo's theme; no text of theirs is run."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    away: list[str] = []
    with served(tmp_path, theme, box) as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)

        def only_local(route: sync_api.Route) -> None:
            if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost", None):
                route.continue_()
            else:
                away.append(route.request.url)
                route.abort()

        page.route("**/*", only_local)
        page.goto(url)
        labels = ("Suggested mapping", "Plan", "Result", "Link")
        cards = {name: page.locator(f'section.incarts[aria-label="{name}"]') for name in labels}
        for card in cards.values():
            card.wait_for(timeout=_SECONDS * 1000)
            found = card.evaluate("one => getComputedStyle(one).backgroundColor")
            assert found == colour
        page.screenshot(path=SHOTS / f"marimo-{theme}.png", full_page=True)
        assert cards["Link"].locator("svg title").text_content().startswith("QR code of")  # type: ignore[union-attr]
        assert "<script>document.title = 'run'</script>" in cards["Link"].inner_text()
        assert page.title() != "run"
        assert page.evaluate("document.documentElement.scrollWidth") <= 1100
        browser.close()
    assert box.audit().links == 3
    assert away == []  # marimo's own parts come from its package, and cards load nothing
