"""Run: carries a plan out; doubts are settled first, then links are made and recorded.

    begin ─► settle doubts ─► plan again ─► move, reuse ─► claim and send ─► wait for others ─► end

A lease is renewed beside all that, and says to other runs that what this one claimed is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import islice

import sqlalchemy as sa

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.ledger import (
    COMPLETE,
    FINISHED,
    Call,
    Claim,
    Journal,
    KeyChange,
    LivingRun,
    Operation,
    Process,
    Progress,
    busy_elsewhere,
    claim_calls,
    claim_doubts,
    drop_withdrawn,
    end_run,
    has_open,
    hold_disputed,
    learn,
    living_runs,
    lock_sets,
    made_by_others,
    mark_missing,
    rekey,
    reuse,
    start_run,
    withdraw,
)
from incarts_pipeline.models import Reason
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.plan import Plan, replan
from incarts_pipeline.sync import Stop
from incarts_pipeline.text import OptionText, counted
from incarts_pipeline.write.calls_ahead import calls_ahead
from incarts_pipeline.write.circuit_breaker import EndKind
from incarts_pipeline.write.garbage_collection import less_garbage_collection
from incarts_pipeline.write.lease import Lease, refuse_beside
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import IfRunning, WriteOptions
from incarts_pipeline.write.result import WriteResult, lines_of
from incarts_pipeline.write.send import Sender
from incarts_pipeline.write.throttle import Throttle

logger = logger_of(__name__)

_POLL_SECONDS = 0.5
_REKEYED_AT_ONCE = 500  # rows; a group of the journal holds up what is sent beside it


class Writer:
    """One run over one plan."""

    def __init__(
        self,
        plan: Plan,
        sender: Sender,
        set_ids: Mapping[str, int],
        run_id: str,
        options: WriteOptions,
    ) -> None:
        self._plan = plan
        self._sender = sender
        self._journal: Journal = sender.journal
        self._throttle: Throttle = sender.throttle
        self._clock: Clock = sender.throttle.clock
        self._stop: Stop = sender.throttle.stop
        self._metrics: RunMetrics = sender.throttle.metrics
        self._set_ids = set_ids
        self._run_id = run_id
        self._options = options
        self._approved = plan.figures.refusals
        self._me = Process.current()
        self._lease = Lease(sender, run_id)
        self._busy: list[Call] = []
        self._others_settle = False  # whether another run was at doubts when none was left for us
        self._moved: list[tuple[str, str]] = []
        self._awaited: set[tuple[int, str]] = set()  # rows that another run was sending
        self._made_by_others: dict[str, int] = {}
        self._began: Stamp = sender.throttle.clock.now()
        self._planned = self._began  # by when all that the plan has in doubt had been sent
        self._is_carried_out = False
        self._done_before = 0  # calls that were settled before the plan's own were begun
        self._withdrew = 0

    async def run(self) -> WriteResult:
        """Carry the plan out and return how it ended.

        Raises:
            RefusedError: another run is at work on the ledger and `if_running` says to fail.
            LedgerError: the run could not be recorded; nothing was sent.
        """
        await self._journal.run(self._begin)
        lease = asyncio.create_task(self._lease.keep())
        try:
            # Whatever happens from here on, the run's end is recorded: else others would wait for
            # its lease to lapse.
            with less_garbage_collection(), self._stop.within(self._options.max_duration):
                await self._work()
            self._is_carried_out = True
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            await self._end()
        return self._result()

    def _begin(self, connection: sa.Connection) -> None:
        now = self._clock.now()
        names = frozenset(self._set_ids)
        living = self._living(connection)
        refuse_beside(living, names, self._options.if_running)
        # What is enqueued is of an earlier plan of these rows.
        partition = self._plan.options.partition
        self._withdrew = withdraw(connection, self._set_ids, living, partition)
        # A plan file goes on by what the runs that carried it out have done.
        digest = self._plan.saved or self._options.approved
        start_run(connection, self._run_id, names, self._me, now, approved=digest)

    async def _work(self) -> None:
        # Doubts come first: what a row needs is known only once it is known what it has.
        if await self._settle_doubts():
            await self._plan_again()
        if self._throttle.circuits.end is None:  # what is wrong with the plan is not to be kept
            await self._record_contents()
        await self._reuse_links()
        await self._rekey_links()
        # Counted only now, as settled doubts may have changed what is called for.
        calls, limit = self._plan.figures.calls, self._options.limit
        self._metrics.planned += calls if limit is None else min(calls, limit)
        self._done_before = self._metrics.done
        await self._make(self._batches())
        if self._options.if_running is IfRunning.WAIT:
            await self._wait_for_others()
        else:  # answers with the links of other rows are doubts that only the ledger knows of
            await self._settle_doubts()

    async def _settle_doubts(self) -> int:
        """Send every operation in doubt of our link sets again; return how many there were."""
        count = 0
        while not self._stop.requested:
            found = await self._sender.recorded(self._claim_doubts)
            if not found:
                break
            count += len(found)
            self._metrics.planned += len(found)
            at_home = await asyncio.to_thread(self._plan.rows_that_stay, self._set_ids)
            # All of a batch are settled or given up before the next is claimed: a doubt that is
            # claimed and not yet sent again can't be taken over by another run meanwhile.
            async with self._sender.attempts() as begun:
                rows = [(operation.set_id, operation.row_key) for operation in found]
                await begun.begin(
                    [
                        self._sender.sending(replace(operation, for_history=row in at_home))
                        for operation, row in zip(found, rows, strict=True)
                    ]
                )
        return count

    def _claim_doubts(self, connection: sa.Connection) -> list[Operation]:
        living = self._living(connection)
        set_ids = list(self._set_ids.values())
        hold_disputed(connection, set_ids, self._clock.now())
        found = claim_doubts(connection, set_ids, self._run_id, living)
        # Asked in the same transaction: a doubt is either ours now or another's, whoever ends or
        # claims next. What the other sent only after the plan was made is none of its doubts:
        # else a run would wait as long as another is at work in the set.
        others = [run_id for run_id in living if run_id != self._run_id]
        self._others_settle = not found and busy_elsewhere(
            connection, set_ids, others, before=self._planned
        )
        return found

    def _living(self, connection: sa.Connection) -> dict[str, LivingRun]:
        """Return the living runs, while no other one begins or claims."""
        lock_sets(connection, self._set_ids.values())
        return living_runs(connection, self._me, self._clock.now())

    async def _plan_again(self) -> None:
        """Plan what is left now that doubts are settled; a guard that trips only now ends the run.

        The plan's own queries run in a thread: the lease must be renewed meanwhile.
        """
        self._plan = await asyncio.to_thread(replan, self._plan, self._clock.now())
        self._planned = self._clock.now()
        for refusal in self._plan.figures.refusals:
            if not refusal.is_within(self._approved):
                self._throttle.end(
                    EndKind.REFUSED,
                    OptionText("Now that what was in doubt is settled: ", refusal.told()),
                    OptionText("Plan again and look. ", refusal.fix),
                    Reason.CIRCUIT_OPEN,
                )

    async def _record_contents(self) -> None:
        """Tell the ledger what links that were imported without their content are made of."""
        batches = self._plan.unknown_contents()
        while contents := await asyncio.to_thread(next, batches, None):
            await self._sender.recorded(partial(learn, contents=contents))

    async def _reuse_links(self) -> None:
        """Move rows back to a link that they had before; no request is needed for that."""
        moves = await asyncio.to_thread(self._plan.reuses, self._set_ids)
        if not moves or self._stop.requested:
            return
        now = self._clock.now()
        late = await self._sender.recorded(lambda c: reuse(c, moves, self._run_id, now))
        names = {set_id: name for name, set_id in self._set_ids.items()}
        self._moved += [(names[move.set_id], move.row_key) for move in late or ()]

    async def _rekey_links(self) -> None:
        """Move links of rows that left to the keys under which they are back; no request either."""
        moves = iter(await asyncio.to_thread(self._plan.rekeys, self._set_ids))
        names = {set_id: name for name, set_id in self._set_ids.items()}
        while (batch := list(islice(moves, _REKEYED_AT_ONCE))) and not self._stop.requested:
            late = await self._sender.recorded(partial(self._rekey, batch))
            self._moved += [(names[move.set_id], move.row_key) for move in late or ()]

    def _rekey(self, moves: list[KeyChange], connection: sa.Connection) -> list[KeyChange]:
        now = self._clock.now()
        living = self._living(connection)
        return rekey(connection, moves, self._run_id, living, now)

    def _batches(self) -> Iterator[list[Call]]:
        options = self._options
        return self._plan.calls(self._set_ids, limit=options.limit, sample_per=options.sample_per)

    async def _make(self, batches: Iterator[list[Call]]) -> None:
        """Claim calls a batch at a time and send those that are ours."""
        ahead = calls_ahead(batches, self._throttle.rate)
        async with self._sender.attempts() as begun, aclosing(ahead):
            async for calls in ahead:
                if self._stop.requested:
                    return
                await begun.begin([*map(self._sender.sending, await self._claim(calls))])

    async def _claim(self, calls: list[Call]) -> list[Operation]:
        """Record that this run is about to send these calls; return those that it may send."""
        passing(Place.BEFORE_INTENT)
        # The intents are on disk before anything leaves, with their bodies: whoever goes on after a
        # crash sends the same bytes under the same key.
        answers = await self._sender.recorded(partial(self._claim_calls, calls))
        if answers is None:
            return []
        passing(Place.INTENDED)
        for call, (claim, _) in zip(calls, answers, strict=True):
            if claim is Claim.BUSY:
                self._busy.append(call)
                self._awaited.add((call.set_id, call.row_key))
            elif claim is Claim.MOVED:
                self._moved.append((call.link_set, call.row_key))
        return [operation for _, operation in answers if operation is not None]

    def _claim_calls(
        self, calls: list[Call], connection: sa.Connection
    ) -> list[tuple[Claim, Operation | None]]:
        return claim_calls(
            connection,
            calls,
            self._run_id,
            self._living(connection),
            self._clock.now(),
            retry_rejected=self._plan.options.retry_rejected,
        )

    async def _wait_for_others(self) -> None:
        """Wait for rows that another run is sending, and take over what it leaves behind."""
        while not self._stop.requested:
            calls, self._busy = self._busy, []
            # A run that died meanwhile leaves doubts. What they are settled to changes what the
            # other rows need; under a limit the rest is for another run.
            if await self._settle_doubts() and self._options.limit is None:
                await self._plan_again()
                self._done_before = self._metrics.done
                await self._make(self._batches())
            elif calls:
                await self._make(iter([calls]))
            if not self._busy and not (self._others_settle and self._plan.figures.doubts):
                break
            await self._sender.recorded(self._say_who_is_waited_for)
            await self._stop.sleep(_POLL_SECONDS)
        self._metrics.waiting = ""
        if self._awaited:
            self._made_by_others = await self._sender.recorded(self._count_made_by_others) or {}

    def _say_who_is_waited_for(self, connection: sa.Connection) -> None:
        living = living_runs(connection, self._me, self._clock.now())
        names = frozenset(self._set_ids)
        others = [
            f"run {run_id} (pid {run.pid} on {run.host})"
            for run_id, run in living.items()
            if run_id != self._run_id and run.link_sets & names
        ]
        rows = counted(len(self._busy), "row") if self._busy else "rows in doubt"
        self._metrics.waiting = (
            f"waiting for {rows} that {' and '.join(others) or 'another run'} is at, until they "
            "are there or it ends; Ctrl-C is safe"
        )

    def _count_made_by_others(self, connection: sa.Connection) -> dict[str, int]:
        return made_by_others(connection, self._awaited, self._run_id, self._began)

    async def _end(self) -> None:
        """Record how the run ended; when the ledger can't, its lease ends by itself."""
        circuits, now = self._throttle.circuits, self._clock.now()
        try:
            # The guard that ended the run must see the same rows again.
            refused = circuits.end is not None and circuits.end.kind is EndKind.REFUSED
            changes = ([], []) if refused else self._plan.missing_changes(self._set_ids)
            await self._lease.save_rate()

            def ended(connection: sa.Connection) -> None:
                mark_missing(connection, *changes, now)
                if self._withdrew:
                    drop_withdrawn(connection, self._set_ids.values())
                outcome = self._outcome(connection)
                end_run(connection, self._run_id, outcome, now, self._progress())

            await self._journal.run(ended)
        except Exception:
            logger.exception("the end of the run could not be recorded")

    def _progress(self) -> Progress | None:
        if not self._plan.kind.is_catalog:
            return None
        return Progress(made=self._throttle.circuits.accepted, remaining=self._remaining())

    def _remaining(self) -> int:
        """Return how many of the plan's calls nobody has made."""
        tried = self._metrics.done - self._done_before + sum(self._made_by_others.values())
        return max(0, self._plan.figures.calls - tried)

    def _outcome(self, connection: sa.Connection) -> str:
        """Say why the run was stopped, or whether the catalog has all links that it may have."""
        if self._stop.reason:
            return self._stop.reason.value
        limit, calls = self._options.limit, self._plan.figures.calls
        is_limited = limit is not None and calls > limit
        left = self._busy or self._moved or self._throttle.circuits.forbidden or is_limited
        whole = self._is_carried_out and self._plan.kind.is_catalog and not left
        return (
            COMPLETE if whole and not has_open(connection, [*self._set_ids.values()]) else FINISHED
        )

    def _result(self) -> WriteResult:
        circuits = self._throttle.circuits
        return WriteResult(
            run_id=self._run_id,
            end=circuits.end,
            stopped=self._stop.reason,
            forbidden=dict(circuits.forbidden),
            accepted=circuits.accepted,
            requests=self._metrics.requests,
            remaining=self._remaining(),
            unrecorded=lines_of(self._journal.unrecorded),
            busy=[(call.link_set, call.row_key) for call in self._busy],
            moved=self._moved,
            made_by_others=self._made_by_others,
        )
