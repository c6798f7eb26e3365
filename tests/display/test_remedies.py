"""The table of reasons and fixes: complete, and as exact as an answer allows."""

from __future__ import annotations

import datetime as dt
import re
from http import HTTPStatus

import pytest
from typer.testing import CliRunner

from incarts_pipeline.api.responses import classify
from incarts_pipeline.cli.app import app
from incarts_pipeline.display import answer_remedies, remedies
from incarts_pipeline.ledger.state_machine import Replay
from incarts_pipeline.models import SUSPICIONS, AnswerKind, NoteCode, ProblemCode, Reason, Status

NOW = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)
FINE = (
    Reason.NEW,
    Reason.CHANGED,
    Reason.CHANGED_BACK,
    Reason.REKEYED,
    Reason.SAME,
    Reason.IGNORED_CHANGE,
)


def test_no_reason_and_no_rule_is_left_out() -> None:
    """Every reason, rule and note has its meaning; all that are trouble have a fix."""
    assert set(remedies.REASONS) == set(Reason)
    assert set(remedies.PROBLEMS) == {
        *ProblemCode,
        *NoteCode,
        Reason.DUPLICATE_KEY,
        Reason.LOOKS_REKEYED,
        *SUSPICIONS,
    }
    for reason, fix in remedies.REASONS.items():
        assert bool(fix.fix) != (reason in (*FINE, Reason.NO_PRODUCTS)), reason
    for code, fix in remedies.PROBLEMS.items():
        assert bool(fix.fix) != (code in list(NoteCode)), code
    assert {verdict.value for verdict in Replay} - {"allowed"} <= set(answer_remedies.CODES)


@pytest.mark.parametrize("reason", Reason)
def test_a_result_tells_what_happened(reason: Reason) -> None:
    """What was done is told as done; what wasn't is told by why."""
    done = {
        Reason.NEW: (Status.CREATED, "was made"),
        Reason.CHANGED: (Status.REPLACED, "was made"),
        Reason.CHANGED_BACK: (Status.REUSED, "uses that again"),
        Reason.REKEYED: (Status.REKEYED, "has the link"),
    }
    status, words = done.get(reason, (Status.PENDING, remedies.REASONS[reason].meaning))
    assert words in remedies.came_to(status, reason)
    assert remedies.came_to(Status.PENDING, reason) == remedies.REASONS[reason].meaning


@pytest.mark.parametrize("status", [*map(int, HTTPStatus), 299, 499, 599, 999])
def test_every_http_status_has_a_fix(status: int) -> None:
    """Also statuses that nobody has thought of."""
    if status >= 300:
        fix = answer_remedies.of_status(status)
        assert fix.meaning
        assert fix.fix


@pytest.mark.parametrize("status", [303, 408, 421, 425, 499, 500, 503, 599])
def test_doubt_is_never_told_as_a_refusal(status: int) -> None:
    """Where the link may exist, the fix is to run again, and the meaning says so."""
    assert classify(status, {}, b"", correlation_id="x", now=NOW).kind is AnswerKind.UNKNOWN
    assert "may have been made" in answer_remedies.of_status(status).meaning


def test_an_answer_makes_a_fix_more_exact() -> None:
    """What Incarts said, or why nothing was sent again, decides what is to be done."""
    by_rule = answer_remedies.of_row(Reason.REFUSED_BY_API, http_status=422)
    assert by_rule == answer_remedies.STATUSES[422]
    assert answer_remedies.of_row(Reason.REFUSED_BY_API) == remedies.REASONS[Reason.REFUSED_BY_API]
    rotated = answer_remedies.of_row(Reason.NEEDS_REVIEW, error_code="key_rotated")
    assert "another API key" in rotated.meaning
    assert (
        answer_remedies.of_row(Reason.NEEDS_REVIEW, http_status=409)
        == answer_remedies.STATUSES[409]
    )
    assert answer_remedies.of_row(Reason.PINNED, http_status=500) == remedies.REASONS[Reason.PINNED]


def test_commands_in_fixes_exist() -> None:
    """What a fix tells somebody to type is a command of the shell."""
    tables = (remedies.REASONS, remedies.PROBLEMS, answer_remedies.STATUSES, answer_remedies.CODES)
    texts = [fix.fix for table in tables for fix in table.values()]
    named = {
        tuple(words.split()) for text in texts for words in re.findall(r"`incarts ([a-z ]+)", text)
    }
    assert named
    for words in named:
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, words
