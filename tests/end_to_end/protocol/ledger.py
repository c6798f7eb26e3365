"""Transactions of the ledger on one row of the model, each from a `Row` to the next.

What they decide is the library's: `claims.decide`, `OperationState`, and `runs.is_alive` for who
lives. Where rows are found and written is said again here, and `test_protocol` carries the same
stories out with the library's statements on SQLite.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from incarts_pipeline.ledger.claims import Claim, decide
from incarts_pipeline.ledger.runs import Process, is_alive
from incarts_pipeline.ledger.state_machine import (
    DOUBTFUL_STATES,
    NOT_EFFECTED_STATES,
    OPEN_STATES,
    OperationState,
)
from incarts_pipeline.models import State
from tests.end_to_end.protocol.rows import At, Op, Outcome, Row, Task, call, stamp
from tests.end_to_end.protocol.rules import TICK, Rules

_ELSEWHERE = Process(host="", pid=0, pid_namespace="", started="", boot_id="elsewhere")


class ViolatedError(Exception):
    """Something that must never be is so; the message says what."""


class Lease(NamedTuple):
    """A run's line in the ledger; `until` is in ticks from now."""

    run_id: str
    until: int = 1
    boot_id: str = "here"

    @property
    def lease_until(self) -> int:
        return round(self.until * TICK * 1e6)

    @property
    def ended_at(self) -> int | None:
        return None


@cache
def living(leases: tuple[Lease, ...], rules: Rules) -> frozenset[str]:
    """Return the runs that may still be sending, as a worker on another host sees them."""
    if not rules.leases:
        return frozenset()
    now = stamp(0, 0, 0)
    return frozenset(
        one.run_id
        for one in leases
        if not rules.leases_end
        or is_alive(cast("sa.Row[tuple[object, ...]]", one), _ELSEWHERE, now)
    )


def claimed(row: Row, worker: int, run_id: str, runs: frozenset[str], content: str) -> Row:
    """Write what a claim comes to, from what its transaction has read.

    Raises:
        ViolatedError: the row has got another link since its plan was made.
    """
    task = row.tasks[worker]
    verdict: Any = _decide(content, task.expected, task.operations, task.current, run_id, runs)
    if verdict.claim is not Claim.OURS:
        at = At.THROUGH if verdict.claim is Claim.MOVED else At.IDLE
        return row.with_task(worker, Task(at=at, expected=task.expected))
    if row.used != task.expected:
        raise ViolatedError(f"a link is made although the row has one since: operation {row.used}")
    if verdict.take is not None:
        return _taken(row, worker, run_id, row.op(verdict.take), task)
    ops = tuple(one for one in row.ops if one.op_id != verdict.drop)
    if any(one.state in OPEN_STATES for one in ops):  # the index on what is open refuses it
        return row.with_task(worker, Task(at=At.IDLE, expected=task.expected))
    if any(one.key == (content, verdict.generation) for one in ops):  # and so does the key's
        return row.with_task(worker, Task(at=At.IDLE, expected=task.expected))
    op_id = 1 + max((one.op_id for one in row.ops), default=0)
    fresh = Op(op_id, content, verdict.generation, run_id, 1, OperationState())
    own = Task(at=At.CLAIMED, expected=task.expected, op_id=op_id, epoch=1, left=task.left)
    return row._replace(ops=(*ops, fresh)).with_task(worker, own)


@cache
def _decide(
    content: str,
    expected: int | None,
    operations: tuple[Op, ...],
    current: int | None,
    run_id: str,
    runs: frozenset[str],
) -> object:
    wanted = call(content, expected)
    return decide(wanted, operations, current, run_id, runs, retry_rejected=False)


def _taken(row: Row, worker: int, run_id: str, op: Op, task: Task) -> Row:
    """Write that a run goes on with an operation, as its transaction has read it."""
    read = next(one for one in task.operations if one.op_id == op.op_id)
    claimed_state = read.operation_state.claimed()
    on_disk = replace(op.operation_state, state=claimed_state.state)
    own = Task(
        at=At.CLAIMED,
        expected=task.expected,
        op_id=op.op_id,
        epoch=read.epoch + 1,
        operation_state=claimed_state,
        left=task.left,
        is_doubt=task.is_doubt,
        for_history=task.for_history,
    )
    changed = op._replace(run_id=run_id, epoch=op.epoch + 1, operation_state=on_disk)
    return row.with_op(changed).with_task(worker, own)


def doubtful(ops: Collection[Op], run_id: str, runs: Collection[str]) -> Op | None:
    """Return an operation in doubt that nobody is at."""
    found = (
        one
        for one in ops
        if one.state in DOUBTFUL_STATES and one.run_id != run_id and one.run_id not in runs
    )
    return next(found, None)


def doubt_claimed(
    row: Row,
    worker: int,
    run_id: str,
    runs: Collection[str],
    content: str,
) -> Row:
    """Take on what was found to be in doubt.

    Raises:
        ViolatedError: nothing had left under its key, and whose claim it was could have said so.
    """
    task = row.tasks[worker]
    found = doubtful(task.operations, run_id, runs)
    if found is None or all(one.op_id != found.op_id for one in row.ops):
        return row.with_task(worker, Task(at=At.IDLE, expected=task.expected))
    op = row.op(found.op_id)
    if op.state is State.DONE:
        raise ViolatedError("an operation that is done is in doubt again")
    op = op._replace(excused=op.excused or op.run_id in task.lapsed)
    if op.key not in row.left and not op.excused:
        raise ViolatedError(
            "an operation is in doubt that never left, and its run could have said so"
        )
    used = next((one.content for one in row.ops if one.op_id == row.used), None)
    return _taken(
        row, worker, run_id, op, task._replace(is_doubt=True, for_history=used == content)
    )


def recorded(row: Row, outcome: Outcome, rules: Rules) -> Row:
    """Write an answer down; a link is always news."""
    op = next((one for one in row.ops if one.op_id == outcome.op_id), None)
    if op is None:
        return row
    is_ours = op.epoch == outcome.epoch or not rules.epochs
    if op.state is not State.DONE and (is_ours or outcome.link):
        kept = replace(op.operation_state, state=outcome.state, doubtful=False)
        if outcome.state in NOT_EFFECTED_STATES:
            kept = replace(kept, first_sent=None, api_key_fingerprint=None)
        op = op._replace(operation_state=kept)
    if outcome.link is None:
        return row.with_op(op)
    op = op._replace(links=tuple(sorted({*op.links, outcome.link})))
    newer = row.used is None or op.op_id > row.used
    used = op.op_id if newer and not outcome.for_history else row.used
    return row.with_op(op)._replace(used=used)


def marked(row: Row, worker: int, run_id: str, clock: int) -> tuple[Row, bool]:
    """Mark an attempt as sent, unless its operation is another run's by now.

    Raises:
        ViolatedError: it is still this run's, and is given up all the same.
    """
    task = row.tasks[worker]
    op = next((one for one in row.ops if one.op_id == task.op_id), None)
    if op is None or (op.run_id, op.epoch) != (run_id, task.epoch):
        return row, False
    if op.state is State.DONE:
        return row, False
    if op.state not in (State.INTENDED, State.IN_DOUBT):
        raise ViolatedError(f"a run gives up an operation that is its own and {op.state}")
    sent = op.operation_state.sent(stamp(worker, 0, clock), None)
    on_disk = replace(sent, doubtful=False)
    still = op.excused and op.operation_state.first_sent is not None
    return row.with_op(op._replace(operation_state=on_disk, excused=still)), True


def excused(row: Row, worker: int) -> Row:
    """Note that nobody can know by now whether what a worker is at has left."""
    task = row.tasks[worker]
    if task.is_idle:
        return row
    ops = (one._replace(excused=True) if one.op_id == task.op_id else one for one in row.ops)
    return row._replace(ops=tuple(ops))


def crashed(row: Row, worker: int) -> Row:
    """Return the row after its worker was killed; a request that was on its way goes on."""
    flight = row.flights[worker]
    late = row.late if flight is None else tuple(sorted((*row.late, flight)))
    gone = excused(row, worker)._replace(late=late)
    return gone.with_flight(worker, None).with_task(worker, Task())
