"""Store: what a database must do to keep a ledger; all else of the ledger is the same text for all.

One statement of states, claims, records, pointers and runs goes through SQLAlchemy to whichever
database it is. What differs is here, and in one folder for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.ledger.statements import Statement

if TYPE_CHECKING:
    from incarts_pipeline.ledger.bulk_read import Reading

T = TypeVar("T")

STORE = "incarts_store"  # the execution option in which an engine has it


@dataclass(slots=True)
class Changed:
    """How many rows each of some statements has changed; None until the database has said so."""

    counts: list[int] | None = None

    @property
    def first(self) -> int | None:
        """What the first one has changed."""
        return self.counts[0] if self.counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected(Generic[T]):
    """A result that is nearly always the usual one: then the first statement has changed `rows`.

    Else, or when the answer was lost, `look` finds it in the ledger.
    """

    changed: Changed
    rows: int
    usual: T
    look: Callable[[sa.Connection], T]

    def found(self, look: Callable[[Callable[[sa.Connection], T]], T]) -> T:
        """Return the result; `look` runs what has to be looked up."""
        return self.usual if self.changed.first == self.rows else look(self.look)


class RunWriter(Protocol):
    """The connection of one run; used by one thread at a time."""

    may_forget: bool  # whether `write` may raise LedgerForgottenError

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction, and return its result once that is on disk.

        `work` may be run more than once, until a transaction of it holds.

        Raises:
            LedgerForgottenError: the database went back to an earlier state.
            LedgerError: it is not known to be on disk; or whatever `work` raises, undone.
        """

    def write_anew(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction of a ledger that has forgotten what was written before.

        Raises:
            LedgerError: it is not on disk.
        """

    def look(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work`, which changes nothing, in a transaction of its own, and return its result.

        Raises:
            LedgerError: the ledger can't be read.
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
    conflicts: tuple[type[Exception], ...]  # those of one piece of work, and of nothing else
    migrations: Mapping[int, Sequence[str]]  # what lifts a ledger from a version to the next
    keeps_nul: bool  # whether its texts may have a NUL in them

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

    def alone(self, connection: sa.Connection) -> None:
        """Wait until no other transaction is changing what is published, and keep it so."""

    def clock(self, own: Clock) -> Clock:
        """Return the clock that decides how old something is; `own` is this machine's.

        Raises:
            LedgerError: the database isn't reached.
        """

    def new_ids(self, connection: sa.Connection, count: int) -> Iterator[int]:
        """Yield up to `count` ids for new operations, in rising order, that nobody else gets."""

    def reserve_links(self, connection: sa.Connection, link_ids: Collection[str]) -> bool:
        """Say whether any of some link ids may be known already, before one is kept.

        Another transaction that is about to keep one of them is waited for, or waits.
        """

    def keep_keys(self, connection: sa.Connection, keys: Sequence[str]) -> None:
        """Note keys that get a link without being sent, before the transaction is on disk.

        Raises:
            LedgerError: they can't be noted.
        """

    def run_many(
        self, connection: sa.Connection, statement: Statement, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        """Execute a statement for many rows; return how many it changed in all."""

    def run_later(
        self, connection: sa.Connection, parts: Sequence[tuple[Statement, Sequence[Any]]]
    ) -> Changed:
        """Execute statements in their order, each for its rows, before the next one or the COMMIT.

        What fails may be told there.
        """

    def settle(self, connection: sa.Connection) -> None:
        """Wait until all that was to be executed is; what fails is told here at the latest."""

    def ask(
        self, connection: sa.Connection, queries: Sequence[tuple[sa.Select[Any], Mapping[str, Any]]]
    ) -> list[Sequence[Any]]:
        """Execute queries in their order; return the rows of each, with columns as attributes.

        The queries are constants, each with its parameters.
        """

    def health(self) -> list[str]:
        """Return what is to be known of how safe what is written is.

        Raises:
            LedgerError: it is not safe.
        """

    def damage(self, connection: sa.Connection, *, quick: bool = False) -> Iterator[str]:
        """Yield in words what the database itself finds wrong; `quick` without its indexes."""

    def soundness(self, connection: sa.Connection) -> str:
        """Return in words what it means that no damage was found."""

    # Of a ledger that is moved to another place, see `relocation`.

    def seal(self, connection: sa.Connection, told: str) -> None:
        """Refuse every change from now on but those of the ledger's facts, and say why.

        Changes that are under way are waited for.
        """

    def unseal(self, connection: sa.Connection) -> None:
        """Take changes again."""

    def rows(self, connection: sa.Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
        """Yield a table's rows by its primary key; the same number at once in each database.

        Values are whole numbers, also for yes and no, floats, texts and bytes.
        """

    def load(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert rows as `rows` yields them."""

    def drop_tables(self, connection: sa.Connection) -> None:
        """Drop all tables of the ledger, and what belongs to them."""

    def loaded(self, connection: sa.Connection) -> None:
        """Complete a ledger whose rows were loaded, before the transaction is on disk.

        Raises:
            LedgerError: what is to be known outside of it can't be written.
        """


def database_of(connection: sa.Connection | sa.Engine) -> Store:
    """Return the store that a connection is of."""
    return cast(Store, connection.get_execution_options()[STORE])
