"""The notebooks run from top to bottom, and are committed without output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.pages import page
from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def names(path: Path) -> str:
    """Return what a test is called after."""
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Each notebook runs in a fresh kernel; what it promises, it asserts itself."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(path, folder)
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.execute_notebook", str(folder / path.name)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    assert [one.name for one in folder.iterdir()] == [path.name]  # nothing is left beside it


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_notebook_is_committed_clean(path: Path) -> None:
    """Without outputs, counts and traces of the machine that it was written on."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(content))
    assert content["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in content["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])


def test_notebooks_are_named_on_the_front_page() -> None:
    """The documentation's front page has them all, in their order."""
    text = page("index.md")
    places = [text.index(f"(notebooks/{path.stem}.md)") for path in NOTEBOOKS]
    assert len(places) == 4
    assert places == sorted(places)
