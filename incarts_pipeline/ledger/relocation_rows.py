"""Rows of a ledger that is moved: all that its tables have, copied and compared in bounded memory.

Both ledgers give the rows of a table in the order of its primary key, as the same Python values: a
number, a text, bytes, or nothing. So one read beside the other tells whether they are equal.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa

from incarts_pipeline.errors import LedgerDamagedError, RefusedError
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.store import Store
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import LedgerPlace

logger = logger_of(__name__)

_SMALL = 2**31  # PostgreSQL's integers end there
# Notes of files go last: whatever else is written lets the database forget them.
_TABLES = [
    *(t for t in tables.metadata.sorted_tables if t not in (tables.meta, tables.published)),
    tables.published,
]

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two ledgers, within a transaction."""

    place: LedgerPlace
    connection: sa.Connection

    @property
    def store(self) -> Store:
        """Its store."""
        return store_at(self.place)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Let what its database refuses be a LedgerError that names this one of the two."""
        try:
            yield
        except self.store.errors as error:
            raise self.store.explain(error) from error

    def batches(self, table: sa.Table) -> Generator[list[Row]]:
        """Yield a table's rows in the order of its primary key, the same number at once."""
        with self.explained():
            yield from self.store.rows(self.connection, table)


def copy_rows(source: Side, target: Side) -> dict[str, int]:
    """Copy all rows to empty tables; return how many each table has.

    Indexes are made when all is there, which takes less than to change them for each row.

    Raises:
        LedgerError: a side can't be read or written.
    """
    indexes = [
        index for table in _TABLES for index in sorted(table.indexes, key=lambda one: str(one.name))
    ]
    with target.explained():
        for index in indexes:
            index.drop(target.connection)
    counts = {table.name: _copy(source, target, table) for table in _TABLES}
    with target.explained():
        for index in indexes:
            index.create(target.connection)
    return counts


def _copy(source: Side, target: Side, table: sa.Table) -> int:
    count = 0
    with closing(source.batches(table)) as batches:
        for rows in batches:
            with target.explained():
                target.store.load(target.connection, table, rows)
            count += len(rows)
    logger.info("Copied the table %s: %d rows", table.name, count)
    return count


def compare_rows(source: Side, target: Side) -> None:
    """Compare all rows of both sides, to the bit.

    Raises:
        LedgerDamagedError: a row differs, and which.
        LedgerError: a side can't be read.
    """
    for table in _TABLES:
        with closing(source.batches(table)) as ours, closing(target.batches(table)) as theirs:
            _compare(table, ours, theirs, target)


def _compare(
    table: sa.Table, ours: Iterator[list[Row]], theirs: Iterator[list[Row]], target: Side
) -> None:
    none: list[Row] = []
    for one, other in zip_longest(ours, theirs, fillvalue=none):
        if _exact(table, one) != _exact(table, other):
            raise _difference(table, one, other, target)


def _exact(table: sa.Table, rows: list[Row]) -> list[Row]:
    """Return rows of which none is equal to another that has other bits."""
    floats = [n for n, column in enumerate(table.c) if isinstance(column.type, sa.Float)]
    if not floats:
        return rows
    return [
        (*row, *(row[n] if row[n] is None else float(row[n]).hex() for n in floats)) for row in rows
    ]


def _difference(
    table: sa.Table, ours: Sequence[Row], theirs: Sequence[Row], target: Side
) -> LedgerDamagedError:
    pairs = zip_longest(_exact(table, list(ours)), _exact(table, list(theirs)))
    one, other = next(pair for pair in pairs if pair[0] != pair[1])
    return LedgerDamagedError(
        f"The copy in {target.place} is not as the original: the table {table.name} differs at "
        f"{_name_of(table, one or other or ())}.",
        fix="Nothing was moved. Look at both disks, and at the original with `incarts ledger "
        "check`.",
    )


def check_keepable(source: Side, target: Store) -> None:
    """Refuse rows with values that another ledger can't keep as they are.

    Raises:
        RefusedError: there is one, and which.
        LedgerError: they can't be read.
    """
    for table in _TABLES:
        with closing(source.batches(table)) as batches:
            for rows in batches:
                _check_rows(table, rows, target)


def _check_rows(table: sa.Table, rows: Sequence[Row], target: Store) -> None:
    for number, column in enumerate(table.c):
        values = [row[number] for row in rows if row[number] is not None]
        if not _are_kept(values, column.type, nul=target.keeps_nul):
            raise _unkeepable(table, number, rows, target)


def _are_kept(values: Sequence[Any], kind: sa.types.TypeEngine[Any], *, nul: bool) -> bool:
    """Say whether values are what a column is for; all at once, as there are millions."""
    if isinstance(kind, sa.Text):
        return _are_texts(values, nul=nul)
    if isinstance(kind, sa.LargeBinary):
        return {*map(type, values)} <= {bytes}
    if isinstance(kind, sa.Float):
        return {*map(type, values)} <= {float}
    if not {*map(type, values)} <= {int}:
        return False
    return isinstance(kind, sa.BigInteger) or all(-_SMALL <= value < _SMALL for value in values)


def _are_texts(values: Sequence[Any], *, nul: bool) -> bool:
    try:
        text = "".join(values)
        text.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return nul or "\0" not in text


def _unkeepable(table: sa.Table, number: int, rows: Sequence[Row], target: Store) -> RefusedError:
    column = table.c[number]
    row = next(
        row
        for row in rows
        if row[number] is not None
        and not _are_kept([row[number]], column.type, nul=target.keeps_nul)
    )
    return RefusedError(
        f"The table {table.name} has a value that can't be moved as it is: {column.name} of "
        f"{_name_of(table, row)} is {_kind_of(row[number])}.",
        fix="Nothing was moved. In a message of an error it may be changed in the file, with "
        "SQLite's own program; anywhere else leave the ledger where it is, and report it.",
        guard="unmovable_value",
    )


def _kind_of(value: Any) -> str:
    if isinstance(value, str) and "\0" in value:
        return "a text with a NUL in it"
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return "a text that is no valid UTF-8"
    return f"{value!r}, which is not what the column is for"


def _name_of(table: sa.Table, row: Row) -> str:
    """Return the columns that name a row, as far as a row has them."""
    named: Mapping[str, Any] = dict(zip(table.c.keys(), row, strict=False))
    names = [*(c.name for c in table.primary_key), *({"row_key"} & named.keys())]
    parts = (f"{name} {_short(named[name])}" for name in dict.fromkeys(names) if name in named)
    return ", ".join(parts)


def _short(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else ascii(value)
