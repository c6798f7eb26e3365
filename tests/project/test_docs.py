"""What the README and the docs say is what the program does: their commands and code are run."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import typer

from incarts_pipeline.cli.app import app
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Status
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.paths import ROOT
from tests.support.runs import Run, products

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [
    ROOT / "README.md",
    CONTRIBUTING,
    ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FRAME = pd.DataFrame(
    {
        "sku": ["1", "2", "3"],
        "brand": ["Acme", "Acme", "Bravo"],
        "title": ["Oats", "Rice", "Beans"],
        "item_url": [f"https://www.walmart.com/ip/{n}?x=1" for n in (5001, 5002, 5003)],
        "qty": [1, 2, 3],
        "alternates": ["", "6002,6003", ""],
        "campaign": ["spring"] * 3,
        "printed": [False, True, False],
    }
)


def blocks(language: str, page: Path = PAGES[0]) -> list[str]:
    """Return a page's fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each `incarts …` that the pages name, with its words."""
    for page in PAGES:
        for line in re.findall(r"(?:^|`)incarts ([^`\n#]+)", page.read_text("utf-8"), re.MULTILINE):
            yield page.name, line.split()


def test_named_commands_and_options_exist() -> None:
    """Every command and option in the pages is one of the shell's."""
    root = typer.main.get_command(app)
    named = list(commands())
    assert len(named) > 15
    for page, words in named:
        command = root
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            _, found, words = command.resolve_command(click.Context(command), words)
            assert found is not None
            command = found
        unknown = [word for word in words if not word.startswith("-")]
        assert not isinstance(command, click.Group) or not unknown, f"{page}: incarts {words}"
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {"--help", "-h"}
        for word in words:
            assert not word.startswith("-") or word in known, f"{page}: {word} of {command.name}"


@pytest.mark.slow
def test_drill_for_a_restore(
    run: Run, settings: Settings, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runbook's drill runs as it stands there, and nothing is made anew after it."""
    [drill] = blocks("sh", ROOT / "docs" / "exactly-once.md")
    for name in ("base_url", "project_id", "ledger"):
        monkeypatch.setenv(
            f"INCARTS_{name.upper()}".replace("_BASE", "_API_BASE"), str(getattr(settings, name))
        )
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run(products(3))
    with contextlib.closing(sqlite3.connect(settings.ledger)) as reader:
        run(products(4))
        reader.execute("SELECT * FROM link").fetchall()  # so that the WAL stays
        ran = subprocess.run(["sh", "-e", "-c", drill], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert run(products(5)).exit_code() == 0
    assert (box.audit().links, box.audit().repeated_bodies) == (5, 0)


def test_the_example_of_a_test_passes(run: Run, box: Sandbox) -> None:
    """The test that shows how tests read is one."""
    [code] = blocks("python", CONTRIBUTING)
    assert "    assert " in code  # by which the call below shows something
    names: dict[str, Any] = {"Run": Run, "Sandbox": Sandbox, "Status": Status, "products": products}
    exec(code, names)
    names["test_padded_ids_are_refused"](run, box)


@pytest.fixture
def newcomer(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A folder with the README's files, and the sandbox's environment."""
    FRAME.to_csv("products.csv", index=False)
    [mapping] = blocks("yaml")
    Path("mapping.yaml").write_text(mapping, encoding="utf-8")
    values = {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_mapping_is_valid() -> None:
    """The README's mapping is one."""
    [mapping] = blocks("yaml")
    assert load_mapping(mapping).unique_key == ["sku"]


@pytest.mark.slow
def test_shell_block_runs(newcomer: dict[str, str], box: Sandbox) -> None:
    """The README's commands, line by line, make each link once."""
    lines = next(block for block in blocks("sh") if "incarts apply" in block).splitlines()
    bin_folder = Path(sys.executable).parent
    for line in lines:
        if line.startswith("incarts "):
            path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
            ran = subprocess.run(
                line, shell=True, env=os.environ | {"PATH": path}, capture_output=True, text=True
            )
            assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    assert (box.audit().links, box.audit().duplicates) == (3, 0)


@pytest.mark.slow
def test_python_block_runs(
    newcomer: dict[str, str], box: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's Python code makes the links of a frame, and none when it is run again."""
    Path("mapping.yaml").unlink()  # the first line makes one
    [code] = blocks("python")
    names: dict[str, Any] = {"frame": FRAME}
    exec(code, names)
    assert "3 links to make" in capsys.readouterr().out
    assert names["linked"]["link_id"].notna().all()
    exec(code, names)
    assert "0 links to make" in capsys.readouterr().out
    assert (box.audit().links, box.audit().duplicates) == (3, 0)
