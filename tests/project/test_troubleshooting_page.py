"""The troubleshooting page has every code that the program can show, and no other."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import click
import pytest
import typer

from incarts_pipeline import errors
from incarts_pipeline.api import responses
from incarts_pipeline.api.attribution import Foreign
from incarts_pipeline.api.transport import FailureKind
from incarts_pipeline.cli.app import app
from incarts_pipeline.ledger import lost_keys
from incarts_pipeline.ledger.state_machine import Replay
from incarts_pipeline.maintenance.compare import Verdict
from incarts_pipeline.models import (
    SUSPICIONS,
    Action,
    Dispute,
    NoteCode,
    ProblemCode,
    Reason,
    State,
    Status,
)
from incarts_pipeline.plan import guards
from incarts_pipeline.prepare import Reach
from incarts_pipeline.settings import Settings
from incarts_pipeline.write.circuit_breaker import EndKind
from tests.support.pages import codes_in, page, rows_of, section
from tests.support.paths import ROOT
from tests.support.shell import commands_of

PAGE = "troubleshooting.md"
PACKAGE = ROOT / "incarts_pipeline"
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "sandbox" not in path.parts]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

# Enums whose values nobody reads in a result: options, documented where they are chosen, and
# what stays inside.
NOT_CODES = {
    "Intent", "Policy", "TooLong", "IfRunning", "Rekeyed",
    "AnswerKind", "Claim", "FrameKind", "Proof", "LimitKind", "ValueKind", "WindowKind", "Outcome",
    "Phase", "Place", "LogFormat", "Task", "What", "EngineKind",
}  # fmt: skip
# Values of documented enums that are never shown.
SILENT = {Replay.ALLOWED.value}


def first_column(heading: str) -> list[str]:
    """Return the codes in the first cells of the tables directly below a heading."""
    text = section(PAGE, heading).split("\n### ")[0]
    return [code for cells in rows_of(text) for code in codes_in(cells[0])]


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    """Yield each call of one of the names in the library's source."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names:
                yield path, node


def keyword(call: ast.Call, name: str) -> str | None:
    """Return a keyword argument that is written as a text."""
    found = next((k.value for k in call.keywords if k.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else None


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Statuses", [*Status]),
        ("Actions", [*Action]),
        ("Reasons", [*Reason]),
        ("Problems of a row", [*ProblemCode, "duplicate_key"]),
        ("Suspicions", [*SUSPICIONS, "looks_rekeyed"]),
        ("Notes", [*NoteCode]),
        ("Why a run ended early", [*EndKind]),
        ("States in the ledger", [*State]),
        ("Verdicts", [*Verdict]),
        ("Destinations", [*Reach]),
    ],
)
def test_closed_sets_are_there(heading: str, codes: list[str]) -> None:
    """Each table has its enum's values, all of them and once."""
    assert sorted(first_column(heading)) == sorted(map(str, codes))


def test_no_enum_is_forgotten() -> None:
    """An enum that is new in the source is documented here, or named above as no code."""
    forgotten = []
    for path, tree in TREES.items():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(tree):
            bases = {getattr(base, "id", "") for base in getattr(node, "bases", ())}
            if isinstance(node, ast.ClassDef) and "StrEnum" in bases:
                enum: type[StrEnum] = getattr(import_module(module), node.name)
                shown = set(codes_in(page(PAGE)))
                missing = {value.value for value in enum} - shown - SILENT
                if node.name not in NOT_CODES and missing:
                    forgotten.append(f"{module}.{node.name}: {sorted(missing)}")
    assert forgotten == []


def test_guards_are_there() -> None:
    """Every guard in the source has its row, whatever module it is in."""
    raised = {keyword(call, "guard") for _, call in calls("RefusedError")} - {None}
    told = errors.UntrustedHostError("m", fix="f", host="h", fingerprint="f", proof="p")
    raised.add(told.guard)
    before = {value for name, value in vars(guards).items() if name.endswith("_GUARD")}
    assert sorted(first_column("Refusals")) == sorted(map(str, raised | before))


def test_http_statuses_are_there() -> None:
    """Every status that is told from others is in the table, below what is done about it."""
    rows = rows_of(section(PAGE, "Answers of Incarts").split("Where no answer came")[0])
    shown = {code: cells[2] for cells in rows for code in codes_in(cells[0])}
    known = {*responses._BY_STATUS, *responses._REFUSED, *responses._NOT_THERE, *responses._ERRORS}
    assert set(map(str, known)) <= shown.keys()
    for status in responses._NOT_THERE:
        assert "`wrong_endpoint`" in shown[str(status)]
    for status in responses._REFUSED:
        assert "`refused_by_api`" in shown[str(status)]
    unknown = {int(code) for code in shown if code.isdecimal()} - {200, 201, 403} - set(known)
    assert all("`in_doubt`" in shown[str(status)] for status in unknown)


def test_own_error_codes_are_there() -> None:
    """So are the codes for what never was an answer: made in the source, or a doubt's verdict."""
    text = section(PAGE, "Answers of Incarts").split("Where no answer came")[1]
    shown = [code for cells in rows_of(text) for code in codes_in(cells[0])]
    made = {
        constant.value
        for _, call in calls("Answer", "Outcome")
        for word in call.keywords
        if word.arg == "error_code"
        for constant in ast.walk(word.value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }
    made.add(lost_keys.ERROR_CODE)
    told = {value.value for enum in (Replay, Foreign, Dispute) for value in enum} - SILENT
    assert sorted(shown) == sorted(made | told)


def test_the_doctors_findings_are_there() -> None:
    """Every code of a probe has its row."""
    made = {keyword(call, "code") for _, call in calls("Probe")} - {None}
    assert sorted(first_column("The doctor")) == sorted(map(str, made | set(FailureKind)))


def test_exceptions_are_there() -> None:
    """Every class of errors.py has its row."""
    classes = [
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, Exception)
    ]
    assert sorted(first_column("Exceptions")) == sorted(classes)


def test_exit_codes_are_the_ones_in_the_source() -> None:
    """Every code with which the shell or a run can end is explained."""
    ends = [call.args[0] for call in exits()]
    [method] = [
        node
        for node in ast.walk(TREES[PACKAGE / "pipeline.py"])
        if isinstance(node, ast.FunctionDef) and node.name == "exit_code"
    ]
    ends += [n.value for n in ast.walk(method) if isinstance(n, ast.Return) and n.value]
    found = {
        constant.value
        for end in ends
        for constant in ast.walk(end)
        if isinstance(constant, ast.Constant) and type(constant.value) is int
    }
    usage = click.UsageError.exit_code
    assert {int(code) for code in first_column("Exit codes")} == found | {usage}


def exits() -> Iterator[ast.Call]:
    """Yield each `typer.Exit(…)` and `sys.exit(…)` of the shell's commands."""
    for tree in (tree for path, tree in TREES.items() if path.parent.name == "cli"):
        for node in ast.walk(tree):
            name = getattr(getattr(node, "func", None), "attr", "")
            if isinstance(node, ast.Call) and name in ("Exit", "exit") and node.args:
                yield node


def messages(*names: str) -> set[str]:
    """Return the first lines of the messages with which errors are made, values shown as ….

    A message that is passed on from elsewhere has no text of its own, and is left out.
    """
    found = set()
    for _, call in calls(*names):
        if not call.args:
            continue
        parts = getattr(call.args[0], "values", [call.args[0]])
        texts = [getattr(part, "value", "…") for part in parts]
        text = "".join(one if isinstance(one, str) else "…" for one in texts)
        if re.search(r"\w", text):
            found.add(text.splitlines()[0])
    return found


@pytest.mark.parametrize(
    ("heading", "classes"),
    [
        ("Settings", ("SettingsError",)),
        ("The output can't be written", ("PublishError",)),
        (
            "The ledger can't be used",
            (
                "LedgerError",
                "LedgerLockedError",
                "LedgerForeignError",
                "LedgerDamagedError",
                "LedgerMovedError",
                "LedgerForgottenError",
            ),
        ),
    ],
)
def test_messages_are_word_for_word(heading: str, classes: tuple[str, ...]) -> None:
    """The messages of these errors are all there, as the source writes them."""
    shown = [cells[0] for cells in rows_of(section(PAGE, heading))]
    assert sorted(shown) == sorted(messages(*classes))


def test_catalog_messages_exist() -> None:
    """What the page quotes of the catalog's errors is in the source."""
    known = "\n".join(
        node.value
        for path, tree in TREES.items()
        if "catalog" in path.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    quoted = [cells[0] for cells in rows_of(section(PAGE, "The catalog can't be read"))]
    assert [text for text in quoted if text not in known] == []


def test_named_options_and_variables_exist() -> None:
    """Every `--option` and INCARTS_ variable on the page is one that the program knows."""
    root = typer.main.get_command(app)
    options: set[str] = set()
    open_groups: list[click.Command] = [root]
    while open_groups:
        command = open_groups.pop()
        options.update(name for one in command.params for name in one.opts)
        if isinstance(command, click.Group):
            open_groups += commands_of(command).values()
    variables = {str(field.validation_alias) for field in Settings.model_fields.values()}
    text = page(PAGE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options
    assert set(re.findall(r"INCARTS_[A-Z_]+", text)) <= variables
