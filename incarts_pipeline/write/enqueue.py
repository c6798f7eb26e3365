"""Enqueuing: what a plan calls for is recorded in the ledger, for workers to carry out.

    begin ─► withdraw ─► doubts ─► reuse, move ─► claim and leave to workers ─► end

Nothing is sent, and after each transaction nothing belongs to this run. So it may end anywhere, and
be done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger import (
    FINISHED,
    Call,
    Claim,
    KeyChange,
    LivingRun,
    Process,
    Task,
    claim_calls,
    contents_in_use,
    drop_withdrawn,
    end_run,
    enqueue,
    enqueue_doubts,
    hold_disputed,
    learn,
    living_runs,
    lock_sets,
    mark_missing,
    new_run_id,
    rekey,
    renew,
    reuse,
    start_run,
    transaction,
    withdraw,
)
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan import Plan
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.lease import refuse_beside
from incarts_pipeline.write.options import IfRunning, WriteOptions

T = TypeVar("T")

_POLL_SECONDS = 0.5
_AT_ONCE = 500  # rows of a transaction that a batch of the plan doesn't size


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """What was left to workers: `links` to make, and `doubts` to settle before anything else.

    Not left to them were rows of which older content is in doubt (`behind_doubts`), that need
    review since they were planned (`in_doubt`), that another run is sending (`busy`), or that have
    got another link since (`moved`). `stopped` says why it was not gone through to its end.
    """

    run_id: str
    links: int = 0
    doubts: int = 0
    behind_doubts: int = 0
    in_doubt: int = 0
    busy: int = 0
    moved: int = 0
    stopped: Reason | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the plan has to be enqueued once more."""
        return not (self.behind_doubts or self.busy or self.moved or self.stopped)


@dataclass(slots=True, kw_only=True)
class Enqueuer:
    """One run that enqueues a plan; `go` does it."""

    plan: Plan
    engine: sa.Engine
    ledger: LedgerPlace
    set_ids: Mapping[str, int]
    options: WriteOptions
    stop: Stop
    clock: Clock
    run_id: str = field(default_factory=new_run_id)
    _me: Process = field(default_factory=Process.current)
    _links: int = 0
    _in_doubt: int = 0
    _late: int = 0  # rows that were to move to a link which exists
    _busy: list[Call] = field(default_factory=list)
    _moved: list[Call] = field(default_factory=list)

    def go(self) -> Enqueued:
        """Record all that the plan calls for; return how that went.

        Raises:
            RefusedError: another run is at work on the ledger and `if_running` says to fail.
            LedgerError: it can't be recorded; what was recorded before is enqueued.
        """
        self._do(self._begin)
        try:
            stay = self.plan.rows_that_stay(self.set_ids)
            doubts = self._do(partial(self._leave_doubts, stay))
            self._move_rows()
            self._leave_calls()
        except BaseException:
            with suppress(LedgerError):  # the other error tells; a lease ends by itself
                self._do(self._end)
            raise
        self._do(self._end)
        return Enqueued(
            run_id=self.run_id,
            links=self._links,
            doubts=doubts,
            behind_doubts=sum(
                count.rows
                for count in self.plan.figures.counts
                if count.action is Action.SETTLE and count.reason is Reason.EARLIER_IN_DOUBT
            ),
            in_doubt=self._in_doubt,
            busy=len(self._busy),
            moved=self._late + self._do(self._count_moved),
            stopped=self.stop.reason,
        )

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        with transaction(self.engine, self.ledger) as connection:
            return work(connection)

    def _living(self, connection: sa.Connection) -> dict[str, LivingRun]:
        """Return the other living runs, while none begins or claims."""
        lock_sets(connection, self.set_ids.values())
        living = living_runs(connection, self._me, self.clock.now())
        return {run_id: run for run_id, run in living.items() if run_id != self.run_id}

    def _begin(self, connection: sa.Connection) -> None:
        living = self._living(connection)
        refuse_beside(living, self.set_ids, self.options.if_running)
        withdraw(connection, self.set_ids, living, self.plan.options.partition)
        start_run(
            connection,
            self.run_id,
            self.set_ids,
            self._me,
            self.clock.now(),
            approved=self.plan.saved or self.options.approved,
            task=Task.ENQUEUE,
            partition=self.plan.options.partition,
        )

    def _leave_doubts(self, stay: set[tuple[int, str]], connection: sa.Connection) -> int:
        living, set_ids = self._living(connection), [*self.set_ids.values()]
        hold_disputed(connection, set_ids, self.clock.now())
        return enqueue_doubts(connection, set_ids, self.run_id, living, stay)

    def _move_rows(self) -> None:
        """Do what needs no request: learn contents, go back to links, take over re-keyed ones."""
        for contents in self.plan.unknown_contents():
            self._do(partial(learn, contents=contents))
        if moves := self.plan.reuses(self.set_ids):
            now = self.clock.now()
            self._late += len(self._do(lambda c: reuse(c, moves, self.run_id, now)))
        changes = iter(self.plan.rekeys(self.set_ids))
        while batch := list(islice(changes, _AT_ONCE)):
            self._late += len(self._do(partial(self._rekey, batch)))

    def _rekey(self, changes: Sequence[KeyChange], connection: sa.Connection) -> list[KeyChange]:
        living = self._living(connection)
        return rekey(connection, changes, self.run_id, living, self.clock.now())

    def _leave_calls(self) -> None:
        options = self.options
        self._leave(
            self.plan.calls(self.set_ids, limit=options.limit, sample_per=options.sample_per)
        )
        # What a run is sending, it may leave behind; what it makes of it is no longer to be made.
        while self._busy and options.if_running is IfRunning.WAIT and not self.stop.requested:
            time.sleep(_POLL_SECONDS)
            waiting, self._busy = self._busy, []
            self._leave(
                iter([waiting[at : at + _AT_ONCE] for at in range(0, len(waiting), _AT_ONCE)])
            )

    def _leave(self, batches: Iterator[list[Call]]) -> None:
        for calls in batches:
            if self.stop.requested:
                self._busy += calls
                return
            self._do(partial(self._enqueue, calls))

    def _enqueue(self, calls: Sequence[Call], connection: sa.Connection) -> None:
        living, now = self._living(connection), self.clock.now()
        if renew(connection, self.run_id, now):  # by a person, or a newer plan
            self.stop.request(Reason.STOPPED)
            self._busy += calls
            return
        retry = self.plan.options.retry_rejected
        answers = claim_calls(connection, calls, self.run_id, living, now, retry_rejected=retry)
        ours = [operation for _, operation in answers if operation is not None]
        enqueue(connection, ours, self._links + 1, self.run_id)
        self._links += len(ours)
        for call, (claim, _) in zip(calls, answers, strict=True):
            if claim is Claim.BUSY:
                self._busy.append(call)
            elif claim is Claim.MOVED:
                self._moved.append(call)
            elif claim is Claim.DOUBT:
                self._in_doubt += 1

    def _count_moved(self, connection: sa.Connection) -> int:
        """Count the rows that have another link by now than the one that they were to get."""
        found = 0
        for set_id in {call.set_id for call in self._moved}:
            calls = [call for call in self._moved if call.set_id == set_id]
            has = contents_in_use(connection, set_id, [call.row_key for call in calls])
            found += sum(has.get(call.row_key) != call.content_hash for call in calls)
        return found

    def _end(self, connection: sa.Connection) -> None:
        now = self.clock.now()
        drop_withdrawn(connection, self.set_ids.values())
        mark_missing(connection, *self.plan.missing_changes(self.set_ids), now)
        outcome = self.stop.reason.value if self.stop.reason else FINISHED
        end_run(connection, self.run_id, outcome, now)
