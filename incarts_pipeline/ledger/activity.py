"""Activity on a ledger: what its living runs have made, how fast, and what went wrong lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.runs import LivingRun, Task
from incarts_pipeline.models import AnswerKind, State

LATELY_SECONDS = 60.0
_LOOKED_AT = 20_000  # operations: more than a run claims in a minute
_SHOWN_ERRORS = 5
_O, _A = tables.operation.c, tables.attempt.c


@dataclass(frozen=True, slots=True, kw_only=True)
class RunActivity:
    """A living run: what it `made` so far, and how it got on within the last minute.

    `errors` counts answers other than a link by their status, code or kind. `started_at` is in
    microseconds since 1970 UTC.
    """

    run_id: str
    run: LivingRun
    started_at: int
    made: int
    per_second: float
    in_flight: int
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that was none; `at` is in microseconds since 1970 UTC."""

    at: int
    run_id: str
    row_key: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The living runs of a ledger, and the newest failures of any run, newest first."""

    runs: Sequence[RunActivity]
    failures: Sequence[Failure]


def activity_of(connection: sa.Connection, living: Mapping[str, LivingRun], now: Stamp) -> Activity:
    """Look at the newest operations, and at those that are open, however old."""
    recent = _recent_attempts(connection, now)
    return Activity(
        runs=[_run(connection, run_id, run, recent, now) for run_id, run in living.items()],
        failures=_failures(recent),
    )


def _recent_attempts(connection: sa.Connection, now: Stamp) -> list[sa.Row[tuple[object, ...]]]:
    newest = sa.select(sa.func.max(_O.op_id)).scalar_subquery()
    since = now.micros - round(LATELY_SECONDS * 1e6)
    columns = (tables.attempt, _O.row_key)
    joined = sa.select(*columns).join(tables.operation, _O.op_id == _A.op_id)
    of_new = joined.where(_A.op_id > newest - _LOOKED_AT, _A.sent_at >= since)
    of_open = joined.where(
        tables.IS_OPEN, _A.op_id <= newest - _LOOKED_AT, _A.sent_at >= since
    ).limit(_LOOKED_AT)
    return [*connection.execute(of_new), *connection.execute(of_open)]


def _run(
    connection: sa.Connection,
    run_id: str,
    run: LivingRun,
    recent: Sequence[sa.Row[tuple[object, ...]]],
    now: Stamp,
) -> RunActivity:
    r = tables.run.c
    began, made = connection.execute(
        sa.select(r.started_at, r.made).where(r.run_id == run_id)
    ).one()
    if made is None and run.task is not Task.WORK:
        made = _made(connection, run_id, began)
    own = [one for one in recent if one.run_id == run_id]
    links = sum(one.kind == AnswerKind.LINK for one in own)
    seconds = min(LATELY_SECONDS, max((now.micros - began) / 1e6, 1.0))
    in_flight = sa.select(sa.func.count()).where(
        tables.IS_OPEN, _O.state == State.SENT.value, _O.run_id == run_id
    )
    return RunActivity(
        run_id=run_id,
        run=run,
        started_at=began,
        made=made or 0,
        per_second=links / seconds,
        in_flight=connection.scalar(in_flight) or 0,
        errors=Counter(_said(one, brief=True) for one in own if _failed(one)),
    )


def _made(connection: sa.Connection, run_id: str, began: int) -> int:
    """Count what a run has made; operations are numbered in the order in which they were meant."""
    first = _first_since(connection, began)
    settled = sa.select(sa.func.count()).where(
        _O.op_id >= first, _O.settled_run_id == run_id, _O.state == State.DONE.value
    )
    return connection.scalar(settled) or 0


def _first_since(connection: sa.Connection, began: int) -> int:
    """Return the number from which operations were meant since then: no index has their times."""
    low, high = 0, (connection.scalar(sa.select(sa.func.max(_O.op_id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        next_one = sa.select(_O.op_id, _O.intended_at).where(_O.op_id >= middle)
        found = connection.execute(next_one.order_by(_O.op_id).limit(1)).first()
        if found is None or found.intended_at >= began:
            high = middle
        else:
            low = found.op_id + 1
    return low


def _failures(recent: Sequence[sa.Row[tuple[object, ...]]]) -> list[Failure]:
    failed = sorted((one for one in recent if _failed(one)), key=lambda one: -one.answered_at)
    return [
        Failure(
            at=one.answered_at, run_id=one.run_id, row_key=one.row_key, said=_said(one, brief=False)
        )
        for one in failed[:_SHOWN_ERRORS]
    ]


def _failed(one: sa.Row[tuple[object, ...]]) -> bool:
    return one.answered_at is not None and one.kind != AnswerKind.LINK


def _said(one: sa.Row[tuple[object, ...]], *, brief: bool) -> str:
    parts = [one.http_status, one.error_code or (None if one.http_status else one.kind)]
    parts += [] if brief else [one.error_message]
    return " ".join(str(part) for part in parts if part)
