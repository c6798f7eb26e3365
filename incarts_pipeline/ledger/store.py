"""Store: what a database must do to keep a ledger; all else of the ledger is the same text for all.

One statement of states, claims, records, pointers and runs goes through SQLAlchemy to whichever
database it is. What differs is here, and in one folder for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.ledger.statements import Statement

if TYPE_CHECKING:
    from incarts_pipeline.ledger.bulk_read import Reading

T = TypeVar("T")

STORE = "incarts_store"  # the execution option in which an engine has it


class RunWriter(Protocol):
    """The connection of one run; used by one thread at a time."""

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction, and return its result once that is on disk.

        `work` may be run more than once, until a transaction of it holds.

        Raises:
            LedgerError: it is known not to be on disk; or whatever `work` raises, undone.
        """

    def written(self) -> None:
        """Note how far the ledger has come, before anybody is told of what was written.

        Raises:
            LedgerError: it can't be noted; nothing may be sent.
        """

    def about_to_send(self, keys: Iterable[str]) -> None:
        """Note the keys that a transaction is about to mark as sent, before it is on disk.

        Raises:
            LedgerError: they can't be noted.
        """

    @property
    def moved(self) -> LedgerError | None:
        """The error of a ledger that is no longer where the next run looks for it."""

    def close(self) -> LedgerError | None:
        """Let go of the ledger; return what became of one that was moved.

        Raises:
            LedgerError: it could not be left as it should be.
        """


class Store(Protocol):
    """One ledger in its database."""

    errors: tuple[type[Exception], ...]  # of the database
    migrations: Mapping[int, Sequence[str]]  # what lifts a ledger from a version to the next

    def explain(self, error: Exception) -> LedgerError:
        """Return the error that says what one of the database means for the user."""

    def check(self) -> None:
        """Refuse a place where no ledger can be kept.

        Raises:
            RefusedError: as said.
            LedgerError: there can be no ledger, or nobody may look at it.
        """

    def is_there(self) -> bool:
        """Say whether there is a ledger."""

    def create(self) -> None:
        """Make the empty place of a ledger; nothing when it is there.

        Raises:
            LedgerError: it can't be made.
        """

    def create_tables(self, connection: sa.Connection) -> None:
        """Make the ledger's tables, and what keeps them right."""

    def has_tables(self, connection: sa.Connection) -> bool:
        """Say whether the tables of a ledger are there."""

    def newest_known(self) -> Any:
        """Return what is known outside of the ledger of how far it had come; None for nothing."""

    def check_newest(self, known: Any, facts: Mapping[str, str]) -> None:
        """Refuse a ledger that is older than what was known; `facts` none for one not there.

        Raises:
            RefusedError: as said.
        """

    def sent_digests(self) -> Iterator[bytes]:
        """Yield the digest of each key that is known outside of the ledger to have been sent.

        Raises:
            RefusedError: what was known is lost.
            LedgerError: it can't be told.
        """

    def sent_is_lost(self) -> RefusedError:
        """Return the error of a ledger that has sent keys of which nothing is known outside."""

    def last_count(self) -> int:
        """Return the transactions that are known outside of the ledger, 0 for none."""

    def open(
        self, *, read_only: bool = False, pool: type[sa.Pool] = sa.pool.QueuePool
    ) -> sa.Engine:
        """Return an engine; `database_of` knows its connections' store.

        Raises:
            LedgerError: the ledger can't be opened; one that isn't there is not made.
        """

    def told(self, connection: sa.Connection) -> None:
        """Note how far the ledger has come, after a transaction of a connection.

        Raises:
            LedgerError: it can't be noted.
        """

    def reading(self, *, large: bool | None = None) -> AbstractContextManager[Reading]:
        """Open the ledger for bulk reads that change nothing; `large` None looks at its size.

        Raises:
            LedgerError: it can't be read.
        """

    def writer(self, engine: sa.Engine, run_id: str) -> RunWriter:
        """Return the connection of a run."""

    # Within a transaction.

    def locked(self, connection: sa.Connection, set_ids: Collection[int]) -> None:
        """Wait until no other transaction claims or moves rows of some link sets, and keep it so.

        What is read after it is what all others have left. Without sets it is the making, or the
        lifting, of the ledger itself.
        """

    def new_ids(self, connection: sa.Connection, count: int) -> Sequence[int]:
        """Return ids for new operations, in rising order, that nobody else gets."""

    def reserve_links(self, connection: sa.Connection, link_ids: Collection[str]) -> None:
        """Wait until no other transaction is about to keep one of some link ids, and keep it so."""

    def keep_keys(self, connection: sa.Connection, keys: Sequence[str]) -> None:
        """Note keys that get a link without being sent, before the transaction is on disk.

        Raises:
            LedgerError: they can't be noted.
        """

    def run_many(
        self, connection: sa.Connection, statement: Statement, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        """Execute a statement for many rows; return how many it changed in all."""

    def damage(self, connection: sa.Connection) -> Iterator[str]:
        """Yield in words what the database itself finds wrong with the ledger."""


def database_of(connection: sa.Connection | sa.Engine) -> Store:
    """Return the store that a connection is of."""
    return cast(Store, connection.get_execution_options()[STORE])
