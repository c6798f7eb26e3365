"""The page of vocabulary says of each member of the enums what the source says of it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from enum import StrEnum

import pytest

from incarts_pipeline import models
from incarts_pipeline.models import (
    Action,
    AnswerKind,
    Intent,
    Policy,
    Reason,
    Severity,
    State,
    Status,
)
from tests.support.pages import codes_in, page, rows_of, section
from tests.support.paths import ROOT

PAGE = "vocabulary.md"
SOURCE = (ROOT / "incarts_pipeline" / "models.py").read_text(encoding="utf-8")
TABLES = {
    "Actions": Action,
    "Statuses": Status,
    "Reasons": Reason,
    "States in the ledger": State,
    "Answers": AnswerKind,
    "Policies": Policy,
    "Severities": Severity,
    "Intents": Intent,
}
OWN_WORDS = {
    *("link set", "doubt", "settle", "generation", "held", "parked", "digest", "lease", "epoch"),
    "canary",
}


def meanings(enum: type[StrEnum]) -> dict[str, str]:
    """Return the comment beside each member of an enum of models.py, by its value."""
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE).readline)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    [node] = [
        node
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.ClassDef) and node.name == enum.__name__
    ]
    return {
        ast.literal_eval(line.value): comments.get(line.lineno, "")
        for line in node.body
        if isinstance(line, ast.Assign)
    }


def enums() -> list[type[StrEnum]]:
    """Return all closed sets of models.py."""
    return [
        value
        for value in vars(models).values()
        if isinstance(value, type) and issubclass(value, StrEnum) and value is not StrEnum
    ]


@pytest.mark.parametrize("enum", enums(), ids=lambda enum: enum.__name__)
def test_every_member_has_a_meaning_in_the_source(enum: type[StrEnum]) -> None:
    """Each member of each enum in models.py has a comment that says what it means."""
    found = meanings(enum)
    assert set(found) == {member.value for member in enum}
    assert [value for value, meaning in found.items() if not meaning] == []


@pytest.mark.parametrize("heading", TABLES)
def test_tables_are_the_enums(heading: str) -> None:
    """Each table has its enum's members in their order, with the meanings of the source."""
    rows = rows_of(section(PAGE, heading))
    assert {codes_in(cells[0])[0]: cells[1] for cells in rows} == meanings(TABLES[heading])
    assert [codes_in(cells[0]) for cells in rows] == [[member.value] for member in TABLES[heading]]


def test_actions_lead_to_statuses() -> None:
    """The statuses beside the actions are all there are, but for what was not tried."""
    rows = rows_of(section(PAGE, "Actions"))
    named = {code for cells in rows for code in codes_in(cells[2])}
    assert named == {status.value for status in Status} - {Status.PENDING.value}


def test_own_words_are_explained() -> None:
    """The words that nobody else uses in our sense have a line each."""
    words = [cells[0].strip("*") for cells in rows_of(section(PAGE, "Words of our own"))]
    assert set(words) >= OWN_WORDS
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", ["guide.md", "exactly-once.md", "rate-control.md", "dagster.md"])
def test_pages_lead_to_the_vocabulary(name: str) -> None:
    """A page that uses our words links to where they are explained."""
    assert re.search(r"\]\(vocabulary\.md(?:#[\w-]+)?\)", page(name))
