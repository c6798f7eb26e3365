"""Owners of links: one id belongs to one row, and what is done when an answer says otherwise.

Only the ledger knows all ids, so it looks before it keeps one, in the transaction that keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.state_machine import OPEN_STATES
from incarts_pipeline.ledger.statements import literal
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Dispute, Proof, State
from incarts_pipeline.outgoing import logger_of

logger = logger_of(__name__)

_O = tables.operation.c
_K = tables.link.c
_R = tables.row.c
_PROVEN = (Proof.ECHO, Proof.CONTENT, Proof.ECHO_AND_CONTENT, Proof.REVIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """An operation that has a link, or is about to have it."""

    op_id: int
    key: str
    proof: str | None
    leads_to: tuple[Any, ...] | None  # None for QR codes, which are never shared


_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_LEADS_TO = (_O.retailer, _O.intent, _O.destination_hash)
_COLUMNS = (
    _O.op_id,
    _O.idempotency_key,
    *_LEADS_TO,
    _O.for_link_id,
)
# Those who have a link and lead elsewhere than its answers do, or, where these differ, all. Nobody
# else speaks against an answer, and thousands may share a link.
_HOLDERS = (
    sa.select(_K.proof, *_COLUMNS)
    .join(tables.operation, _O.op_id == _K.op_id)
    .where(
        _K.link_id == sa.bindparam("link_id"),
        sa.or_(
            sa.bindparam("all", type_=sa.Boolean) == sa.true(),
            _O.for_link_id.is_not(None),
            *(column != sa.bindparam(f"its_{column.name}") for column in _LEADS_TO),
        ),
    )
)
_KNOWN = sa.select(_K.link_id).where(_K.link_id.in_(_IDS)).distinct()
_OPERATIONS = sa.select(*_COLUMNS).where(_O.op_id.in_(_IDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A link, or a QR code, that was answered for an operation."""

    op_id: int
    link_id: str
    proof: Proof | None
    at: Stamp


def links_of_others(connection: sa.Connection, new: Sequence[NewLink]) -> Mapping[int, str]:
    """Return the operations that may not have the link that was answered for them.

    Each is beside the idempotency key of another row's operation that has it, or was answered with
    it just now: who has proof comes first, and of those who have none nobody gets it. One that has
    it and that nothing proves is disputed as well. Links of two rows that lead to the same are
    shared.
    """
    answered: dict[str, list[NewLink]] = {}
    for one in new:
        answered.setdefault(one.link_id, []).append(one)
    known: set[str] = set()
    if database_of(connection).reserve_links(connection, answered):
        known = set(connection.scalars(_KNOWN, {"ids": list(answered)}))
    refused: dict[int, str] = {}
    for link_id, several in answered.items():  # nearly always each is new, and one row's
        if link_id in known or len(several) > 1:
            refused |= _refused(connection, several, is_known=link_id in known)
    return refused


def _refused(
    connection: sa.Connection, answered: Sequence[NewLink], *, is_known: bool
) -> Mapping[int, str]:
    """Return which of the answers with one link id speak against those that have it, or came."""
    ids = [one.op_id for one in answered]
    rows = {row.op_id: row for row in connection.execute(_OPERATIONS, {"ids": ids})}
    came = [_owner(rows[one.op_id], one.proof) for one in answered]
    link_id, at = answered[0].link_id, answered[0].at
    holders = _holders(connection, link_id, came) if is_known else []
    kept: list[_Owner] = []
    refused: dict[int, str] = {}
    for me in sorted(came, key=lambda one: one.proof not in _PROVEN):
        having = [other for other in holders if _is_against(me, other)]
        others = kept if me.proof in _PROVEN else came
        against = having + [other for other in others if _is_against(me, other)]
        if not against:
            kept.append(me)
            continue
        key = refused[me.op_id] = against[0].key
        logger.critical("Incarts answered %s of %s for %s, too", link_id, key, me.key)
        for other in having:  # rows that share it, or from which it moved, have it by one proof
            if other.proof not in _PROVEN:
                dispute(connection, other.op_id, link_id, at)
    return refused


def _holders(connection: sa.Connection, link_id: str, came: Sequence[_Owner]) -> list[_Owner]:
    """Return those who have a link and may speak against one of its answers."""
    goals = {one.leads_to for one in came}
    goal = next(iter(goals))
    its = {
        f"its_{column.name}": at for column, at in zip(_LEADS_TO, goal or ("",) * 3, strict=True)
    }
    found = connection.execute(
        _HOLDERS, {"link_id": link_id, "all": goal is None or len(goals) > 1, **its}
    )
    return [_owner(row, row.proof) for row in found]


def _is_against(me: _Owner, other: _Owner) -> bool:
    if other.op_id == me.op_id:
        return False
    if other.proof == Proof.DISPUTED and me.proof in _PROVEN:
        return False
    return me.leads_to is None or me.leads_to != other.leads_to


def _owner(row: Any, proof: str | None) -> _Owner:
    is_code = row.for_link_id is not None
    return _Owner(
        op_id=row.op_id,
        key=row.idempotency_key,
        proof=proof,
        leads_to=None if is_code else (row.retailer, row.intent, row.destination_hash),
    )


_ANOTHER = tables.link.alias()
_HAS_ANOTHER = (
    sa.select(_ANOTHER.c.op_id)
    .where(
        _ANOTHER.c.op_id == _O.op_id,
        _ANOTHER.c.proof.is_distinct_from(literal(Proof.DISPUTED)),
    )
    .exists()
)
_DISPUTED = (
    sa.select(_O.op_id)
    .select_from(tables.link)
    .join(tables.operation, _O.op_id == _K.op_id)
    .where(tables.IS_DISPUTED, _O.state == literal(State.DONE))
)
_OTHER, _DOUBT = tables.operation.alias(), tables.operation.alias()
_IS_IN_DOUBT = (
    sa.select(_DOUBT.c.op_id)
    .where(
        _DOUBT.c.set_id == _O.set_id,
        _DOUBT.c.row_key == _O.row_key,
        _DOUBT.c.state.in_([state.value for state in OPEN_STATES if state != State.INTENDED]),
    )
    .exists()
)
# Disputed links that rows use, each beside what was to be sent for the row and wasn't.
_DISPUTED_IN_USE = (
    _DISPUTED.add_columns(_OTHER.c.op_id)
    .join(
        tables.row,
        sa.and_(
            _R.set_id == _O.set_id,
            _R.row_key == _O.row_key,
            _R.op_id == _O.op_id,
            _R.link_id == _K.link_id,
        ),
    )
    .outerjoin(
        _OTHER,
        sa.and_(
            _OTHER.c.set_id == _O.set_id,
            _OTHER.c.row_key == _O.row_key,
            _OTHER.c.state == literal(State.INTENDED),
        ),
    )
    .where(~_IS_IN_DOUBT)
)


def links_to_use(connection: sa.Connection, op_ids: Sequence[int]) -> Mapping[int, str]:
    """Return the link of each operation that its row may use; none where all are disputed.

    Of several it is the one that a person adopted, else the one that came first.
    """
    found = connection.execute(
        sa.select(_K.op_id, _K.link_id)
        .where(_K.op_id.in_(op_ids), _K.proof.is_distinct_from(Proof.DISPUTED.value))
        .order_by(sa.case((_K.proof == Proof.REVIEW.value, 0), else_=1), _K.received_at, _K.link_id)
    )
    links: dict[int, str] = {}
    for op_id, link_id in found:
        links.setdefault(op_id, link_id)
    return links


WITHOUT_LINK_TO_USE = _DISPUTED.where(~_HAS_ANOTHER)


def without_link_to_use(connection: sa.Connection) -> set[int]:
    """Return the operations that are done and whose every link is disputed.

    There may be a link of their content that nobody was told of: no other is made.
    """
    return set(connection.scalars(WITHOUT_LINK_TO_USE))


def dispute(connection: sa.Connection, op_id: int, link_id: str, at: Stamp) -> None:
    """Keep an operation's link, and say that a person must look whether it is the right one.

    A link that no row uses is marked, and that is all until its row wants it again.
    """
    connection.execute(
        sa.update(tables.link)
        .where(_K.op_id == op_id, _K.link_id == link_id)
        .values(proof=Proof.DISPUTED.value)
    )
    _hold_users(connection, at, _O.op_id == op_id)


def hold_disputed(connection: sa.Connection, set_ids: Collection[int], at: Stamp) -> None:
    """Hold the rows of some sets that use a disputed link still.

    While something of a row is in doubt, it may get another link by that; now that came to nothing.
    """
    database_of(connection).locked(connection, set_ids)
    _hold_users(connection, at, tables.SET_ID.in_(set_ids))


def _hold_users(connection: sa.Connection, at: Stamp, where: sa.ColumnElement[bool]) -> None:
    found = connection.execute(_DISPUTED_IN_USE.where(where)).all()
    if found:
        # At most one operation of a row is open.
        tables.drop_operations(connection, [other for _, other in found if other is not None])
        hold(connection, [op_id for op_id, _ in found], at)


def hold(connection: sa.Connection, op_ids: Sequence[int], at: Stamp) -> None:
    """Say that a person must look at operations whose links are disputed."""
    disputed = sa.select(sa.func.min(_K.link_id)).where(_K.op_id == _O.op_id, tables.IS_DISPUTED)
    connection.execute(
        sa.update(tables.operation)
        .where(_O.op_id.in_(op_ids))
        .values(
            state=State.NEEDS_REVIEW.value,
            epoch=_O.epoch + 1,
            error_code=Dispute.LINK_DISPUTED.value,
            error_message=disputed.scalar_subquery()
            + " may be the link of another row, or hold something else",
            settled_at=at.micros,
        )
    )
