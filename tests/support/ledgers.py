"""A ledger's file, step by step: calls claimed, sent and answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger.attempts import Outcome, Sent, write_outcomes, write_sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation, claim_calls
from incarts_pipeline.ledger.database import once
from incarts_pipeline.models import Action, Answer, AnswerKind, Link, State
from incarts_pipeline.settings import LedgerPlace

# For what is so whatever a ledger is in: every statement has its tests in each kind of database,
# and the simulation ends alike in both.
ON_ONE_KIND = pytest.mark.parametrize("place", ["sqlite"], indirect=True)

HOST = "https://api.incarts.example"
NOW = Clock().now()
FILE = Path("ledger.db")


def call(key: str = "1", content: str = "a", expected: int | None = None) -> Call:
    """Return a call for a row with some content."""
    body = json.dumps({"customUrl": content}).encode()
    return Call(
        project_id="demo",
        link_set="s",
        set_id=1,
        row_key=key,
        action=Action.CREATE,
        retailer="walmart",
        intent="add_to_cart",
        content_hash=hashlib.sha256(body).digest(),
        groups=(b"d" * 32, b"t" * 32, b"l" * 32),
        body=body,
        expected_op_id=expected,
    )


def claim(
    engine: sa.Engine, one: Call, run: str = "r1", living: tuple[str, ...] = (), retry: bool = False
) -> tuple[Claim, Operation | None]:
    """Claim one call for a run."""
    with engine.begin() as connection:
        [answer] = claim_calls(connection, [one], run, living, NOW, retry_rejected=retry)
    return answer


def ours(engine: sa.Engine, one: Call, run: str = "r1") -> Operation:
    """Claim a call that must be ours."""
    claimed, operation = claim(engine, one, run)
    assert claimed is Claim.OURS
    assert operation is not None
    return operation


def send(engine: sa.Engine, operation: Operation, run: str = "r1", number: int = 1) -> bool:
    """Record an attempt."""
    sent = Sent(
        operation=operation,
        number=number,
        correlation_id=f"corr-{run}-{number}",
        api_key_fingerprint="fp",
        at=NOW,
    )
    with engine.begin() as connection:
        [mine] = write_sent(connection, run, [sent])
    return mine


def settle(
    engine: sa.Engine, operation: Operation, state: State, link: str | None = None, number: int = 1
) -> None:
    """Record an answer."""
    kind = AnswerKind.LINK if link else AnswerKind.UNKNOWN
    answer = Answer(kind=kind, correlation_id="c", status=201, made=Link(id=link) if link else None)
    outcome = Outcome(operation=operation, state=state, at=NOW, number=number, answer=answer)
    with engine.begin() as connection:
        write_outcomes(connection, "r1", [outcome])


def row(engine: sa.Engine, query: str) -> tuple[object, ...]:
    """Return one row of a query."""
    with engine.begin() as connection:
        return tuple(connection.exec_driver_sql(query).one())


def said(
    place: LedgerPlace, statement: str, *, read_only: bool = False, **values: object
) -> Sequence[tuple[Any, ...]]:
    """Run a statement, with `:name` for each value, in a ledger of any kind; return its rows."""
    with once(place, read_only=read_only) as connection:
        found = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in found] if found.returns_rows else []
