"""Statements that a run executes for every link, each for many rows at once.

SQLAlchemy turns them into SQL text only once: executing one afresh costs it several times what it
costs the database.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa


def literal(word: str) -> sa.ColumnElement[str]:
    """Return a word as SQL writes it."""
    return sa.literal_column(f"'{word}'")


class Statement:
    """A statement with several parameters, for many rows at once; `Store.run_many` executes it.

    Its own constants must be literals, see `literal`: the rows are all that it takes.

    Args:
        clause: an insert or an update. What an update is told is `bindparam`s with their types.
        names: the columns that an insert fills; None for an update.
        key: the columns, or parameters, of which two rows at once differ in one at least. Rows that
            don't are executed one after the other.
    """

    def __init__(
        self,
        clause: sa.Insert | sa.Update,
        names: Sequence[str] | None = None,
        *,
        key: Sequence[str],
    ) -> None:
        self.clause = clause
        self.names = names
        self.key = tuple(key)
