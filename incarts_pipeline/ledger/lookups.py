"""Small reads by operation id: what changed on a row, and what a settled row was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from incarts_pipeline.ledger import tables

_CHUNK = 10_000

GroupHashes = tuple[bytes, bytes, bytes]  # destination, tracking, label


def group_hashes_of(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, GroupHashes]:
    """Return each operation's destination, tracking and label hash (32 bytes each)."""
    o = tables.operation.c
    found: dict[int, GroupHashes] = {}
    for start in range(0, len(op_ids), _CHUNK):
        rows = connection.execute(
            sa.select(o.op_id, o.destination_hash, o.tracking_hash, o.label_hash).where(
                o.op_id.in_(op_ids[start : start + _CHUNK])
            )
        )
        found.update({row[0]: (row[1], row[2], row[3]) for row in rows})
    return found


def bodies_of(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, bytes]:
    """Return the exact bytes that each operation sends."""
    b = tables.body.c
    rows = connection.execute(sa.select(b.op_id, b.body).where(b.op_id.in_(op_ids)))
    return {row[0]: row[1] for row in rows}


def links_in_use(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, str]:
    """Return the link that is in use of each operation."""
    r = tables.row.c
    o = tables.operation.c
    rows = connection.execute(
        sa.select(r.op_id, r.link_id)
        .join(tables.operation, sa.and_(o.set_id == r.set_id, o.row_key == r.row_key))
        .where(o.op_id.in_(op_ids), r.op_id == o.op_id)
    )
    return {row[0]: row[1] for row in rows}


def set_ids_of(connection: sa.Connection, project_id: str, names: Sequence[str]) -> dict[str, int]:
    """Return the ids of those link sets that the ledger has."""
    s = tables.link_set.c
    rows = connection.execute(
        sa.select(s.name, s.set_id).where(s.project_id == project_id, s.name.in_(names))
    )
    return {row[0]: row[1] for row in rows}


def ensure_sets(
    connection: sa.Connection, project_id: str, names: Sequence[str], key_columns: Sequence[str]
) -> dict[str, int]:
    """Return the link sets' ids, making those that are new, and note what their rows' keys are."""
    known = set_ids_of(connection, project_id, names)
    fresh = [{"project_id": project_id, "name": name} for name in names if name not in known]
    if fresh:
        connection.execute(sa.insert(tables.link_set), fresh)
    found = set_ids_of(connection, project_id, names)
    if key_columns:
        connection.execute(
            sa.update(tables.link_set)
            .where(tables.link_set.c.set_id.in_(list(found.values())))
            .values(key_columns=json.dumps(list(key_columns)))
        )
    return found


def known_links(connection: sa.Connection, link_ids: Sequence[str]) -> set[str]:
    """Return those of the link ids that the ledger has."""
    return _known(connection, tables.link.c.link_id, link_ids)


def known_keys(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """Return those of the idempotency keys that the ledger has."""
    return _known(connection, tables.operation.c.idempotency_key, keys)


def _known(connection: sa.Connection, column: sa.Column[str], values: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        found.update(connection.scalars(sa.select(column).where(column.in_(chunk))))
    return found


def next_sequence(connection: sa.Connection) -> int:
    """Count one more run that wrote; an output with a higher number than its ledger is newer."""
    m = tables.meta.c
    connection.execute(
        sa.update(tables.meta)
        .where(m.name == "sequence")
        .values(value=sa.cast(sa.cast(m.value, sa.Integer) + 1, sa.Text))
    )
    value = connection.scalar(sa.select(m.value).where(m.name == "sequence"))
    return int(value or 0)
