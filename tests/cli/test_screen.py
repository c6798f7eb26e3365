"""The shell's screen: no markup is read from values, no line is added, nothing is obeyed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.cli import screen
from tests.support.runs import products
from tests.support.shell import Shell


def test_values_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A line and a table have values with markup and control characters as text."""
    screen.say(("label", "bold"), " [red]x[/nosuch] a\x1b[2J\nINFO forged")
    screen.tell_table("[b]t", ["c"], [["[/]\x9b"]])
    screen.tell_json({"a": "\x1b", "to": "s3://u:p@b/x"})
    out = capsys.readouterr().out
    assert out.startswith("label [red]x[/nosuch] a\\x1b[2J\\nINFO forged\n")
    assert "[/]\\x9b" in out
    assert '{"a": "\\u001b", "to": "s3://\\u2026@b/x"}\n' in out


def test_a_forged_line_stays_in_its_row(shell: Shell) -> None:
    """A key with a line break can't put a line of its own into the plan that a person approves."""
    keys = ["3\nINFO forged", "[red]4[/nosuch]", "\x1b]8;;http://x\x07y"]
    pacsv.write_csv(products(3, sku=keys), "catalog.csv")
    code, out, err = shell(
        *("apply", "catalog.csv", "-o", "links.parquet"),
        *("--unique-key", "sku", "--link-set", "s", "--yes"),
    )
    assert code == 0
    assert "3\\nINFO forged" in err
    assert "\nINFO forged" not in out + err
    assert "[red]4[/nosuch]" in err
    assert "\x1b]" not in out + err


def test_usage_errors_quote_safely(shell: Shell) -> None:
    """A wrong value of an option is told in one paragraph, with exit code 2."""
    Path("catalog.csv").write_text("sku\n1\n")
    code, out, err = shell("plan", "catalog.csv", "--rekeyed", "\x1b[31mic_live_0123456789")
    assert code == 2
    assert "\\x1b[31mic_live_…" in err
    assert not out
    code, _, err = shell("nosuch")
    assert code == 2
    assert "nosuch" in err
