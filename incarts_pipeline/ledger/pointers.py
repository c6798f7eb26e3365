"""Which link a row uses now, when that changes without a call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.states import DOUBTFUL_STATES

_O = tables.operation.c
_R = tables.row.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an operation's link turns out to hold."""

    op_id: int
    content_hash: bytes
    groups: tuple[bytes, bytes, bytes]  # destination, tracking and label hash
    body: bytes


def learn(connection: sa.Connection, contents: Sequence[Content]) -> None:
    """Give links that were imported without their content the catalog's."""
    values = [
        {
            "id": content.op_id,
            "hash": content.content_hash,
            **dict(zip(("destination", "tracking", "label"), content.groups, strict=True)),
            "body": content.body,
        }
        for content in contents
    ]
    connection.execute(_LEARN, values)
    connection.execute(_LEARN_ROW, values)
    connection.execute(
        sa.insert(tables.body).prefix_with("OR REPLACE"),
        [{"op_id": one["id"], "body": one["body"]} for one in values],
    )


_LEARN = (
    sa.update(tables.operation)
    .where(_O.op_id == sa.bindparam("id"), _O.content_hash == b"")
    .values(
        content_hash=sa.bindparam("hash"),
        destination_hash=sa.bindparam("destination"),
        tracking_hash=sa.bindparam("tracking"),
        label_hash=sa.bindparam("label"),
    )
)

_its_key = sa.select(_O.row_key).where(_O.op_id == sa.bindparam("id")).scalar_subquery()
_its_set = sa.select(_O.set_id).where(_O.op_id == sa.bindparam("id")).scalar_subquery()
_LEARN_ROW = (
    sa.update(tables.row)
    .where(_R.set_id == _its_set, _R.row_key == _its_key, _R.op_id == sa.bindparam("id"))
    .values(content_hash=sa.bindparam("hash"))
)


def reuse(
    connection: sa.Connection,
    moves: Sequence[tuple[int, str, int]],
    run_id: str,
    now: Stamp,
) -> None:
    """Point rows, given as (set id, row key, operation), back at a link that they had before."""
    op_ids = [op_id for _, _, op_id in moves]
    facts = {}
    for start in range(0, len(op_ids), 10_000):
        found = connection.execute(
            sa.select(_O.op_id, _O.content_hash, sa.func.min(tables.link.c.link_id))
            .join(tables.link, tables.link.c.op_id == _O.op_id)
            .where(_O.op_id.in_(op_ids[start : start + 10_000]))
            .group_by(_O.op_id, _O.content_hash)
        )
        facts.update({row[0]: (row[1], row[2]) for row in found})
    connection.execute(
        sa.insert(tables.row).prefix_with("OR REPLACE"),
        [
            {
                "set_id": set_id,
                "row_key": row_key,
                "op_id": op_id,
                "content_hash": facts[op_id][0],
                "link_id": facts[op_id][1],
                "changed_at": now.micros,
                "run_id": run_id,
                "missing_since": None,
            }
            for set_id, row_key, op_id in moves
        ],
    )


def mark_missing(
    connection: sa.Connection,
    missing: Sequence[tuple[int, str]],
    back: Sequence[tuple[int, str]],
    now: Stamp,
) -> None:
    """Note which rows, as (set id, row key), left the catalog, and which came back."""
    for rows, since in ((missing, now.micros), (back, None)):
        if rows:
            connection.execute(
                sa.update(tables.row)
                .where(_R.set_id == sa.bindparam("in_set"), _R.row_key == sa.bindparam("in_key"))
                .values(missing_since=since),
                [{"in_set": set_id, "in_key": row_key} for set_id, row_key in rows],
            )


def join_partition(
    connection: sa.Connection, rows: Sequence[tuple[int, str]], partition: str
) -> None:
    """Note that rows, as (set id, row key), are in a partition of the catalog now."""
    connection.execute(
        sa.insert(tables.member).prefix_with("OR REPLACE"),
        [{"set_id": set_id, "row_key": key, "partition": partition} for set_id, key in rows],
    )


def busy_elsewhere(
    connection: sa.Connection, set_ids: Collection[int], living: Collection[str]
) -> bool:
    """Say whether a living run has something of these sets in doubt or in flight."""
    found = connection.scalar(
        sa.select(_O.op_id)
        .where(
            _O.set_id.in_(set_ids),
            _O.state.in_([state.value for state in DOUBTFUL_STATES]),
            _O.run_id.in_(list(living)),
        )
        .limit(1)
    )
    return found is not None
