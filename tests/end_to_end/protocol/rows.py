"""One row of the model: its operations, what each worker is at, and what the server has of it.

Times are ticks before now, so that one story that begins later is the same story.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.claims import Call
from incarts_pipeline.ledger.state_machine import OperationState
from incarts_pipeline.models import State
from tests.end_to_end.protocol.rules import TICK, WINDOW
from tests.end_to_end.simulation.ledgers import call_for

Key = tuple[str, int]  # content and generation: what the idempotency key is a hash of


class At(StrEnum):
    """Where a worker's task stands."""

    IDLE = "idle"  # it has yet to claim the row
    READING = "reading"  # a transaction that has read a part of what it needs
    READ = "read"
    CLAIMED = "claimed"
    MARKED = "marked"
    FLYING = "flying"
    ENDING = "ending"  # its last answer is on the way to the disk
    THROUGH = "through"


class Outcome(NamedTuple):
    """An answer on its way to the disk."""

    op_id: int
    epoch: int
    state: State
    link: str | None
    for_history: bool


class Task(NamedTuple):
    """What a worker is about to do with a row; `expected` is the operation that its plan saw."""

    at: At = At.THROUGH
    expected: int | None = None
    op_id: int = 0
    epoch: int = 0
    operation_state: OperationState = OperationState()
    since: int = 0  # ticks since its mark
    left: int = 0  # attempts
    is_doubt: bool = False
    for_history: bool = False
    outcomes: tuple[Outcome, ...] = ()
    # What a transaction has read so far:
    has_read: bool = False
    living: frozenset[str] = frozenset()
    lapsed: frozenset[str] = frozenset()  # running, but without their lease
    operations: tuple[Op, ...] = ()
    current: int | None = None
    # Whether what was handed over is on disk, None unless the connection was cut meanwhile:
    on_disk: bool | None = None
    ours: bool | None = None

    @property
    def is_pending(self) -> bool:
        """Whether something of it is on its way to the disk."""
        return bool(self.outcomes)

    @property
    def is_idle(self) -> bool:
        """Whether it has no operation."""
        return self.at in (At.IDLE, At.THROUGH)


class Op(NamedTuple):
    """One operation as it is on disk.

    `excused` is for the checks alone: nobody could know whether its request had left.
    """

    op_id: int
    content: str
    generation: int
    run_id: str | None
    epoch: int
    operation_state: OperationState
    links: tuple[str, ...] = ()
    excused: bool = False

    @property
    def state(self) -> State:
        return self.operation_state.state

    @property
    def content_hash(self) -> bytes:
        return call(self.content, None).content_hash

    @property
    def key(self) -> Key:
        return (self.content, self.generation)


class Flight(NamedTuple):
    """A request between a worker and the server."""

    key: Key
    age: int  # ticks since it left


class Row(NamedTuple):
    """All that concerns one row."""

    ops: tuple[Op, ...] = ()
    used: int | None = None  # the operation whose link the row uses
    tasks: tuple[Task, Task] = (Task(), Task())
    made: tuple[tuple[Key, int], ...] = ()  # links, and their ages
    late: tuple[Flight, ...] = ()  # given up by their senders, and still to arrive
    flights: tuple[Flight | None, Flight | None] = (None, None)
    left: frozenset[Key] = frozenset()  # keys of which a request has left

    def op(self, op_id: int) -> Op:
        """Return the operation of a number."""
        return next(one for one in self.ops if one.op_id == op_id)

    def with_op(self, changed: Op) -> Row:
        """Return it with one operation changed."""
        return self._replace(
            ops=tuple(changed if one.op_id == changed.op_id else one for one in self.ops)
        )

    def with_task(self, worker: int, task: Task) -> Row:
        """Return it with one worker's task changed."""
        first, second = self.tasks
        return self._replace(tasks=(task, second) if worker == 0 else (first, task))

    def with_flight(self, worker: int, flight: Flight | None) -> Row:
        """Return it with one worker's request on the way, or arrived."""
        first, second = self.flights
        return self._replace(flights=(flight, second) if worker == 0 else (first, flight))


@cache
def call(content: str, expected: int | None) -> Call:
    """Return the call that a plan has for a row."""
    return call_for("1", content.encode(), expected)


@cache
def stamp(worker: int, age: int, clock: int) -> Stamp:
    """Return what a worker's clocks said: the wall's is off by `clock` ticks, the boot's is not."""
    return Stamp(wall=TICK * (clock - age), boot=-TICK * age, boot_id=f"host {worker}")


def aged(row: Row) -> Row:
    """Return the row one tick later; what is older than all that anybody asks for ages no more."""

    def older(flight: Flight | None) -> Flight | None:
        return flight and flight._replace(age=flight.age + 1)

    first, second = row.flights
    return row._replace(
        ops=tuple(one._replace(operation_state=_older(one.operation_state)) for one in row.ops),
        tasks=(_older_task(row.tasks[0]), _older_task(row.tasks[1])),
        made=tuple((key, min(age + 1, _OLDEST)) for key, age in row.made),
        late=tuple(one._replace(age=one.age + 1) for one in row.late),
        flights=(older(first), older(second)),
    )


def _counts(task: Task) -> bool:
    return task.at is At.MARKED or task.on_disk is not None


def _older_task(task: Task) -> Task:
    return task._replace(
        since=min(task.since + 1, _OLDEST) if _counts(task) else 0,
        operation_state=_older(task.operation_state),
        operations=tuple(
            one._replace(operation_state=_older(one.operation_state)) for one in task.operations
        ),
    )


_OLDEST = WINDOW + 1


@cache
def _older(state: OperationState) -> OperationState:
    first = state.first_sent
    if first is None or first.boot <= -TICK * _OLDEST:
        return state
    return replace(state, first_sent=replace(first, wall=first.wall - TICK, boot=first.boot - TICK))


def told_apart(row: Row) -> Row:
    """Return the row without what no step asks for any more, so that equal rows are seen as such.

    Of epochs it matters only whether a task's is its operation's.
    """
    epochs = {one.op_id: one.epoch for one in row.ops}
    ops = tuple(_bare_op(one) for one in row.ops)
    first, second = row.tasks
    tasks = (_bare_task(first, epochs), _bare_task(second, epochs))
    return row._replace(ops=ops, tasks=tasks)


def _bare_op(op: Op) -> Op:
    if op.state is State.DONE:
        state = OperationState(state=State.DONE)
        return op._replace(run_id=None, epoch=0, operation_state=state, excused=False)
    return op._replace(epoch=0, operation_state=_bare(op.operation_state))


def _bare_task(task: Task, epochs: dict[int, int]) -> Task:
    if task.at in (At.READING, At.READ):
        read = (one._replace(epoch=_epoch(one.op_id, one.epoch, epochs)) for one in task.operations)
        return task._replace(operations=tuple(read))
    outcomes = tuple(
        one._replace(epoch=_epoch(one.op_id, one.epoch, epochs)) for one in task.outcomes
    )
    if task.is_idle:
        return Task(at=task.at, expected=task.expected if task.at is At.IDLE else None)
    known = task.at is not At.ENDING
    return task._replace(
        expected=None,
        outcomes=outcomes,
        epoch=_epoch(task.op_id, task.epoch, epochs),
        operation_state=_bare(task.operation_state) if known else OperationState(),
        since=task.since if _counts(task) else 0,
        left=task.left if known else 0,
    )


def _epoch(op_id: int, epoch: int, epochs: dict[int, int]) -> int:
    return 0 if epochs.get(op_id) == epoch else -1


@cache
def _bare(state: OperationState) -> OperationState:
    return replace(state, attempts=min(state.attempts, 1))
