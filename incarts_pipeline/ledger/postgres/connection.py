"""Connection to a ledger's database: what nobody waits for goes along with what comes next.

A round trip takes longer than most statements do. So the words that begin a transaction, and those
whose answer isn't needed yet, are kept until one comes whose answer is, or the COMMIT; then all go
as one pipeline. The database carries them out one after the other, and nothing behind one that
fails: a COMMIT that leaves with them holds only if they all did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import psycopg

from incarts_pipeline.clock import Clock

Values = Mapping[str, Any] | Sequence[Any]
Heard = Callable[[psycopg.Cursor[Any]], None]


class _Words(NamedTuple):
    """A statement that waits, and what is told of its result."""

    query: bytes
    values: Values | None = None
    heard: Heard | None = None


class Connection(psycopg.Connection[Any]):
    """A connection of psycopg, with words that wait; in autocommit mode."""

    on_locked: Callable[[Connection], None] | None = None  # when a lock was waited for in vain
    _waiting: Sequence[_Words] = ()
    asked_at = answered_at = 0.0  # of the last words that had waited, on this machine's boot clock

    def later(self, query: str, values: Values | None = None, heard: Heard | None = None) -> None:
        """Keep a statement until the next one whose answer is waited for; `heard` gets its cursor.

        What it raises, that one will.
        """
        self._waiting = (*self._waiting, _Words(query.encode(), values, heard))

    def cursor(self, name: str = "", **how: Any) -> Any:
        """Return a cursor; one of the server's, which has a name, goes along with nothing."""
        if name:
            self.hear()
        return super().cursor(name, **how)

    def hear(self) -> None:
        """Say what waits, and wait for the answers."""
        self._say(None)

    def commit(self) -> None:
        """Commit, along with what waits."""
        if self._waiting:
            self.later("COMMIT")
            self._say(None)
        else:
            super().commit()

    def rollback(self) -> None:
        """Undo the transaction; what waits is never said."""
        self._waiting = ()
        super().rollback()

    def _say(self, last: Callable[[], object] | None) -> None:
        """Say what waits, and `last` behind it."""
        try:
            self._speak(last)
        except psycopg.errors.LockNotAvailable:
            if self.on_locked is not None:
                self.rollback()
                self.on_locked(self)
            raise

    def _speak(self, last: Callable[[], object] | None) -> None:
        words, self._waiting = self._waiting, ()
        if not words:
            if last is not None:
                last()
            return
        clock = Clock()
        self.asked_at = clock.now().boot
        cursors = self._together(words, last)
        self.answered_at = clock.now().boot
        for one, cursor in zip(words, cursors, strict=True):
            if one.heard is not None:
                one.heard(cursor)

    def _together(
        self, words: Sequence[_Words], last: Callable[[], object] | None
    ) -> list[psycopg.Cursor[Any]]:
        """Say words as one pipeline; of several errors the first one is raised."""
        cursors: list[psycopg.Cursor[Any]] = []
        failed: psycopg.Error | None = None
        try:
            with self.pipeline():
                try:
                    cursors = [psycopg.Cursor(self).execute(*one[:2]) for one in words]
                    if last is not None:
                        last()
                except psycopg.Error as error:  # an early answer; its end has others like it
                    failed = error
        except psycopg.Error as error:
            failed = failed or error
        if failed is not None:
            raise failed
        return cursors


class Cursor(psycopg.Cursor[Any]):
    """A cursor whose statements take what waits along."""

    def execute(self, query: Any, params: Any = None, **how: Any) -> Self:
        """Execute a statement, as the next one whose answer is waited for."""
        _ours(self)._say(partial(super().execute, query, params, **how))
        return self

    def executemany(self, query: Any, params_seq: Any, **how: Any) -> None:
        """Execute a statement for several rows, as the next one whose answer is waited for."""
        _ours(self)._say(partial(super().executemany, query, params_seq, **how))


def _ours(cursor: psycopg.Cursor[Any]) -> Connection:
    connection: Any = cursor.connection
    assert isinstance(connection, Connection)  # noqa: S101 - nobody else makes these cursors
    return connection
