"""Steps that a worker, or the server, may take with one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.state_machine import OPEN_STATES, OperationState, Replay, ReplayRule
from incarts_pipeline.models import AnswerKind, State
from tests.end_to_end.protocol.ledger import (
    Lease,
    ViolatedError,
    claimed,
    crashed,
    doubt_claimed,
    doubtful,
    living,
    marked,
    recorded,
)
from tests.end_to_end.protocol.rows import At, Flight, Key, Outcome, Row, Task, aged, stamp
from tests.end_to_end.protocol.rules import TICK, WINDOW, Bounds, Rules

_WITHOUT_EFFECT = (AnswerKind.RATE_LIMITED, AnswerKind.REFUSED, AnswerKind.UNKNOWN)


class Now(NamedTuple):
    """What a step sees beside its row: the leases, and who takes it."""

    leases: tuple[Lease, ...]
    worker: int
    run_id: str
    set_is_locked: bool  # by the other worker's claim, of any row
    may_fail: bool


class Step(NamedTuple):
    """One thing that may happen next; `fault` is whether it is one of the network or the server."""

    told: str
    row: Row
    fault: bool = False


class Play(NamedTuple):
    """Rules and bounds of a search."""

    rules: Rules
    bounds: Bounds

    @property
    def replay(self) -> ReplayRule:
        return self.rules.replay(window=WINDOW * TICK, api_key_fingerprint=None)


def planned(row: Row, worker: int, play: Play) -> Row:
    """Return the row as a worker plans it now."""
    wanted = play.bounds.contents[worker]
    used = next((one.content for one in row.ops if one.op_id == row.used), None)
    at = At.THROUGH if used == wanted else At.IDLE
    return row.with_task(worker, Task(at=at, expected=row.used))


def steps(row: Row, now: Now, play: Play) -> Iterator[Step]:
    """Yield what the worker may do next with the row, or the server with its request."""
    task = row.tasks[now.worker]
    match task.at:
        case At.IDLE | At.THROUGH:
            yield from _claims(row, now, play)
        case At.READING | At.READ:
            yield from _reads_on(row, now, play)
        case At.CLAIMED:
            yield from _judges(row, now, play)
        case At.MARKED:
            yield _leaves(row, now, play)
        case At.FLYING:
            yield from _arrives(row, now, play)


def _claims(row: Row, now: Now, play: Play) -> Iterator[Step]:
    if play.bounds.overlapping and play.rules.locks_set and now.set_is_locked:
        return
    task = row.tasks[now.worker]
    runs = living(now.leases, play.rules)
    lapsed = frozenset(one.run_id for one in now.leases if one.until <= 0)
    for is_doubt in (True, False):
        if is_doubt and doubtful(row.ops, now.run_id, runs) is None:
            continue
        if not is_doubt and task.at is At.THROUGH:
            continue
        begun = Task(
            at=At.READING,
            expected=task.expected,
            is_doubt=is_doubt,
            left=play.bounds.attempts,
            living=runs,
            lapsed=lapsed,
        )
        if play.bounds.overlapping:
            yield from _reads_on(row.with_task(now.worker, begun), now, play)
        else:
            read = begun._replace(operations=row.ops, current=row.used)
            yield _writes(row.with_task(now.worker, read), now, play)


def _reads_on(row: Row, now: Now, play: Play) -> Iterator[Step]:
    """Read the next part in a transaction, or write what all of it comes to."""
    task = row.tasks[now.worker]
    if task.at is At.READ:
        yield _writes(row, now, play)
        return
    operations_next = play.rules.operations_first or task.is_doubt
    if task.has_read:
        operations_next = not operations_next
    at = At.READ if task.has_read or task.is_doubt else At.READING
    if operations_next:
        read = task._replace(at=at, has_read=True, operations=row.ops)
        yield Step("reads the operations", row.with_task(now.worker, read))
    else:
        read = task._replace(at=at, has_read=True, current=row.used)
        yield Step("reads the link in use", row.with_task(now.worker, read))


def _writes(row: Row, now: Now, play: Play) -> Step:
    task, wanted = row.tasks[now.worker], play.bounds.contents[now.worker]
    write = doubt_claimed if task.is_doubt else claimed
    written = write(row, now.worker, now.run_id, task.living, wanted)
    what = "claims the doubt" if task.is_doubt else "claims the call"
    came = written.tasks[now.worker]
    told = f"operation {came.op_id}" if came.at is At.CLAIMED else f"not its own: {came.at}"
    return Step(f"{what}, {told}", written)


def may_mark(row: Row, now: Now, play: Play) -> Replay | None:
    """Say whether a task's operation may be sent, None when there is nothing to mark."""
    task = row.tasks[now.worker]
    if task.at is not At.CLAIMED:
        return None
    first_sent = task.operation_state.first_sent
    if first_sent is None:
        return Replay.ALLOWED
    return play.replay.judge(first_sent, _stamp(now, play), None)


def _stamp(now: Now, play: Play, age: int = 0) -> Stamp:
    return stamp(now.worker, age, play.bounds.clocks[now.worker])


def _judges(row: Row, now: Now, play: Play) -> Iterator[Step]:
    """Give a doubt to review that may not be sent again; what may be is marked in a commit."""
    task, verdict = row.tasks[now.worker], may_mark(row, now, play)
    if verdict is not Replay.ALLOWED:
        end = Outcome(task.op_id, task.epoch, State.NEEDS_REVIEW, None, task.for_history)
        told = task._replace(at=At.ENDING, outcomes=(*task.outcomes, end))
        yield Step(f"gives the doubt to review: {verdict}", row.with_task(now.worker, told))
    elif not play.rules.marks_first:
        sent = task.operation_state.sent(_stamp(now, play), None)
        yield _flies(row.with_task(now.worker, task._replace(operation_state=sent)), now, play)


def commits(row: Row, now: Now, play: Play, *, marks: bool) -> tuple[Row, bool | None]:
    """Write what the worker has handed over, with `marks` the mark of its next attempt as well.

    Returns the row, and whether a mark found the operation to be the worker's own.

    Raises:
        ViolatedError: as the ledger's transactions do.
    """
    task, ours = row.tasks[now.worker], None
    if play.rules.answers_first:
        row = _records(row, task, play)
    if marks:
        row, ours = marked(row, now.worker, now.run_id, play.bounds.clocks[now.worker])
    if not play.rules.answers_first:
        row = _records(row, task, play)
    return row, ours


def _records(row: Row, task: Task, play: Play) -> Row:
    for outcome in task.outcomes:
        row = recorded(row, outcome, play.rules)
    return row


def after_commit(row: Row, now: Now, play: Play, ours: bool | None) -> Row:
    """Let the worker's task go on once what it had handed over is on disk.

    `ours` is whether the operation is its own, None when no mark was among it.
    """
    task = row.tasks[now.worker]._replace(outcomes=())
    if ours:
        sent = task.operation_state.sent(_stamp(now, play, task.since), None)
        return row.with_task(now.worker, task._replace(at=At.MARKED, operation_state=sent))
    if ours is None and task.at is not At.ENDING:
        return row.with_task(now.worker, task)
    if task.is_doubt:  # what is left is planned again
        return planned(row, now.worker, play)
    return row.with_task(now.worker, Task())


def _leaves(row: Row, now: Now, play: Play) -> Step:
    """Look at the clock once more, and let the request go."""
    task = row.tasks[now.worker]
    if play.rules.looks_before_leaving and _is_late(task, now, play):
        return _hears(row, now, play, AnswerKind.NOT_SENT, None, "keeps the request back")
    return _flies(row, now, play)


def _is_late(task: Task, now: Now, play: Play) -> bool:
    passed = task.since * TICK
    first_sent = task.operation_state.first_sent
    return passed > min(LEASE_SECONDS, play.replay.margin) or (
        play.rules.judges_again
        and first_sent is not None
        and play.replay.judge(first_sent, _stamp(now, play), None) is not Replay.ALLOWED
    )


def _flies(row: Row, now: Now, play: Play) -> Step:
    task = row.tasks[now.worker]
    key = row.op(task.op_id).key if any(o.op_id == task.op_id for o in row.ops) else ("?", 0)
    gone = row.with_task(now.worker, task._replace(at=At.FLYING))
    flying = gone.with_flight(now.worker, Flight(key, 0))
    return Step("sends the request", flying._replace(left=row.left | {key}))


def _arrives(row: Row, now: Now, play: Play) -> Iterator[Step]:
    flight = row.flights[now.worker]
    assert flight is not None
    there = effected(row, flight.key)
    link = link_of(flight.key)
    yield _hears(there, now, play, AnswerKind.LINK, link, f"is answered {link}")
    if not now.may_fail:
        return
    lost = _hears(there, now, play, AnswerKind.UNKNOWN, None, "loses the answer; there is a link")
    yield lost._replace(fault=True)
    late = row._replace(late=tuple(sorted((*row.late, flight))))
    gone = _hears(late, now, play, AnswerKind.UNKNOWN, None, "gives up; the request is on its way")
    yield gone._replace(fault=True)
    for kind in _WITHOUT_EFFECT:
        told = f"is answered {kind} without effect"
        yield _hears(row, now, play, kind, None, told)._replace(fault=True)


def _hears(row: Row, now: Now, play: Play, kind: AnswerKind, link: str | None, told: str) -> Step:
    task = row.tasks[now.worker]
    before = task.operation_state
    if not play.rules.sticky_doubts:
        before = replace(before, doubtful=False)
    after: OperationState = before.answered(kind)
    end = Outcome(task.op_id, task.epoch, after.state, link, task.for_history)
    goes_on = after.state in OPEN_STATES and after.state is not State.NEEDS_REVIEW and task.left > 1
    heard = task._replace(
        at=At.CLAIMED if goes_on else At.ENDING,
        operation_state=after,
        left=task.left - 1,
        outcomes=(*task.outcomes, end),
    )
    return Step(told, row.with_task(now.worker, heard).with_flight(now.worker, None))


def effected(row: Row, key: Key) -> Row:
    """Return the row once the server has taken a request in.

    Raises:
        ViolatedError: it made a second link.
    """
    made = [age for one, age in row.made if one == key]
    if made and min(made) < WINDOW:
        return row
    if made:
        raise ViolatedError(f"a second link under one key, {min(made)} ticks after the first")
    if any(one[0] == key[0] for one, _ in row.made):
        raise ViolatedError("a second link for the same row and content, under another key")
    return row._replace(made=(*row.made, (key, 0)))


def link_of(key: Key) -> str:
    """Return the id of the link that a key has."""
    return f"link {key[0]}{key[1]}"


def finished(row: Row, leases: tuple[Lease, ...], play: Play) -> Row:
    """Return the row after one more run, a lease later, that nothing befalls.

    Raises:
        ViolatedError: as its steps do.
    """
    row = crashed(crashed(row, 0), 1)
    for flight in row.late:
        row = effected(row, flight.key)
    lapsed = tuple(one._replace(until=0) for one in leases)
    last = planned(aged(row._replace(late=())), 0, play)
    now = Now(lapsed, 0, "last", set_is_locked=False, may_fail=False)
    for _ in range(_LONG_ENOUGH):
        marks = play.rules.marks_first and may_mark(last, now, play) is Replay.ALLOWED
        if marks or last.tasks[0].outcomes:
            written, ours = commits(last, now, play, marks=marks)
            last = after_commit(written, now, play, ours)
        elif (step := next(steps(last, now, play), None)) is None or step.row == last:
            break
        else:
            last = step.row
    return last


_LONG_ENOUGH = 60  # steps
