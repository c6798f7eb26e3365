"""Journal: the one writer of a run, a thread that commits whatever is waiting in one transaction.

This is group commit: while a commit is on its way to the disk, the next group gathers, so the cost
of an fsync is shared by all the requests in flight and nobody waits longer than two commits.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from incarts_pipeline.errors import LedgerError, LedgerForgottenError
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.ledger.attempts import Outcome, Sent, mark, record
from incarts_pipeline.ledger.forgotten import Group, Memory, write_forgotten
from incarts_pipeline.ledger.store import Expected
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.settings import LedgerPlace

logger = logger_of(__name__)

T = TypeVar("T")

_GROUP_SECONDS = 0.1  # an answer is on disk at most this long after it came
_GROUP_SIZE = 512


class Journal:
    """Records attempts, answers and claims durably; use as an asynchronous context manager.

    Raises, from every awaited method:
        LedgerError: the record is not on disk; what depends on it must not be sent.

    `run` raises what its work does, too: then that work alone is undone. While it is done, no other
    run claims rows of the link sets `set_ids`.
    """

    def __init__(
        self,
        engine: sa.Engine,
        place: LedgerPlace,
        run_id: str,
        set_ids: Collection[int] = (),
    ) -> None:
        self._set_ids = set_ids
        self._store = store_at(place)
        self._writer = self._store.writer(engine, run_id)
        self._run_id = run_id
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._turn: list[_Job] = []  # jobs of this turn of the event loop
        self._unrecorded: list[Outcome] = []
        self._broken: LedgerError | None = None
        self._lost: LedgerError | None = None
        self._one_by_one = False  # whether each piece of work is on its way before the next one
        self._memory = Memory()
        self._forgotten: LedgerForgottenError | None = None
        self._gone: list[Group] = []  # what is forgotten, and not written again yet
        self._thread = threading.Thread(target=self._work, name="incarts-ledger", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Journal:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def broken(self) -> LedgerError | None:
        """The error that keeps the ledger from recording, if there is one."""
        return self._broken

    @property
    def moved(self) -> LedgerError | None:
        """The error of a ledger that is no longer where the next run looks for it."""
        return self._writer.moved

    @property
    def lost(self) -> LedgerError | None:
        """What became of a ledger that was moved, once the journal is closed."""
        return self._lost

    @property
    def unrecorded(self) -> Sequence[Outcome]:
        """Answers that could not be recorded."""
        return self._unrecorded

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in the next group's transaction; return its result once it is on disk."""
        result: T = await self._ask(_Job(work=work))
        return result

    async def mark_sent(self, sent: Sequence[Sent]) -> Sequence[bool]:
        """Record attempts before they leave; False for each whose operation is no longer ours."""
        marked: Sequence[bool] = await self._ask(_Job(sent=sent))
        return marked

    def record(self, outcome: Outcome) -> None:
        """Record an answer with the next group, without waiting for it."""
        self._put(_Job(outcome=outcome))

    async def flush(self) -> None:
        """Wait until all that was recorded so far is on disk."""
        await self.run(lambda _: None)

    def _ask(self, job: _Job) -> asyncio.Future[Any]:
        job.future = asyncio.get_running_loop().create_future()
        self._put(job)
        return job.future

    def _put(self, job: _Job) -> None:
        """Hand all jobs of one turn over at once: waking the thread for each slows both down."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._turn.append(job)

    def _hand_over(self) -> None:
        if self._turn:
            self._jobs.put(self._turn)
            self._turn = []

    def _work(self) -> None:
        closing = False
        while not closing:
            group, closing = self._gather()
            if group:
                self._commit(group)
        self._close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take what else is there; answers alone wait a little for company."""
        group = self._jobs.get()
        if group is None:
            return [], True
        until = time.monotonic() + _GROUP_SECONDS
        urgent = _is_urgent(group)
        while len(group) < _GROUP_SIZE:
            try:
                more = self._jobs.get(timeout=0 if urgent else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if more is None:
                return group, True
            group += more
            urgent = urgent or _is_urgent(more)
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        outcomes = [*self._unrecorded, *(job.outcome for job in group if job.outcome)]
        for _ in outcomes:
            passing(Place.ANSWERED)
        self._unrecorded = outcomes
        try:
            if self._forgotten is not None:
                raise self._forgotten
            results = self._write(group)
            self._unrecorded = []
            self._writer.written()  # before anybody is told, and so before anything leaves
        except LedgerForgottenError as error:
            self._write_forgotten(error)
            self._fail(group, error)
            return
        except Exception as error:  # whatever it was, nobody may count on what is in the group
            self._fail(group, error)
            return
        for _ in outcomes:
            passing(Place.RECORDED)
        self._broken = None
        self._resolve([(job.future, result) for job, result in results])

    def _write(self, group: list[_Job]) -> list[tuple[_Job, Any]]:
        """Write a group; a piece of work that fails by itself is left out, and all else repeated.

        So there is no need to be able to undo each piece alone, which would cost each of them two
        words with the database.
        """
        failed: list[tuple[_Job, Any]] = []
        self._one_by_one = False
        while True:
            left = [job for job in group if all(job is not odd for odd, _ in failed)]
            try:
                written = self._writer.write(partial(self._written, left))
            except _WorkError as error:
                failed.append((error.job, error.told))
                continue
            except Exception as error:
                is_conflict = isinstance(error, self._store.conflicts) or isinstance(
                    error.__cause__, self._store.conflicts
                )
                if self._one_by_one or not is_conflict:
                    raise
                self._one_by_one = True  # whose work was it?
                continue
            if self._writer.may_forget:
                sent = [one for job in left for one in job.sent or ()]
                self._memory.add(Group(sent, self._unrecorded))
            return [*failed, *self._results(written)]

    def _results(self, written: _Written) -> list[tuple[_Job, Any]]:
        """Return the results of a group that is on disk."""
        if written.recorded is not None:
            written.recorded.found(self._writer.look)
        if written.marked is None:
            return written.results
        ours = iter(written.marked.found(self._writer.look))
        flights = [(job, list(islice(ours, len(job.sent or ())))) for job in written.flights]
        return [*written.results, *flights]

    def _write_forgotten(self, error: LedgerForgottenError) -> None:
        """Bring back what the database has forgotten, and what was answered since."""
        if self._forgotten is None:
            self._forgotten = error
            self._gone = self._memory.last(error.groups)
        groups = [*self._gone, Group([], self._unrecorded)]
        try:
            left = self._writer.write_anew(
                lambda connection: write_forgotten(connection, self._run_id, groups)
            )
        except LedgerError as again:  # the next answers, or the end, try it again
            text = "What the ledger has forgotten could not be written to it: %s"
            logger.error(text, again, extra={"run_id": self._run_id})
            return
        self._gone, self._unrecorded = [], []
        for one in left:
            text = "The ledger has forgotten the link set of %s, which may have a link"
            logger.critical(text, one.idempotency_key, extra={"run_id": self._run_id})

    def _written(self, group: list[_Job], connection: sa.Connection) -> _Written:
        """Write a group: answers first, since an operation's next attempt may be in it too."""
        if self._set_ids and any(job.work for job in group):
            # Before anything else is locked: two runs would wait for each other.
            self._store.locked(connection, self._set_ids)
        recorded = None
        if self._unrecorded:
            recorded = record(connection, self._run_id, self._unrecorded)
        results = [(job, self._done(job, job.work, connection)) for job in group if job.work]
        flights = [job for job in group if job.sent is not None]
        if flights and (moved := self.moved):  # the next run would not see the marks
            results += [(job, moved) for job in flights]
            flights = []
        marked = self._marked(connection, flights) if flights else None
        return _Written(results, recorded, flights, marked)

    def _marked(self, connection: sa.Connection, flights: Sequence[_Job]) -> Expected[list[bool]]:
        """Mark the attempts of all flights as sent."""
        sent = [one for job in flights for one in job.sent or ()]
        self._writer.about_to_send(one.operation.idempotency_key for one in sent)
        return mark(connection, self._run_id, sent)

    def _close(self) -> None:
        if self._forgotten is not None and (self._gone or self._unrecorded):
            self._write_forgotten(self._forgotten)
        try:
            self._lost = self._writer.close()
        except LedgerError as error:
            text = "The ledger could not be closed as it should: %s"
            logger.error(text, error, extra={"run_id": self._run_id})

    def _done(
        self, job: _Job, work: Callable[[sa.Connection], Any], connection: sa.Connection
    ) -> Any:
        """Return the result of a piece of work.

        Raises:
            _WorkError: the error is its own.
            sqlalchemy.exc.DBAPIError: the ledger can't be written, which concerns the whole group.
        """
        try:
            result = work(connection)
            if self._one_by_one:
                self._store.settle(connection)
            return result
        except self._store.conflicts as error:
            if not self._one_by_one:
                raise
            told = self._store.explain(error)
            told.__cause__ = error
            raise _WorkError(job, told) from error
        except self._store.errors:
            raise
        except Exception as error:
            raise _WorkError(job, error) from error

    def _fail(self, group: list[_Job], error: Exception) -> None:
        """Tell whoever waits that nothing was recorded; the answers are kept for the next try."""
        self._broken = told = (
            error if isinstance(error, LedgerError) else self._store.explain(error)
        )
        told.__cause__ = error if told is not error else error.__cause__
        text = "The ledger did not record %d entries: %s"
        logger.error(text, len(group), told, extra={"run_id": self._run_id})
        self._resolve([(job.future, told) for job in group])

    def _resolve(self, results: list[tuple[asyncio.Future[Any] | None, Any]]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve_all, results)


def _resolve_all(results: list[tuple[asyncio.Future[Any] | None, Any]]) -> None:
    for future, result in results:
        if future is None or future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _is_urgent(jobs: list[_Job]) -> bool:
    """Say whether anybody waits for one of them."""
    return any(job.outcome is None for job in jobs)


class _Written(NamedTuple):
    """What was written for a group, and what of it is known once it is on disk."""

    results: list[tuple[_Job, Any]]
    recorded: Expected[None] | None
    flights: Sequence[_Job]
    marked: Expected[list[bool]] | None


class _WorkError(Exception):
    """A piece of work that failed, and the error that is told to whoever waits for it."""

    def __init__(self, job: _Job, told: Exception) -> None:
        self.job, self.told = job, told


class _Job:
    """One thing to record, and the future of its being on disk."""

    __slots__ = ("future", "outcome", "sent", "work")

    def __init__(
        self,
        *,
        sent: Sequence[Sent] | None = None,
        outcome: Outcome | None = None,
        work: Callable[[sa.Connection], Any] | None = None,
    ) -> None:
        self.sent = sent
        self.outcome = outcome
        self.work = work
        self.future: asyncio.Future[Any] | None = None
