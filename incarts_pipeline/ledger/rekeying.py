"""Re-keying: links that move from rows that left the catalog to the same products' new keys.

A moved link is one of two operations. That of the new key is a copy with a key of its own, so that
whatever looks at rows and their links finds it like any other; that of the old key is closed as
`moved`: its row is neither missing nor to be taken up again, and its history stays.

Nothing is sent under the new key, but it has a link from now on. So the witness keeps it, too: a
backup that doesn't know of the move must not make another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.identity import idempotency_key, qr_row_key
from incarts_pipeline.kinds import KINDS, LINKS, QR_CODES
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.lost_keys import has_lost, lost_among
from incarts_pipeline.ledger.state_machine import OPEN_STATES
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import Action, State

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


class _Name(NamedTuple):
    """What the operation under a new key is called."""

    row_key: str
    generation: int
    idempotency_key: str


def rekey(
    connection: sa.Connection,
    moves: Sequence[KeyChange],
    run_id: str,
    living: Collection[str],
    now: Stamp,
) -> list[KeyChange]:
    """Move links, and their QR codes, to their rows' new keys; return moves that are not to be.

    One of their rows has got another link since the plan was made, or may have an unknown one.
    """
    late: list[KeyChange] = []
    store = database_of(connection)
    store.locked(connection, {move.set_id for move in moves})
    for set_id in {move.set_id for move in moves}:
        of_set = [move for move in moves if move.set_id == set_id]
        named = _named(connection, set_id, of_set, set(living) - {run_id})
        late += [move for move in of_set if move not in named]
        store.keep_keys(connection, [name.idempotency_key for name in named.values()])
        codes = _codes(connection, set_id, named)
        _copy(connection, named, run_id, now)
        if codes:
            rekey(connection, codes, run_id, living, now)
    return late


def _named(
    connection: sa.Connection, set_id: int, moves: Sequence[KeyChange], others: Collection[str]
) -> dict[KeyChange, _Name]:
    """Return the moves that can be made, each with what its new operation is called."""
    keys = [move.row_key for move in moves]
    in_use = sa.select(_R.row_key, _R.op_id, _R.content_hash).where(
        _R.set_id == set_id, _R.row_key.in_([*keys, *(move.old_key for move in moves)])
    )
    used = {row.row_key: row for row in connection.execute(in_use)}
    operations = sa.select(tables.operation).where(_O.set_id == set_id, _O.row_key.in_(keys))
    operations = operations.with_for_update()  # an answer comes before or after, not in between
    known: dict[str, list[Any]] = {}
    for operation in connection.execute(operations):
        known.setdefault(operation.row_key, []).append(operation)
    [owner] = connection.execute(sa.select(tables.link_set).where(_S.set_id == set_id))
    may_be_lost = has_lost(connection)
    found: dict[KeyChange, _Name] = {}
    dropped: list[int] = []
    for move in moves:
        old, there = used.get(move.old_key), known.get(move.row_key, [])
        opened = [o for o in there if o.state in OPEN_STATES]
        is_busy = any(o.state != State.INTENDED or o.run_id in others for o in opened)
        if old is None or old.op_id != move.op_id or move.row_key in used or is_busy:
            continue
        name = _name(owner, move, old.content_hash, [o for o in there if o not in opened])
        if not (may_be_lost and lost_among(connection, [name.idempotency_key])):
            found[move] = name
            dropped += [o.op_id for o in opened]
    tables.drop_operations(connection, dropped)
    return found


def _name(owner: Any, move: KeyChange, content_hash: bytes, known: Sequence[Any]) -> _Name:
    generations = [o.generation for o in known if o.content_hash == content_hash]
    generation = 1 + max(generations, default=-1)
    key = idempotency_key(
        endpoint=KINDS[owner.kind].endpoint,
        project_id=owner.project_id,
        link_set=owner.name,
        row_key=move.row_key,
        content_hash=content_hash,
        generation=generation,
    )
    return _Name(move.row_key, generation, key)


def _copy(
    connection: sa.Connection, named: Mapping[KeyChange, _Name], run_id: str, now: Stamp
) -> None:
    """Write operations under the new keys with their bodies and links; close the old ones."""
    if not named:
        return
    ids = database_of(connection).new_ids(connection, len(named))
    new = {move.op_id: op_id for move, op_id in zip(named, ids, strict=True)}
    names = {move.op_id: name._asdict() for move, name in named.items()}
    settled = {"settled_at": now.micros, "settled_run_id": run_id}
    own = {"action": Action.REKEY.value, "intended_at": now.micros, **settled}
    moved = {"changed_at": now.micros, "run_id": run_id, "missing_since": None}
    _copy_into(connection, tables.operation, new, {op_id: names[op_id] | own for op_id in new})
    _copy_into(connection, tables.body, new, {})
    row_keys = {op_id: {"row_key": names[op_id]["row_key"], **moved} for op_id in new}
    set_id = next(
        iter(named)
    ).set_id  # the key of the rows, by which they are found, begins with it
    these = sa.and_(_R.set_id == set_id, _R.row_key.in_([move.old_key for move in named]))
    rows = _copy_into(connection, tables.row, new, row_keys, these)
    in_use = tables.link.c.link_id.in_([row.link_id for row in rows])
    _copy_into(connection, tables.link, new, {}, in_use)
    for move in named:
        close_moved(connection, move.set_id, move.old_key, move.op_id, settled)


def _copy_into(
    connection: sa.Connection,
    table: sa.Table,
    new: Mapping[int, int],
    changes: Mapping[int, Mapping[str, Any]],
    *where: sa.ColumnElement[bool],
) -> Sequence[Any]:
    """Copy what a table has of operations to their new ids, with changes; return the originals."""
    query = sa.select(table).where(table.c.op_id.in_(list(new)), *where)
    found = connection.execute(query).all()
    copies = [
        {**row._mapping, **changes.get(row.op_id, {}), "op_id": new[row.op_id]} for row in found
    ]
    if copies:
        connection.execute(sa.insert(table), copies)
    return found


def close_moved(
    connection: sa.Connection, set_id: int, row_key: str, op_id: int, settled: dict[str, Any]
) -> None:
    """Note that an operation's link is another row's now, and let its row go."""
    connection.execute(_CLOSE, {"settled_at": None, "settled_run_id": None, **settled, "id": op_id})
    connection.execute(_LET_GO, {"in_set": set_id, "in_key": row_key, "id": op_id})


_CLOSE = (
    sa.update(tables.operation)
    .where(_O.op_id == sa.bindparam("id"))
    .values(
        state=State.MOVED.value,
        settled_at=sa.func.coalesce(sa.bindparam("settled_at"), _O.settled_at),
        settled_run_id=sa.func.coalesce(sa.bindparam("settled_run_id"), _O.settled_run_id),
    )
)
_LET_GO = sa.delete(tables.row).where(
    _R.set_id == sa.bindparam("in_set"),
    _R.row_key == sa.bindparam("in_key"),
    _R.op_id == sa.bindparam("id"),
)


def _codes(connection: sa.Connection, set_id: int, moves: Collection[KeyChange]) -> list[KeyChange]:
    """Return the moves of the QR codes that links have; none when they are codes themselves."""
    return [
        KeyChange(code_set, row.row_key, _code_key(move, row.row_key), row.op_id)
        for code_set in connection.scalars(_CODE_SETS, {"links": set_id}).all()
        for move in moves
        for row in connection.execute(_CODES, _asked(code_set, move)).all()
    ]


def _asked(code_set: int, move: KeyChange) -> dict[str, Any]:
    first = qr_row_key(move.old_key, "")
    return {"code_set": code_set, "first": first, "last": first + _LAST, "link_op": move.op_id}


def _code_key(move: KeyChange, code_key: str) -> str:
    identifier = code_key.removeprefix(qr_row_key(move.old_key, ""))
    return qr_row_key(move.row_key, identifier)


_of_links = tables.link_set.alias()
_CODE_SETS = (
    sa.select(_S.set_id)
    .join(
        _of_links,
        sa.and_(_of_links.c.project_id == _S.project_id, _of_links.c.name == _S.name),
    )
    .where(
        _of_links.c.set_id == sa.bindparam("links"),
        _of_links.c.kind == LINKS.name,
        _S.kind == QR_CODES.name,
    )
)
_CODES = (
    sa.select(_R.row_key, _R.op_id)
    .join(tables.operation, _O.op_id == _R.op_id)
    .where(
        _R.set_id == sa.bindparam("code_set"),
        _R.row_key.between(sa.bindparam("first"), sa.bindparam("last")),
        _O.for_link_id.in_(
            sa.select(tables.link.c.link_id).where(tables.link.c.op_id == sa.bindparam("link_op"))
        ),
    )
)
