"""Integrity of a ledger: what the database, the references, and each body's hash say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import sqlalchemy as sa

from incarts_pipeline.identity import RECIPE, qr_content_hash
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import State

_O = tables.operation.c
_R = tables.row.c
_K = tables.link.c
_B = tables.body.c

_MOST = 10  # of each kind; one damaged page may have spoilt thousands


def damage(connection: sa.Connection) -> Iterator[str]:
    """Yield in words what is wrong with a ledger; nothing when it is intact."""
    yield from database_of(connection).damage(connection)
    for key, op_id in connection.execute(_WITHOUT_LINK):
        yield f"the row {key} uses a link that isn't there (operation {op_id})"
    yield from _wrong_bodies(connection)
    other = connection.scalar(sa.select(sa.func.count()).where(_O.recipe != RECIPE))
    if other:
        yield f"{other:,} operations were written with another recipe than {RECIPE}"


def counts_of(connection: sa.Connection) -> dict[str, int]:
    """Return the rows of each table."""
    return {
        table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for table in tables.metadata.sorted_tables
        if sa.inspect(connection).has_table(table.name)
    }


_WITH_LINK = (State.DONE.value, State.NEEDS_REVIEW.value)  # the latter where the link is disputed

# A row's link, and the operation that made it, as everything else takes them for granted.
_WITHOUT_LINK = (
    sa.select(_R.row_key, _R.op_id)
    .outerjoin(tables.operation, _O.op_id == _R.op_id)
    .outerjoin(tables.link, sa.and_(_K.op_id == _R.op_id, _K.link_id == _R.link_id))
    .where(sa.or_(_K.link_id.is_(None), _O.state.is_(None), _O.state.not_in(_WITH_LINK)))
    .limit(_MOST)
)


def _wrong_bodies(connection: sa.Connection) -> Iterator[str]:
    """Yield the operations whose bytes are not those that they were recorded with."""
    rows = connection.execute(
        sa.select(_O.idempotency_key, _O.content_hash, _O.for_link_id, _B.body).join(
            tables.operation, _O.op_id == _B.op_id
        )
    )
    told = 0
    for key, content_hash, for_link_id, body in rows:
        if content_hash == b"":
            continue  # imported without its content
        if for_link_id is None:
            own = hashlib.sha256(body).digest()
        else:
            own = qr_content_hash(for_link_id, body)
        if own != content_hash:
            yield f"the body under {key} doesn't have its hash"
            told += 1
            if told == _MOST:
                return
