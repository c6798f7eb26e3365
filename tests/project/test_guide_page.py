"""The guide is run from top to bottom, as a newcomer would: its commands, then its code."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from incarts_pipeline.cli.app import app
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings, load_settings, parse_duration
from tests.support.pages import Block, blocks_of, codes_in, page, rows_of, section
from tests.support.paths import ROOT

PAGE = "guide.md"
ELSEWHERE = "in another terminal"
# What only a person's own machine needs.
NOT_RUN = ("make setup", "source .venv/bin/activate")


def commands(block: Block) -> Iterator[tuple[list[str], int]]:
    """Yield each command's words, and the exit code that the page says it has."""
    for line in block.text.replace("\\\n", " ").splitlines():
        command, _, remark = line.partition("#")
        code = re.search(r"exit (\d)", remark)
        if command.strip() not in NOT_RUN:
            yield shlex.split(command), int(code[1]) if code else 0


def run(words: list[str]) -> int:
    """Carry a command of the page out, and return its exit code."""
    if words[0] == "cp":
        for name in words[1:-1]:
            shutil.copy(name, words[-1])
        return 0
    assert words[0] == "incarts"
    ran = CliRunner().invoke(app, words[1:])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code


@pytest.mark.slow
def test_the_guide_runs(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """All commands and code work in the page's order, and no link is made twice."""
    Path("sample_data").symlink_to(ROOT / "sample_data")
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")  # there is no limit to be found
    names: dict[str, Any] = {}
    ran = 0
    for block in blocks_of(PAGE):
        if block.language == "python":
            exec(block.text, names)
        elif block.language == "sh" and block.title != ELSEWHERE:
            for words, code in commands(block):
                assert run(words) == code, words
                ran += 1
    audit = box.audit()
    assert ran > 10
    assert (audit.duplicates, audit.second_bodies) == (0, 0)
    assert not Path("incarts-evidence.json").exists()  # nothing is in doubt


def test_every_block_is_checked() -> None:
    """The page has no block in a language that nothing here looks at."""
    assert {block.language for block in blocks_of(PAGE)} == {"sh", "python", "toml"}


def test_the_targets_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file with targets can be loaded, each target with what it says."""
    [example] = [block for block in blocks_of(PAGE) if block.language == "toml"]
    Path(example.title).write_text(example.text, encoding="utf-8")
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_test")
    found = {name: load_settings(target=name) for name in ("staging", "prod")}
    assert {settings.project_id for settings in found.values()} == {"acme"}
    assert len({settings.ledger for settings in found.values()}) == 2
    assert found["prod"].idempotency_window == parse_duration("25m")


def test_every_setting_is_there_with_its_default() -> None:
    """The table has all settings with their variables, and the defaults that they have."""
    rows = rows_of(section(PAGE, "All settings"))
    shown = {
        codes_in(name)[0]: (codes_in(variable)[0], default) for name, variable, default, _ in rows
    }
    assert list(shown) == list(Settings.model_fields)
    plain = Settings()
    for name, field in Settings.model_fields.items():
        variable, default = shown[name]
        assert variable == field.validation_alias
        if default:
            assert getattr(load_settings(**{name: default.strip("`")}), name) == getattr(
                plain, name
            )
        else:
            assert getattr(plain, name) in (None, plain.limits)


def test_the_guide_reads_in_ten_minutes() -> None:
    """At 200 words a minute; what stands in code blocks is glanced at."""
    prose = re.sub(r"^```.*?^```$", "", page(PAGE), flags=re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"[\w’'-]+", prose)) < 2_000
