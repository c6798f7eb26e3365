"""Claims: which operations a run may send, recorded before it does.

A claim is an operation's `run_id` together with its `epoch`, which every claim raises by one. What
a run writes later names the epoch, so that a run which was suspended, and whose operations another
one has taken on since, changes nothing by mistake. A claim lasts as long as its run's lease
(`runs`).

The functions that take a connection run inside one transaction of the journal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import RECIPE, idempotency_key
from incarts_pipeline.kinds import kind_for
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.link_owners import WITHOUT_LINK_TO_USE, hold
from incarts_pipeline.ledger.lost_keys import ERROR_CODE, HAS_LOST, lost_among, take_lost
from incarts_pipeline.ledger.queries import earlier_ids
from incarts_pipeline.ledger.state_machine import OPEN_STATES, OperationState
from incarts_pipeline.ledger.statements import Statement, literal
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.ledger.tables import drop_operations
from incarts_pipeline.models import Action, State

_O = tables.operation.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One link that the plan wants made, or one QR code for the link `for_link_id`.

    `expected_op_id` is the operation whose link the row used when the plan was made, None for none.
    """

    project_id: str
    link_set: str
    set_id: int
    row_key: str
    action: Action
    retailer: str
    intent: str
    content_hash: bytes
    groups: tuple[bytes, bytes, bytes]  # destination, tracking and label hash
    body: bytes
    expected_op_id: int | None = None
    for_link_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation that this run owns: all that sending needs.

    `for_history` marks older content whose row is back at the link that it had before: when this
    one's link comes home, the row keeps the one that it uses.
    """

    op_id: int
    set_id: int
    idempotency_key: str
    row_key: str
    retailer: str
    intent: str
    content_hash: bytes
    body: bytes
    epoch: int
    operation_state: OperationState = field(default_factory=OperationState)
    for_history: bool = False
    for_link_id: str | None = None  # whose QR code it makes; None when it makes a link
    correlation_id: str | None = None  # of the last attempt, None before the first
    earlier_ids: tuple[str, ...] = ()  # correlation ids of all attempts before it was claimed


class Claim(StrEnum):
    """What became of the wish to send one call."""

    OURS = "ours"
    BUSY = "busy"  # another run is at it
    MOVED = "moved"  # the row has another link, or this one, since the plan was made
    DOUBT = "doubt"  # an unsettled operation of the row comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    claim: Claim
    take: int | None = None  # an operation to go on with
    drop: int | None = None  # an operation of older content that was never sent
    hold: int | None = None  # an operation whose link is disputed
    generation: int = 0


def decide(
    call: Call,
    operations: Sequence[Any],
    current_op_id: int | None,
    run_id: str,
    living: Collection[str],
    *,
    retry_rejected: bool,
    disputed: Collection[int] = (),
) -> _Verdict:
    """Say what a call may do, given the row's operations and the link that it uses now.

    `disputed` are the operations that are done without a link that a row may use.
    """
    if current_op_id != call.expected_op_id:
        return _Verdict(claim=Claim.MOVED)
    open_one = next((o for o in operations if o.state in OPEN_STATES), None)
    if open_one is not None:
        if open_one.run_id in living and open_one.run_id != run_id:
            return _Verdict(claim=Claim.BUSY)
        if open_one.state != State.INTENDED:
            return _Verdict(claim=Claim.DOUBT)
        if open_one.content_hash == call.content_hash:
            return _Verdict(claim=Claim.OURS, take=open_one.op_id)
    drop = open_one.op_id if open_one is not None else None
    same = [o for o in operations if o.content_hash == call.content_hash]
    last = max(same, key=lambda o: o.generation, default=None)
    if last is None:
        return _Verdict(claim=Claim.OURS, drop=drop)
    # A refusal proves that there is no link, and servers may repeat it for as long as they remember
    # its key: asked to try again, we do so under a new one.
    if last.op_id in disputed:
        return _Verdict(claim=Claim.DOUBT, drop=drop, hold=last.op_id)
    again = (State.ABANDONED, State.MOVED)
    if last.state in again or (last.state == State.REJECTED and retry_rejected):
        return _Verdict(claim=Claim.OURS, drop=drop, generation=last.generation + 1)
    return _Verdict(claim=Claim.MOVED)


def claim_calls(
    connection: sa.Connection,
    calls: Sequence[Call],
    run_id: str,
    living: Collection[str],
    now: Stamp,
    *,
    retry_rejected: bool,
) -> list[tuple[Claim, Operation | None]]:
    """Record the intent to send each call, or say why not; one answer per call, in order."""
    store = database_of(connection)
    store.locked(connection, {call.set_id for call in calls})
    new_ids = store.new_ids(connection, len(calls))
    by_row, pointers, disputed, may_be_lost = _read_rows(
        connection, calls, at_work={*living, run_id}
    )
    answers: list[tuple[Claim, Operation | None]] = []
    dropped: list[int] = []
    held: list[int] = []
    taken: list[dict[str, Any]] = []
    fresh: list[dict[str, Any]] = []
    bodies: list[dict[str, Any]] = []
    judge = partial(decide, retry_rejected=retry_rejected, disputed=disputed)
    intended = [o.op_id for known in by_row.values() for o in known if o.state == State.INTENDED]
    earlier = earlier_ids(connection, intended)
    for call in calls:
        row = (call.set_id, call.row_key)
        known = by_row.get(row, ())
        verdict = judge(call, known, pointers.get(row), run_id, living)
        if verdict.drop is not None:
            dropped.append(verdict.drop)
        if verdict.hold is not None:
            held.append(verdict.hold)
        if verdict.claim is not Claim.OURS:
            answers.append((verdict.claim, None))
            continue
        if verdict.take is not None:
            old = next(o for o in known if o.op_id == verdict.take)
            taken.append({"id": old.op_id, "run": run_id, "follows": call.expected_op_id})
            own = operation_of(old, call.body)
            answers.append((Claim.OURS, replace(own, earlier_ids=earlier.get(own.op_id, ()))))
            continue
        values = _new_operation(call, next(new_ids), verdict.generation, run_id, now)
        fresh.append(values)
        bodies.append({"op_id": values["op_id"], "body": call.body})
        if may_be_lost and take_lost(connection, values["idempotency_key"]):
            values |= _IN_REVIEW
            answers.append((Claim.DOUBT, None))
            continue
        answers.append((Claim.OURS, _own(values, call.body, values["epoch"], OperationState())))
    _write(connection, dropped, taken, fresh, bodies)
    if held:
        hold(connection, held, now)
    return answers


def lost_calls(
    connection: sa.Connection, calls: Sequence[Call], *, retry_rejected: bool
) -> list[Call]:
    """Return the calls that won't be sent, as a restored ledger holds their keys.

    Nor will those whose row had a link of this content that is disputed. Claimed, each becomes an
    operation that needs review. The set of a call may be unknown here.
    """
    by_row, pointers, disputed, _ = _read_rows(connection, calls)
    keys: dict[str, Call] = {}
    found: list[Call] = []
    for call in calls:
        row = (call.set_id, call.row_key)
        known, current = by_row.get(row, ()), pointers.get(row)
        verdict = decide(
            call, known, current, "", (), retry_rejected=retry_rejected, disputed=disputed
        )
        if verdict.hold is not None:
            found.append(call)
        elif verdict.claim is Claim.OURS and verdict.take is None:
            keys[_key_of(call, verdict.generation)] = call
    held = lost_among(connection, keys)
    return found + [call for key, call in keys.items() if key in held]


def _key_of(call: Call, generation: int) -> str:
    return idempotency_key(
        endpoint=kind_for(call.for_link_id).endpoint,
        project_id=call.project_id,
        link_set=call.link_set,
        row_key=call.row_key,
        content_hash=call.content_hash,
        generation=generation,
    )


class _Rows(NamedTuple):
    """What the ledger has of calls' rows."""

    operations: Mapping[tuple[int, str], Sequence[Any]]
    pointers: Mapping[tuple[int, str], int]  # the operation whose link a row uses
    disputed: Collection[int]
    may_be_lost: bool  # whether any key is held


def _read_rows(
    connection: sa.Connection, calls: Sequence[Call], *, at_work: Collection[str] | None = None
) -> _Rows:
    """Read the operations and the link in use of each call's row.

    In this order: an answer that is recorded between the two changes both, and a pointer that is
    newer than its operation says that the row has moved; an older one would say that it has not.

    With `at_work` open operations that none of these runs is at are locked before: a run whose
    lease has ended may be about to mark one as sent, or to record its answer, and that comes before
    or after the claim, not in between. What living runs have is theirs, and not waited for.
    """
    keys: dict[int, list[str]] = {}
    for call in calls:
        keys.setdefault(call.set_id, []).append(call.row_key)
    sets = [{"set_id": set_id, "row_keys": keys[set_id]} for set_id in sorted(keys)]
    asked: list[tuple[sa.Select[Any], Mapping[str, Any]]] = []
    if at_work is not None:
        asked += [(_ABANDONED, of_set | {"at_work": list(at_work)}) for of_set in sets]
    for of_set in sets:
        asked += [(_OPERATIONS, of_set), (_POINTERS, of_set)]
    asked += [(WITHOUT_LINK_TO_USE, {}), (HAS_LOST, {})]
    *found, disputed, lost = database_of(connection).ask(connection, asked)
    by_row: dict[tuple[int, str], list[Any]] = {}
    pointers: dict[tuple[int, str], int] = {}
    for n, set_id in enumerate(sorted(keys), -len(sets)):
        for o in found[2 * n]:
            by_row.setdefault((set_id, o.row_key), []).append(o)
        for r in found[2 * n + 1]:
            pointers[set_id, r.row_key] = r.op_id
    return _Rows(by_row, pointers, {op_id for (op_id,) in disputed}, bool(lost))


_KEYS: sa.BindParameter[Any] = sa.bindparam("row_keys", expanding=True)
_OPERATIONS = sa.select(tables.operation).where(
    _O.set_id == sa.bindparam("set_id"), _O.row_key.in_(_KEYS)
)
_ABANDONED = (
    sa.select(_O.op_id)
    .where(
        tables.IS_OPEN,
        _O.set_id == sa.bindparam("set_id"),
        _O.row_key.in_(_KEYS),
        sa.or_(_O.run_id.is_(None), _O.run_id.not_in(sa.bindparam("at_work", expanding=True))),
    )
    .with_for_update()
)
_POINTERS = sa.select(tables.row.c.row_key, tables.row.c.op_id).where(
    tables.row.c.set_id == sa.bindparam("set_id"), tables.row.c.row_key.in_(_KEYS)
)


def _new_operation(
    call: Call, op_id: int, generation: int, run_id: str, now: Stamp
) -> dict[str, Any]:
    destination, tracking, label = call.groups
    return {
        "op_id": op_id,
        "idempotency_key": _key_of(call, generation),
        "set_id": call.set_id,
        "row_key": call.row_key,
        "generation": generation,
        "action": call.action.value,
        "retailer": call.retailer,
        "intent": call.intent,
        "content_hash": call.content_hash,
        "destination_hash": destination,
        "tracking_hash": tracking,
        "label_hash": label,
        "recipe": RECIPE,
        "follows_op_id": call.expected_op_id,
        "state": State.INTENDED.value,
        "run_id": run_id,
        "epoch": 1,
        "attempts": 0,
        "intended_at": now.micros,
        "for_link_id": call.for_link_id,
        "error_code": None,
    }


_IN_REVIEW = {"state": State.NEEDS_REVIEW.value, "error_code": ERROR_CODE}


def _write(
    connection: sa.Connection,
    dropped: list[int],
    taken: list[dict[str, Any]],
    fresh: list[dict[str, Any]],
    bodies: list[dict[str, Any]],
) -> None:
    if dropped:
        drop_operations(connection, dropped)
    parts = [(_TAKE, taken), (_NEW_OPERATION, fresh), (_NEW_BODY, bodies)]
    database_of(connection).run_later(connection, parts)


_COLUMNS = (
    "op_id idempotency_key set_id row_key generation action retailer intent "
    "content_hash destination_hash tracking_hash label_hash recipe follows_op_id "
    "state run_id epoch attempts intended_at for_link_id error_code"
)
_NEW_OPERATION = Statement(sa.insert(tables.operation), _COLUMNS.split(), key=["op_id"])
_NEW_BODY = Statement(sa.insert(tables.body), ["op_id", "body"], key=["op_id"])
_TAKE = Statement(
    sa.update(tables.operation)
    .where(_O.op_id == sa.bindparam("id", type_=sa.BigInteger))
    .values(
        run_id=sa.bindparam("run", type_=sa.Text),
        epoch=_O.epoch + sa.literal_column("1"),
        state=literal(State.INTENDED),
        follows_op_id=sa.bindparam("follows", type_=sa.BigInteger),
    ),
    key=["id"],
)


def _own(values: Mapping[str, Any], body: bytes, epoch: int, state: OperationState) -> Operation:
    return Operation(
        op_id=values["op_id"],
        set_id=values["set_id"],
        idempotency_key=values["idempotency_key"],
        row_key=values["row_key"],
        retailer=values["retailer"],
        intent=values["intent"],
        content_hash=values["content_hash"],
        body=body,
        epoch=epoch,
        operation_state=state,
        for_link_id=values["for_link_id"],
    )


def operation_of(row: Any, body: bytes) -> Operation:
    """Return the operation of a row, claimed once more."""
    first_sent = None
    if row.first_sent_at is not None:
        first_sent = Stamp(
            wall=row.first_sent_at / 1e6, boot=row.first_sent_boot, boot_id=row.boot_id
        )
    operation_state = OperationState(
        attempts=row.attempts,
        first_sent=first_sent,
        api_key_fingerprint=row.api_key_fingerprint if first_sent else None,
    )
    own = _own(row._asdict(), body, row.epoch + 1, operation_state.claimed())
    return replace(own, correlation_id=row.correlation_id)
