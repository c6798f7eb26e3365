"""Current links: which one a row uses, where that changes without a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.link_owners import links_to_use
from incarts_pipeline.ledger.state_machine import DOUBTFUL_STATES
from incarts_pipeline.ledger.store import database_of
from incarts_pipeline.models import State

_O = tables.operation.c
_R = tables.row.c
_AT_ONCE = 10_000  # parameters of a statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an operation's link turns out to hold."""

    op_id: int
    content_hash: bytes
    groups: tuple[bytes, bytes, bytes]  # destination, tracking and label hash
    body: bytes


class Move(NamedTuple):
    """A row that goes back to the link of an earlier operation.

    `expected_op_id` is the operation whose link it used when the plan was made, None for none.
    """

    set_id: int
    row_key: str
    op_id: int
    expected_op_id: int | None


def learn(connection: sa.Connection, contents: Sequence[Content]) -> None:
    """Give links that were imported without their content the catalog's, unless they have one."""
    ids = [content.op_id for content in contents]
    unknown = set(
        connection.scalars(sa.select(_O.op_id).where(_O.op_id.in_(ids), _O.content_hash == b""))
    )
    contents = [content for content in contents if content.op_id in unknown]
    if not contents:
        return
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
        tables.replacing(tables.body),
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
    .where(
        _R.set_id == _its_set,
        _R.row_key == _its_key,
        _R.op_id == sa.bindparam("id"),
        _R.content_hash == b"",
    )
    .values(content_hash=sa.bindparam("hash"))
)


def reuse(
    connection: sa.Connection,
    moves: Sequence[Move],
    run_id: str,
    now: Stamp,
) -> list[Move]:
    """Point rows back at a link that they had before; return the moves that are not to be made.

    Such a row has got another link since the plan was made, and keeps it; or its earlier link has
    been disputed since.
    """
    database_of(connection).locked(connection, {move.set_id for move in moves})
    current = _current(connection, moves)
    late = [m for m in moves if current.get(m[:2]) not in (m.expected_op_id, m.op_id)]
    moves = [m for m in moves if current.get(m[:2]) == m.expected_op_id]
    op_ids = [move.op_id for move in moves]
    contents: dict[int, bytes] = {}
    links: dict[int, str] = {}
    for start in range(0, len(op_ids), _AT_ONCE):
        chunk = op_ids[start : start + _AT_ONCE]
        found = connection.execute(
            sa.select(_O.op_id, _O.content_hash).where(
                _O.op_id.in_(chunk), _O.state == State.DONE.value
            )
        )
        contents.update((op_id, content_hash) for op_id, content_hash in found)
        links.update(links_to_use(connection, chunk))
    usable = contents.keys() & links.keys()
    late += [move for move in moves if move.op_id not in usable]
    moves = [move for move in moves if move.op_id in usable]
    if moves:
        connection.execute(
            tables.replacing(tables.row),
            [
                tables.row_values(
                    move[:2],
                    move.op_id,
                    contents[move.op_id],
                    links[move.op_id],
                    changed_at=now.micros,
                    run_id=run_id,
                )
                for move in moves
            ],
        )
    return late


def _current(connection: sa.Connection, moves: Sequence[Move]) -> dict[tuple[int, str], int]:
    """Return the operation whose link each row uses now."""
    found: dict[tuple[int, str], int] = {}
    for start in range(0, len(moves), 10_000):
        part = moves[start : start + 10_000]
        rows = connection.execute(
            sa.select(_R.set_id, _R.row_key, _R.op_id)
            .where(
                _R.set_id.in_({move.set_id for move in part}),
                _R.row_key.in_([move.row_key for move in part]),
            )
            .with_for_update()  # a link that is answered now comes before or after
        )
        found.update({(row.set_id, row.row_key): row.op_id for row in rows})
    return found


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
        tables.replacing(tables.member),
        [{"set_id": set_id, "row_key": key, "partition": partition} for set_id, key in rows],
    )


def made_by_others(
    connection: sa.Connection, rows: Collection[tuple[int, str]], run_id: str, since: Stamp
) -> dict[str, int]:
    """Count the rows, each (set's id, row key), that got their link from another run `since`."""
    found: Counter[str] = Counter()
    for set_id in sorted({set_id for set_id, _ in rows}):
        keys = [row_key for own, row_key in rows if own == set_id]
        for start in range(0, len(keys), _AT_ONCE):
            makers = sa.select(_R.run_id).where(
                _R.set_id == set_id,
                _R.row_key.in_(keys[start : start + _AT_ONCE]),
                _R.run_id != run_id,
                _R.changed_at >= since.micros,
            )
            found.update(connection.scalars(makers))
    return dict(found)


def contents_in_use(
    connection: sa.Connection, set_id: int, row_keys: Sequence[str]
) -> dict[str, bytes]:
    """Return the content hash of the link that each row of a set uses."""
    found: dict[str, bytes] = {}
    for start in range(0, len(row_keys), _AT_ONCE):
        some = _R.row_key.in_(row_keys[start : start + _AT_ONCE])
        rows = connection.execute(
            sa.select(_R.row_key, _R.content_hash).where(_R.set_id == set_id, some)
        )
        found |= {row.row_key: row.content_hash for row in rows}
    return found


def has_open(connection: sa.Connection, set_ids: Collection[int]) -> bool:
    """Say whether any row of some sets has an operation that is not settled."""
    found = sa.select(_O.op_id).where(tables.IS_OPEN, tables.SET_ID.in_(set_ids)).limit(1)
    return connection.scalar(found) is not None


def busy_elsewhere(
    connection: sa.Connection, set_ids: Collection[int], living: Collection[str], before: Stamp
) -> bool:
    """Say whether a living run has something of these sets in doubt or in flight since `before`."""
    found = connection.scalar(
        sa.select(_O.op_id)
        .where(
            tables.IS_OPEN,
            tables.SET_ID.in_(set_ids),
            _O.state.in_([state.value for state in DOUBTFUL_STATES]),
            _O.run_id.in_(list(living)),
            _O.first_sent_at < before.micros,
        )
        .limit(1)
    )
    return found is not None
