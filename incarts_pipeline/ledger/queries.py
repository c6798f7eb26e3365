"""Queries of the ledger: small reads by operation, link, key or set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from incarts_pipeline.kinds import LINKS, Kind
from incarts_pipeline.ledger import tables
from incarts_pipeline.models import Proof, State

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
    found: dict[int, bytes] = {}
    for start in range(0, len(op_ids), _CHUNK):
        chunk = op_ids[start : start + _CHUNK]
        rows = connection.execute(sa.select(b.op_id, b.body).where(b.op_id.in_(chunk)))
        found.update({row[0]: row[1] for row in rows})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a link was called when it was sent; names are None for links made elsewhere."""

    retailer: str
    intent: str
    name: str | None = None
    public_name: str | None = None


def labels_of(connection: sa.Connection, link_ids: Sequence[str]) -> dict[str, Label]:
    """Return the labels of links by their ids: the bytes that were sent are what can't change."""
    o, k, b = tables.operation.c, tables.link.c, tables.body.c
    joined = tables.link.join(tables.operation, o.op_id == k.op_id).outerjoin(
        tables.body, b.op_id == k.op_id
    )
    query = sa.select(k.link_id, o.retailer, o.intent, b.body).select_from(joined)
    found: dict[str, Label] = {}
    for start in range(0, len(link_ids), _CHUNK):
        chunk = link_ids[start : start + _CHUNK]
        for link_id, retailer, intent, body in connection.execute(
            query.where(k.link_id.in_(chunk))
        ):
            sent = json.loads(body) if body else {}
            found[link_id] = Label(
                retailer=retailer,
                intent=intent,
                name=sent.get("name"),
                public_name=sent.get("publicName"),
            )
    return found


def links_used_for(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, str]:
    """Return the link that is in use of each operation."""
    r = tables.row.c
    o = tables.operation.c
    rows = connection.execute(
        sa.select(r.op_id, r.link_id)
        .join(tables.operation, sa.and_(o.set_id == r.set_id, o.row_key == r.row_key))
        .where(o.op_id.in_(op_ids), r.op_id == o.op_id)
    )
    return {row[0]: row[1] for row in rows}


def set_ids_of(
    connection: sa.Connection, project_id: str, names: Sequence[str], kind: Kind = LINKS
) -> dict[str, int]:
    """Return the ids of those link sets that the ledger has."""
    s = tables.link_set.c
    rows = connection.execute(
        sa.select(s.name, s.set_id).where(
            s.project_id == project_id, s.kind == kind.name, s.name.in_(names)
        )
    )
    return {row[0]: row[1] for row in rows}


# Another run may make the same one just now.
_NEW_SET = postgresql.insert(tables.link_set).on_conflict_do_nothing()


def ensure_sets(
    connection: sa.Connection,
    project_id: str,
    names: Sequence[str],
    key_columns: Sequence[str],
    kind: Kind = LINKS,
) -> dict[str, int]:
    """Return the link sets' ids, making those that are new, and note what their rows' keys are."""
    known = set_ids_of(connection, project_id, names, kind)
    fresh = [
        {"project_id": project_id, "name": name, "kind": kind.name}
        for name in names
        if name not in known
    ]
    if fresh:
        connection.execute(_NEW_SET, fresh)
    found = set_ids_of(connection, project_id, names, kind)
    if key_columns:
        connection.execute(
            sa.update(tables.link_set)
            .where(tables.link_set.c.set_id.in_(list(found.values())))
            .values(key_columns=json.dumps(list(key_columns)))
        )
    return found


def known_sets(
    connection: sa.Connection, project_id: str
) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return a project's link sets by name: their ids, and what columns their rows are known by."""
    s = tables.link_set.c
    rows = connection.execute(
        sa.select(s.name, s.set_id, s.key_columns)
        .where(s.project_id == project_id, s.kind == LINKS.name)
        .order_by(s.name)
    )
    return {row.name: (row.set_id, tuple(json.loads(row.key_columns or "[]"))) for row in rows}


def links_in_use(connection: sa.Connection, set_id: int, row_keys: Sequence[str]) -> dict[str, str]:
    """Return the links that rows of a set use now, by row key."""
    r = tables.row.c
    found: dict[str, str] = {}
    for start in range(0, len(row_keys), _CHUNK):
        chunk = row_keys[start : start + _CHUNK]
        rows = connection.execute(
            sa.select(r.row_key, r.link_id).where(r.set_id == set_id, r.row_key.in_(chunk))
        )
        found.update({row.row_key: row.link_id for row in rows})
    return found


@dataclass(frozen=True, slots=True)
class Target:
    """One link to read back; `op_id` is None when the ledger doesn't know it."""

    op_id: int | None
    link_set: str | None
    row_key: str | None
    link_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLink:
    """One link beside what was sent for it and what was answered; None where nobody knows."""

    link_id: str
    op_id: int | None = None
    proof: str | None = None
    link_set: str | None = None
    row_key: str | None = None
    body: bytes | None = None
    target_url: str | None = None
    short_link: str | None = None
    encoded_url: str | None = None


def links_to_read(
    connection: sa.Connection,
    project_id: str,
    names: Sequence[str] = (),
    link_ids: Sequence[str] | None = None,
) -> list[Target]:
    """Return the links in use of a project, or of some of its sets, by set and row.

    With `link_ids`, those links instead, in their order, whether or not a row uses them.
    """
    s, r, o, k = tables.link_set.c, tables.row.c, tables.operation.c, tables.link.c
    ours = [s.project_id == project_id, s.kind == LINKS.name]
    if names:
        ours.append(s.name.in_(names))
    if link_ids is None:
        query = sa.select(r.op_id, s.name, r.row_key, r.link_id).join(
            tables.link_set, s.set_id == r.set_id
        )
        rows = connection.execute(query.where(*ours).order_by(s.name, r.row_key))
        return [Target(*row) for row in rows]
    known: dict[str, Target] = {}
    query = (
        sa.select(o.op_id, s.name, o.row_key, k.link_id)
        .join(tables.operation, o.op_id == k.op_id)
        .join(tables.link_set, s.set_id == o.set_id)
    )
    for start in range(0, len(link_ids), _CHUNK):
        chunk = link_ids[start : start + _CHUNK]
        rows = connection.execute(query.where(*ours, k.link_id.in_(chunk)))
        known.update({row.link_id: Target(*row) for row in rows})
    if names:
        return [known[one] for one in link_ids if one in known]
    return [known.get(one) or Target(None, None, None, one) for one in link_ids]


def links_made(connection: sa.Connection, targets: Sequence[Target]) -> list[MadeLink]:
    """Return each link beside what was sent and answered, in the order given."""
    k, b = tables.link.c, tables.body.c
    op_ids = [one.op_id for one in targets if one.op_id is not None]
    rows = connection.execute(
        sa.select(k.op_id, k.link_id, b.body, k.target_url, k.short_link, k.encoded_url, k.proof)
        .outerjoin(tables.body, b.op_id == k.op_id)
        .where(k.op_id.in_(op_ids))
    )
    found = {(row.op_id, row.link_id): row for row in rows}
    return [_made(one, found.get((one.op_id, one.link_id))) for one in targets]


def _made(target: Target, row: Any) -> MadeLink:
    names = ("body", "target_url", "short_link", "encoded_url", "proof")
    return MadeLink(
        link_id=target.link_id,
        op_id=target.op_id,
        link_set=target.link_set,
        row_key=target.row_key,
        **({} if row is None else {name: getattr(row, name) for name in names}),
    )


def known_links(connection: sa.Connection, link_ids: Sequence[str]) -> set[str]:
    """Return those of the link ids that the ledger has."""
    return _known(connection, tables.link.c.link_id, link_ids)


def known_keys(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """Return those of the idempotency keys that the ledger has."""
    return _known(connection, tables.operation.c.idempotency_key, keys)


class _Listed(GenericFunction[str]):
    """The texts of a JSON list, each a row with its `value`."""

    name = "json_each"
    inherit_cache = True


@compiles(_Listed, "postgresql")
def _listed(element: _Listed, compiler: SQLCompiler, **how: Any) -> str:
    [texts] = element.clauses
    return f"json_array_elements_text(CAST({compiler.process(texts, **how)} AS json))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A row that has or had a link, and where the link leads, as far as that was answered."""

    link_id: str
    set_id: int
    row_key: str
    target_url: str | None


def holders_of(connection: sa.Connection, link_ids: Sequence[str]) -> list[Holder]:
    """Return the rows of some links, but those whose link is disputed, or was given up."""
    k, o = tables.link.c, tables.operation.c
    query = (
        sa.select(k.link_id, o.set_id, o.row_key, k.target_url)
        .join(tables.operation, o.op_id == k.op_id)
        .where(o.state != State.ABANDONED.value, k.proof.is_distinct_from(Proof.DISPUTED.value))
    )
    return [
        Holder(**row._mapping)
        for start in range(0, len(link_ids), _CHUNK)
        for row in connection.execute(query.where(k.link_id.in_(link_ids[start : start + _CHUNK])))
    ]


def _known(connection: sa.Connection, column: sa.Column[str], values: Sequence[str]) -> set[str]:
    # One parameter instead of thousands, each of which would cost SQLAlchemy more than SQLite.
    asked = _Listed(json.dumps(list(values))).table_valued("value")
    return set(connection.scalars(sa.select(column).where(column.in_(sa.select(asked.c.value)))))


def go_on_from(connection: sa.Connection, fact: str, count: int) -> None:
    """Let a count of the ledger go on from where it is known to have been."""
    m = tables.meta.c
    connection.execute(
        sa.update(tables.meta)
        .where(m.name == fact, sa.cast(m.value, sa.Integer) < count)
        .values(value=str(count))
    )


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


def earlier_ids(connection: sa.Connection, op_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the correlation ids of operations' attempts: any of them may be answered yet."""
    found: dict[int, tuple[str, ...]] = {}
    a = tables.attempt.c
    if op_ids:
        ids = sa.select(a.op_id, a.correlation_id).where(a.op_id.in_(op_ids)).order_by(a.number)
        for op_id, correlation_id in connection.execute(ids):
            found[op_id] = (*found.get(op_id, ()), correlation_id)
    return found
