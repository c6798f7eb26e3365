"""The documentation builds without a warning, is complete, and loads nothing from a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import incarts_pipeline
from tests.support.pages import page
from tests.support.paths import DOCS, ROOT

CONFIG = ROOT / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    ran = subprocess.run(
        [*command, "--config-file", str(CONFIG)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    return target


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site: Path) -> None:
    """Each page of docs/ is a page of the site."""
    assert {one.stem for one in DOCS.glob("*.md")} <= {one.stem for one in site.glob("*.html")}


@pytest.mark.slow
def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    """Scripts, styles, fonts and images are the site's own; only links lead elsewhere."""
    foreign = re.compile(r"""(?:src|srcset)=["']?(?:https?:)?//|<link[^>]+href=["']?https?://""")
    for file in site.glob("*.html"):
        assert not foreign.search(file.read_text(encoding="utf-8")), file.name
    for file in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?://|@import", file.read_text("utf-8")), file.name


def entries(nav: Any) -> list[str]:
    """Return the pages that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in entries(part)]


def test_every_page_is_in_the_navigation() -> None:
    """A page that nobody can click to is not there."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    pages = [one.name for one in DOCS.glob("*.md")]
    notebooks = [f"notebooks/{one.stem}.md" for one in (ROOT / "notebooks").glob("*.ipynb")]
    assert sorted(entries(config["nav"])) == sorted(pages + notebooks)


def test_every_public_name_is_in_the_reference() -> None:
    """The API reference has all names of `__all__`, each once."""
    named = re.findall(r"^::: incarts_pipeline\.(\w+)$", page("api.md"), re.MULTILINE)
    modules = {"errors", "sandbox"}
    assert sorted(set(named) - modules) == sorted(set(incarts_pipeline.__all__))
    assert len(named) == len(set(named))


@pytest.mark.slow
def test_references_are_rendered(site: Path) -> None:
    """Each name of the reference became a heading that can be linked to."""
    text = (site / "api.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<h\d id="incarts_pipeline\.(\w+)"', text))
    assert set(incarts_pipeline.__all__) <= anchors
