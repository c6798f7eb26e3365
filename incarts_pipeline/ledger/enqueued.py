"""Enqueued operations: recorded by one run with all that sending needs, and claimed by workers.

An operation is enqueued while it has a `turn`. What is enqueued and was never sent belongs to the
newest plan: whoever plans its link set anew withdraws it, also from a worker that has claimed it.
Then it is nobody's, so that the worker can't mark it any more, and what isn't marked isn't sent.

The functions that take a connection run inside one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.claims import Operation, operation_of
from incarts_pipeline.ledger.queries import earlier_ids
from incarts_pipeline.ledger.runs import LivingRun, Task, overtake
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES, ReplayRule
from incarts_pipeline.ledger.statements import Statement
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import State

_O = tables.operation.c
_R = tables.row.c
_S = tables.link_set.c
_M = tables.member.c

_FIRST = 0  # the turn of what may have been sent: doubts don't wait until they are too old
_CHUNK = 10_000
# The bound, which all turns are above, makes SQLite look at the index of just these.
_IN_TURN = sa.and_(tables.IS_ENQUEUED, _O.turn >= 0)
_INTENDED = _O.state == State.INTENDED.value
_DOUBTFUL = _O.state.in_([state.value for state in DOUBTFUL_STATES])


def withdraw(
    connection: sa.Connection,
    set_ids: Mapping[str, int],
    living: Mapping[str, LivingRun],
    partition: str | None = None,
) -> int:
    """Take back what is enqueued and was never sent, also from workers; return how much.

    The caller has locked the link sets and read the living runs. Those that are enqueuing an older
    plan are asked to stop. With `partition` all that is about the rows that were last seen in it.
    """
    overtake(connection, living, set_ids, partition)
    those = [_IN_TURN, tables.SET_ID.in_(set_ids.values()), _INTENDED]
    if partition is not None:
        member = sa.select(_M.row_key).where(
            _M.set_id == _O.set_id, _M.row_key == _O.row_key, _M.partition == partition
        )
        those.append(member.exists())
    return connection.execute(
        sa.update(tables.operation).where(*those).values(turn=None, run_id=None, epoch=_O.epoch + 1)
    ).rowcount


def drop_withdrawn(connection: sa.Connection, set_ids: Collection[int]) -> None:
    """Delete what was withdrawn and is meant by no plan any more, once one has been gone through.

    What was attempted stays: its correlation ids may be answered yet.
    """
    database_of(connection).locked(connection, set_ids)
    nobodys = (_O.run_id.is_(None), _O.turn.is_(None), _O.attempts == 0)
    found = sa.select(_O.op_id).where(
        tables.IS_OPEN, tables.SET_ID.in_(set_ids), _INTENDED, *nobodys
    )
    op_ids = connection.scalars(found).all()
    for start in range(0, len(op_ids), _CHUNK):
        tables.drop_operations(connection, op_ids[start : start + _CHUNK])


def enqueue(
    connection: sa.Connection, operations: Sequence[Operation], first_turn: int, run_id: str
) -> None:
    """Leave operations that a run has claimed in the same transaction to workers, in their order.

    They are nobody's then. `first_turn` is the first one's turn.
    """
    turns = [
        {"id": one.op_id, "its_turn": first_turn + at, "by": run_id}
        for at, one in enumerate(operations)
    ]
    if turns:
        database_of(connection).run_many(connection, _ENQUEUE, turns)


_ENQUEUE = Statement(
    sa.update(tables.operation)
    .where(_O.op_id == sa.bindparam("id", type_=sa.BigInteger))
    .values(
        run_id=sa.null(),
        turn=sa.bindparam("its_turn", type_=sa.BigInteger),
        enqueued_by=sa.bindparam("by", type_=sa.Text),
        for_history=sa.false(),
    ),
    key=["id"],
)


def enqueue_doubts(
    connection: sa.Connection,
    set_ids: Collection[int],
    run_id: str,
    living: Collection[str],
    that_stay: Collection[tuple[int, str]],
) -> int:
    """Leave what is in doubt and no living run is at to workers; return how much.

    `that_stay` are the rows, as (set id, row key), that keep the link that they use, whatever comes
    of older content of theirs.
    """
    database_of(connection).locked(connection, set_ids)
    nobodys = sa.or_(_O.run_id.is_(None), _O.run_id.not_in(list(living)))
    found = connection.execute(
        sa.update(tables.operation)
        .where(tables.IS_OPEN, tables.SET_ID.in_(set_ids), _DOUBTFUL, nobodys)
        .values(
            state=State.IN_DOUBT.value,
            run_id=None,
            epoch=_O.epoch + 1,
            turn=_FIRST,
            enqueued_by=run_id,
            for_history=False,
        )
        .returning(_O.op_id, _O.set_id, _O.row_key)
    ).all()
    older = [one.op_id for one in found if (one.set_id, one.row_key) in that_stay]
    for start in range(0, len(older), _CHUNK):
        connection.execute(
            sa.update(tables.operation)
            .where(_O.op_id.in_(older[start : start + _CHUNK]))
            .values(for_history=True)
        )
    return len(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who claims what is enqueued: a run, and what it must leave to others.

    `given_up` are operations that it has tried as often as it does, `closed` the (retailer, intent)
    pairs of which it may send none; `rule` says how long doubts are its to settle.
    """

    run_id: str
    rule: ReplayRule
    given_up: Collection[int] = ()
    closed: Collection[tuple[str, str]] = ()


def claim_enqueued(
    connection: sa.Connection,
    set_ids: Collection[int],
    worker: Worker,
    living: Collection[str],
    now: Stamp,
    most: int,
) -> list[Operation]:
    """Take on up to `most` enqueued operations that no living run is at, doubts first.

    One whose row has got another link since it was enqueued is withdrawn instead.
    """
    database_of(connection).locked(connection, set_ids)
    nobodys = sa.or_(_O.run_id.is_(None), _O.run_id.not_in([*living, worker.run_id]))
    query = (
        sa.select(tables.operation, tables.body.c.body)
        .join(tables.body, tables.body.c.op_id == _O.op_id)
        .where(
            _IN_TURN,
            tables.SET_ID.in_(set_ids),
            nobodys,
            sa.or_(_INTENDED, sa.and_(_DOUBTFUL, _may_settle(worker.rule, now))),
            *(_is_not(retailer, intent) for retailer, intent in sorted(worker.closed)),
            _O.op_id.not_in(list(worker.given_up)),
        )
        .order_by(_O.turn, _O.op_id)
        .limit(most)
        .with_for_update(of=tables.operation)  # see `claims._hold_abandoned`
    )
    found = connection.execute(query).all()
    late = _late(connection, found)
    found = [one for one in found if one.op_id not in late]
    if late:
        connection.execute(
            sa.update(tables.operation).where(_O.op_id.in_(late)).values(turn=None, run_id=None)
        )
    if found:
        connection.execute(
            sa.update(tables.operation)
            .where(_O.op_id.in_([one.op_id for one in found]))
            .values(
                run_id=worker.run_id,
                epoch=_O.epoch + 1,
                turn=_FIRST,  # should this worker die
                state=sa.case((_INTENDED, _O.state), else_=State.IN_DOUBT.value),
            )
        )
    earlier = earlier_ids(connection, [one.op_id for one in found])
    return [
        replace(
            operation_of(one, one.body),
            earlier_ids=earlier.get(one.op_id, ()),
            for_history=bool(one.for_history),
        )
        for one in found
    ]


def _may_settle(rule: ReplayRule, now: Stamp) -> sa.ColumnElement[bool]:
    """Say whose doubts these are: another API key's are its own, until they are too old for it."""
    oldest = now.micros - round(rule.deadline * 1e6)
    return sa.or_(
        _O.api_key_fingerprint == rule.api_key_fingerprint,
        _O.api_key_fingerprint.is_(None),
        _O.first_sent_at <= oldest,
    )


def _is_not(retailer: str, intent: str) -> sa.ColumnElement[bool]:
    return sa.not_(sa.and_(_O.retailer == retailer, _O.intent == intent))


def _late(connection: sa.Connection, found: Sequence[Any]) -> list[int]:
    """Return the operations that were never sent, and whose row has another link by now.

    Links are looked up after the operations were, see `claims._read_rows`.
    """
    fresh = [one for one in found if one.state == State.INTENDED]
    used: dict[tuple[int, str], int] = {}
    for set_id in {one.set_id for one in fresh}:
        keys = [one.row_key for one in fresh if one.set_id == set_id]
        query = sa.select(_R.row_key, _R.op_id).where(_R.set_id == set_id, _R.row_key.in_(keys))
        used |= {(set_id, row.row_key): row.op_id for row in connection.execute(query)}
    return [one.op_id for one in fresh if used.get((one.set_id, one.row_key)) != one.follows_op_id]


def give_back(connection: sa.Connection, run_id: str) -> list[int]:
    """Let others have what a worker has claimed and doesn't go on with; return what that was."""
    mine = (_IN_TURN, _O.run_id == run_id, _O.state != State.NEEDS_REVIEW.value)
    return [
        *connection.scalars(
            sa.update(tables.operation).where(*mine).values(run_id=None).returning(_O.op_id)
        )
    ]


def enqueued_sets(
    connection: sa.Connection, project_id: str, names: Collection[str] = ()
) -> dict[str, int]:
    """Return the link sets of a project in which something is enqueued; `names` some of them."""
    with_some = sa.select(tables.SET_ID).where(_IN_TURN)
    query = sa.select(_S.name, _S.set_id).where(
        _S.project_id == project_id, _S.set_id.in_(with_some)
    )
    if names:
        query = query.where(_S.name.in_(names))
    return {row.name: row.set_id for row in connection.execute(query)}


def enqueued_counts(connection: sa.Connection, set_ids: Collection[int]) -> dict[State, int]:
    """Count what is enqueued in some sets and not settled, by its state."""
    counts = (
        sa.select(_O.state, sa.func.count())
        .where(_IN_TURN, tables.SET_ID.in_(set_ids))
        .group_by(_O.state)
    )
    return {State(state): n for state, n in connection.execute(counts)}


def is_more_to_come(
    connection: sa.Connection,
    set_ids: Collection[int],
    names: Collection[str],
    others: Mapping[str, LivingRun],
) -> bool:
    """Say whether other living runs are at something enqueued in these sets, or enqueue in them."""
    if any(
        run.task is Task.ENQUEUE and (not names or run.link_sets & set(names))
        for run in others.values()
    ):
        return True
    query = sa.select(_O.op_id).where(
        _IN_TURN,
        tables.SET_ID.in_(set_ids),
        _O.state != State.NEEDS_REVIEW.value,
        _O.run_id.in_(list(others)),
    )
    return connection.scalar(query.limit(1)) is not None
