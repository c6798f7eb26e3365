"""History of one row: all that was sent for it, what came back, and what changed in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.differences import Difference, differences
from incarts_pipeline.identity import qr_row_key
from incarts_pipeline.kinds import LINKS, QR_CODES
from incarts_pipeline.ledger import tables
from incarts_pipeline.models import State

_O = tables.operation.c
_A = tables.attempt.c
_K = tables.link.c
_R = tables.row.c
_S = tables.link_set.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt; times in microseconds since 1970 UTC, None where no answer came."""

    number: int
    correlation_id: str
    sent_at: int
    answered_at: int | None
    http_status: int | None
    said: str | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One link of a row; `proof` is what makes it that, None where nobody looked.

    `status` is the link's when it was answered.
    """

    link_id: str
    short_link: str | None
    target_url: str | None
    received_at: int
    in_use: bool
    proof: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One operation of a row; `differences` are the values that differ from the one before.

    `for_link_id` is the link that a QR code is for, None when the operation makes a link.
    """

    project_id: str
    link_set: str
    row_key: str
    idempotency_key: str
    generation: int
    action: str
    state: State
    reason: str | None
    intended_at: int
    missing_since: int | None
    differences: Sequence[Difference]
    attempts: Sequence[Try]
    links: Sequence[Made]
    for_link_id: str | None = None

    @property
    def changed(self) -> list[str]:
        """The fields that differ from the operation before, sorted."""
        return sorted({one.field for one in self.differences})


def key_columns(connection: sa.Connection) -> dict[str, tuple[str, ...]]:
    """Return the unique key's columns of each link set where they are known."""
    rows = connection.execute(sa.select(_S.name, _S.key_columns).where(_S.kind == LINKS.name))
    return {row.name: tuple(json.loads(row.key_columns)) for row in rows if row.key_columns}


def entries_of(
    connection: sa.Connection, row_key: str, link_set: str | None = None
) -> list[HistoryEntry]:
    """Return all operations of a row and of its QR codes, in one link set or in all.

    Each row's links come oldest first, then its codes, identifier by identifier.
    """
    codes = qr_row_key(row_key, "")
    query = (
        sa.select(
            tables.operation,
            _S.project_id,
            _S.name,
            tables.body.c.body,
            _R.op_id.label("used_op"),
            _R.link_id.label("used_link"),
            _R.missing_since,
        )
        .join(tables.link_set, _S.set_id == _O.set_id)
        .outerjoin(tables.body, tables.body.c.op_id == _O.op_id)
        .outerjoin(tables.row, sa.and_(_R.set_id == _O.set_id, _R.row_key == _O.row_key))
        .where(
            sa.or_(
                sa.and_(_S.kind == LINKS.name, _O.row_key == row_key),
                # Not LIKE: keys hold any character, and identifiers no `|`.
                sa.and_(
                    _S.kind == QR_CODES.name,
                    sa.func.substr(_O.row_key, 1, len(codes)) == codes,
                ),
            )
        )
        .order_by(_S.name, _S.kind, _O.row_key, _O.op_id)
    )
    if link_set is not None:
        query = query.where(_S.name == link_set)
    entries: list[HistoryEntry] = []
    before: dict[tuple[int, str], bytes] = {}
    for row in connection.execute(query).all():
        old = before.get((row.set_id, row.row_key))
        found = differences(old, row.body) if old and row.body else []
        entries.append(_entry(connection, row, found))
        if row.body:
            before[row.set_id, row.row_key] = row.body
    return entries


def _entry(connection: sa.Connection, row: Any, found: Sequence[Difference]) -> HistoryEntry:
    attempts = connection.execute(
        sa.select(tables.attempt).where(_A.op_id == row.op_id).order_by(_A.number)
    )
    links = connection.execute(
        sa.select(tables.link).where(_K.op_id == row.op_id).order_by(_K.received_at)
    )
    in_use = row.used_link if row.used_op == row.op_id else None
    return HistoryEntry(
        project_id=row.project_id,
        link_set=row.name,
        row_key=row.row_key,
        idempotency_key=row.idempotency_key,
        generation=row.generation,
        action=row.action,
        state=State(row.state),
        reason=row.error_message or row.error_code,
        intended_at=row.intended_at,
        missing_since=row.missing_since,
        differences=found,
        attempts=[_try(one) for one in attempts],
        links=[
            Made(
                link_id=one.link_id,
                short_link=one.short_link,
                target_url=one.target_url,
                received_at=one.received_at,
                in_use=one.link_id == in_use,
                proof=one.proof,
                status=one.status,
            )
            for one in links
        ],
        for_link_id=row.for_link_id,
    )


def _try(row: Any) -> Try:
    return Try(
        number=row.number,
        correlation_id=row.correlation_id,
        sent_at=row.sent_at,
        answered_at=row.answered_at,
        http_status=row.http_status,
        said=row.error_message or row.error_code,
        run_id=row.run_id,
    )
