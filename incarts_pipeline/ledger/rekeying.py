"""Re-keying: links that move from rows that left the catalog to the same products' new keys.

A moved link is one of two operations. That of the new key is a copy with a key of its own, so that
whatever looks at rows and their links finds it like any other; that of the old key is closed as
`moved`: its row is neither missing nor to be taken up again, and its history stays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import idempotency_key, qr_row_key
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.claims import drop_operations
from incarts_pipeline.ledger.state_machine import OPEN_STATES
from incarts_pipeline.models import LINKS, QR_CODES, Action, State, kind_for

_O = tables.operation.c
_R = tables.row.c
_S = tables.link_set.c
_LAST = "\U0010ffff"  # sorts behind whatever an identifier may hold


class KeyChange(NamedTuple):
    """A row of the catalog that is one that left it, under another key.

    `op_id` is the operation whose link the row of the old key used when the plan was made.
    """

    set_id: int
    old_key: str
    row_key: str
    op_id: int


def rekey(
    connection: sa.Connection,
    moves: Sequence[KeyChange],
    run_id: str,
    living: Collection[str],
    now: Stamp,
) -> list[KeyChange]:
    """Move links, and their QR codes, to their rows' new keys; return moves that are not to be.

    One of their rows has got another link since the plan was made, or one that may be on its way.
    """
    others = set(living) - {run_id}
    return [move for move in moves if not _move(connection, move, run_id, others, now)]


def _move(
    connection: sa.Connection, move: KeyChange, run_id: str, others: Collection[str], now: Stamp
) -> bool:
    used = _used(connection, move.set_id, move.old_key)
    if used is None or used.op_id != move.op_id or _used(connection, move.set_id, move.row_key):
        return False
    known = connection.execute(
        sa.select(_O.op_id, _O.state, _O.run_id, _O.content_hash, _O.generation).where(
            _O.set_id == move.set_id, _O.row_key == move.row_key
        )
    ).all()
    opened = [o for o in known if o.state in OPEN_STATES]
    if any(o.state != State.INTENDED or o.run_id in others for o in opened):
        return False
    drop_operations(connection, [o.op_id for o in opened])
    same = [o.generation for o in known if o.content_hash == used.content_hash]
    generation = 1 + max(same, default=-1)
    _copy(connection, move, used, generation, run_id, now)
    for code in _codes(connection, move, used.link_id):
        _move(connection, code, run_id, others, now)
    return True


def _used(connection: sa.Connection, set_id: int, row_key: str) -> Any:
    """Return the row that uses a link, None when there is none."""
    query = sa.select(tables.row).where(_R.set_id == set_id, _R.row_key == row_key)
    return connection.execute(query).one_or_none()


def _copy(
    connection: sa.Connection, move: KeyChange, used: Any, generation: int, run_id: str, now: Stamp
) -> None:
    """Write the new key's operation with its body and link, and close the old key's."""
    query = sa.select(tables.operation).where(_O.op_id == move.op_id)
    old = connection.execute(query).one()
    [owner] = connection.execute(sa.select(tables.link_set).where(_S.set_id == move.set_id))
    op_id = 1 + (connection.scalar(sa.select(sa.func.max(_O.op_id))) or 0)
    key = idempotency_key(
        endpoint=kind_for(old.for_link_id).endpoint,
        project_id=owner.project_id,
        link_set=owner.name,
        row_key=move.row_key,
        content_hash=used.content_hash,
        generation=generation,
    )
    settled = {"settled_at": now.micros, "settled_run_id": run_id}
    own = {"op_id": op_id, "row_key": move.row_key, "generation": generation}
    own |= {"idempotency_key": key, "action": Action.REKEY.value, "intended_at": now.micros}
    connection.execute(sa.insert(tables.operation).values(**{**old._mapping, **own, **settled}))
    for table in (tables.body, tables.link):
        is_used = [table.c.link_id == used.link_id] if table is tables.link else []
        found = sa.select(table).where(table.c.op_id == move.op_id, *is_used)
        for one in connection.execute(found).all():
            connection.execute(sa.insert(table).values(**{**one._mapping, "op_id": op_id}))
    row = tables.row_values(
        (move.set_id, move.row_key),
        op_id,
        used.content_hash,
        used.link_id,
        changed_at=now.micros,
        run_id=run_id,
    )
    connection.execute(sa.insert(tables.row).values(**row))
    close_moved(connection, move.set_id, move.old_key, move.op_id, settled)


def close_moved(
    connection: sa.Connection, set_id: int, row_key: str, op_id: int, settled: dict[str, Any]
) -> None:
    """Note that an operation's link is another row's now, and let its row go."""
    connection.execute(
        sa.update(tables.operation)
        .where(_O.op_id == op_id)
        .values(state=State.MOVED.value, **settled)
    )
    connection.execute(
        sa.delete(tables.row).where(_R.set_id == set_id, _R.row_key == row_key, _R.op_id == op_id)
    )


def _codes(connection: sa.Connection, move: KeyChange, link_id: str) -> list[KeyChange]:
    """Return the moves of the QR codes that a link has; none when it is a code itself."""
    ours, theirs = tables.link_set.alias(), tables.link_set.alias()
    first = qr_row_key(move.old_key, "")
    found = connection.execute(
        sa.select(_R.set_id, _R.row_key, _R.op_id)
        .join(tables.operation, _O.op_id == _R.op_id)
        .join(theirs, theirs.c.set_id == _R.set_id)
        .join(ours, sa.and_(ours.c.project_id == theirs.c.project_id, ours.c.name == theirs.c.name))
        .where(
            ours.c.set_id == move.set_id,
            ours.c.kind == LINKS.name,
            theirs.c.kind == QR_CODES.name,
            _R.row_key.between(first, first + _LAST),
            _O.for_link_id == link_id,
        )
    )
    return [
        KeyChange(
            code.set_id, code.row_key, _code_key(move.row_key, code.row_key, first), code.op_id
        )
        for code in found
    ]


def _code_key(row_key: str, old: str, first: str) -> str:
    return qr_row_key(row_key, "") + old.removeprefix(first)
