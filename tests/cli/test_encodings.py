"""The shell on outputs that can't show every sign, and on narrow ones."""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.cli import main, screen
from incarts_pipeline.cli.commands import ENTRIES
from incarts_pipeline.outgoing import STAND_INS, fitting
from tests.support.paths import ROOT
from tests.support.processes import NO_MAPPING
from tests.support.runs import products
from tests.support.shell import Shell

ENCODINGS = ("ascii", "cp437", "latin-1", "cp1252")
# Files whose signs are looked for in values, or drawn in a page of UTF-8, and never printed.
OF_VALUES = {
    *("encoding_evidence.py", "characters.py", "problems.py", "stand_ins.py", "profile.py"),
    *("engine.py", "bulk_write.py"),
}

Narrow = Callable[..., tuple[int, str]]


@pytest.fixture
def written(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Run `incarts` with both outputs in an encoding; return its exit code and all that it said."""

    def go(encoding: str, *arguments: str) -> tuple[int, str]:
        raw = io.BytesIO()
        # As Python opens them; strict, so that a sign which is lacking would end the program.
        outputs = [io.TextIOWrapper(raw, encoding, write_through=True) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", outputs[0])
        monkeypatch.setattr(sys, "stderr", outputs[1])
        monkeypatch.setattr(sys, "argv", ["incarts", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), raw.getvalue().decode(encoding)

    return go


def test_every_sign_of_ours_has_a_stand_in() -> None:
    """Whatever sign beyond ASCII a text of the library has, each output can write it."""
    lacking: dict[str, set[str]] = {}
    for path in sorted((ROOT / "incarts_pipeline").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            beyond = {c for c in node.value if not c.isascii() and c.isprintable()}
            beyond = {c for c in beyond if not c.isalpha()} - STAND_INS.keys()
            if beyond and id(node) not in prose and path.name not in OF_VALUES:
                lacking.setdefault(path.name, set()).update(beyond)
    assert lacking == {}


def _has_docstring(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    return isinstance(body, list) and bool(body) and isinstance(body[0], ast.Expr)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_stand_ins_are_ascii(encoding: str) -> None:
    """A sign is written as itself where it can be, else by marks of ASCII; values stay apart."""
    assert all(text.isascii() and text for text in STAND_INS.values())
    said = fitting("3× „café“ → 日本…", encoding)
    assert said.encode(encoding).decode(encoding) == said
    assert said.endswith("\\u65e5\\u672c" + ("…" if encoding == "cp1252" else "..."))
    assert ("é" in said) == (encoding != "ascii")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_plan_run_and_review(encoding: str, written: Narrow) -> None:
    """A plan, a run, an error, the help and what is in doubt are told in any encoding."""
    pacsv.write_csv(products(3, sku=["a…", "日本", "é→"]), "catalog.csv")
    code, said = written(encoding, "plan", "catalog.csv", *NO_MAPPING)
    assert (code, "3 links to make" in said) == (0, True)
    code, said = written(encoding, "apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)
    assert (code, "created" in said, "-> links.parquet" in said) == (0, True, True)
    # A frame of marks whose edges stand below each other.
    frame = [line.rstrip() for line in said.splitlines() if line.startswith(("|", "+"))]
    assert len(frame) > 3
    assert len({len(line) for line in frame if line.startswith("| ")}) <= 2
    assert written(encoding, "show", "sku=日本")[0] == 0
    code, said = written(encoding, "plan", "no…where.csv", *NO_MAPPING)
    assert code == 1
    assert "error:" in said
    assert written(encoding, "review", "list")[0] == 0


def test_a_terminal_says_a_question_in_its_own_signs(
    written: Narrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question never comes as bytes of another encoding."""
    terminal = io.StringIO("n\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    pacsv.write_csv(products(1), "a→b.csv")
    Path("mäpping.yaml").touch()
    monkeypatch.setattr(sys, "stdin", terminal)
    code, said = written("ascii", "init", "a→b.csv", "--out", "mäpping.yaml")
    assert code != 0
    assert "m\\xe4pping.yaml exists. Write over it? [y/N]" in said


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_help_in_ascii_at_60_columns(
    name: str, written: Narrow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command's help fits into 60 columns of ASCII; what goes on below is indented."""
    monkeypatch.setenv("COLUMNS", "60")
    code, said = written("ascii", name, "--help")
    assert code == 0
    assert max(map(len, said.splitlines())) <= 60
    assert "..." not in said.replace("[ARGS]...", "").replace("ROW...", "").replace("KEYS...", "")


def test_a_long_line_hangs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a narrow terminal a line goes on below, indented; what is to be copied stays whole."""
    monkeypatch.setenv("COLUMNS", "30")
    line = "  in doubt: 3 links, see `incarts review list` or https://shop.example.com/a/very/long/path"
    screen.say(line)
    screen.say_whole(line)
    assert capsys.readouterr().out == f"{line}\n{line}\n"  # no terminal: a line is a line
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    screen.say(line)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "  in doubt: 3 links, see",
        "    `incarts review list` or",
        "    https://shop.example.com/a/very/long/path",
    ]


def test_no_colour_is_obeyed(shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR no colour is written, also to a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for arguments in (("plan", catalog, *NO_MAPPING), ("plan", "-h"), ("plan", "nowhere")):
        _, out, err = shell(*arguments)
        assert "\x1b[3" not in out + err
