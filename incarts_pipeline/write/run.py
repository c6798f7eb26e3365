"""Run of a plan: settle doubts, then make links; the only stage that calls the API."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Mapping as Dict, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.api import client_of
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.ledger import (
    RENEW_SECONDS,
    Call,
    Claim,
    Content,
    Journal,
    Operation,
    Process,
    busy_elsewhere,
    claim_calls,
    claim_doubts,
    end_run,
    learn,
    living_runs,
    load_rate,
    mark_missing,
    new_run_id,
    renew,
    replay_rule,
    reuse,
    save_rate,
    start_run,
)
from incarts_pipeline.models import Reason
from incarts_pipeline.plan import Plan
from incarts_pipeline.rate_limit import Learned, pacing
from incarts_pipeline.resolved_settings import ClientSettings
from incarts_pipeline.settings import key_fingerprint
from incarts_pipeline.sync import Stop
from incarts_pipeline.text import Option, OptionText
from incarts_pipeline.write.circuit_breaker import Circuits, EndKind
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import IfRunning, WriteOptions
from incarts_pipeline.write.result import WriteResult
from incarts_pipeline.write.send import Sender
from incarts_pipeline.write.throttle import Throttle


async def carry_out(
    plan: Plan,
    settings: ClientSettings,
    engine: sa.Engine,
    set_ids: Dict[str, int],
    options: WriteOptions,
    metrics: RunMetrics,
    stop: Stop,
    clock: Clock | None,
) -> WriteResult:
    """Make what a plan calls for, and record it; raises as `Writer.run` does."""
    with engine.begin() as connection:
        learned = load_rate(connection, key_fingerprint(settings.api_key))
    run_id = new_run_id()
    clock = clock or Clock()
    most = options.max_in_flight or settings.max_in_flight
    async with (
        client_of(settings, connections=most) as client,
        Journal(engine, Path(settings.ledger), run_id) as journal,
        pacing(settings, run_id, learned, clock) as rate,
    ):
        throttle = Throttle(
            rate=rate,
            circuits=Circuits(),
            clock=clock,
            stop=stop,
            metrics=metrics,
            in_flight=ConcurrencyLimit(most),
        )
        sender = Sender(
            client=client, journal=journal, throttle=throttle, rule=replay_rule(settings)
        )
        return await Writer(plan, sender, set_ids, run_id, options).run()


logger = logging.getLogger(__name__)

T = TypeVar("T")

_GRACE_SECONDS = 20.0  # for what is in flight when the end is asked for
_POLL_SECONDS = 0.5
_ROOM = 512  # operations claimed and not yet settled: enough to keep every slot busy in back-offs


def _learn(contents: Sequence[Content], connection: sa.Connection) -> None:
    learn(connection, contents)


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
        self._clock: Clock = sender.clock
        self._stop: Stop = sender.stop
        self._set_ids = set_ids
        self._run_id = run_id
        self._options = options
        self._approved = {refusal.guard for refusal in plan.figures.refusals}
        self._me = Process.current()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(max(_ROOM, 8 * (sender.throttle.in_flight.most or 0)))
        self._kept_rate: Learned | None = sender.throttle.rate.learned
        self._busy: list[Call] = []
        self._moved: list[tuple[str, str]] = []

    async def run(self) -> WriteResult:
        """Carry the plan out and return how it ended.

        Raises:
            RefusedError: another run is at work on the ledger and `if_running` says to fail.
            LedgerError: the run could not be recorded; nothing was sent.
        """
        await self._journal.run(self._begin)
        side = [asyncio.create_task(self._heartbeat()), asyncio.create_task(self._cut_off())]
        if self._options.max_duration is not None:
            asyncio.get_running_loop().call_later(
                self._options.max_duration, self._stop.request, Reason.OUT_OF_TIME
            )
        try:
            with fewer_collections():
                await self._work()
        finally:
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)
            await self._close()
        return self._result()

    async def _work(self) -> None:
        if await self._settle_doubts():
            await self._plan_again()
        unknown = self._plan.unknown_contents()
        while contents := await asyncio.to_thread(next, unknown, None):
            await self._recorded(partial(_learn, contents))
        moves = await asyncio.to_thread(self._plan.reuses, self._set_ids)
        if moves and not self._stop.requested:
            now = self._clock.now()
            late = await self._recorded(lambda c: reuse(c, moves, self._run_id, now))
            names = {set_id: name for name, set_id in self._set_ids.items()}
            self._moved += [(names[move.set_id], move.row_key) for move in late or ()]
        calls, limit = self._plan.figures.calls, self._options.limit
        self._sender.metrics.planned += calls if limit is None else min(calls, limit)
        await self._make(self._batches())
        if self._options.if_running is IfRunning.WAIT:
            await self._wait_for_others()

    async def _plan_again(self) -> None:
        """Plan what is left now that doubts are settled; a guard that stands only now ends the run.

        The plan's own queries run in a thread: the lease must be renewed meanwhile.
        """
        await asyncio.to_thread(self._plan.refresh, self._clock.now())
        for refusal in self._plan.figures.refusals:
            if refusal.guard not in self._approved:
                self._sender.throttle.end(
                    EndKind.REFUSED,
                    OptionText("Now that what was in doubt is settled: ", refusal.message),
                    OptionText("Plan again and look. ", refusal.fix),
                    Reason.CIRCUIT_OPEN,
                )

    def _begin(self, connection: sa.Connection) -> None:
        now = self._clock.now()
        names = frozenset(self._set_ids)
        living = living_runs(connection, self._me, now).values()
        others = [str(run) for run in living if run.link_sets & names]
        if others and self._options.if_running is IfRunning.FAIL:
            raise RefusedError(
                f"Another run is at work on this link set: {', '.join(others)}.",
                fix=OptionText(
                    "Wait for it, stop it with `incarts stop`, or leave ",
                    Option(name="if_running"),
                    " at wait.",
                ),
                guard="running",
            )
        # A plan file goes on by what the runs that carried it out have done.
        digest = self._plan.saved or self._options.approved
        start_run(connection, self._run_id, names, self._me, now, approved=digest)

    async def _settle_doubts(self) -> int:
        """Send every operation in doubt of our link sets again; return how many there were."""
        count = 0
        while not self._stop.requested:
            found = await self._recorded(self._claim_doubts)
            if not found:
                break
            count += len(found)
            self._sender.metrics.planned += len(found)
            at_home = await asyncio.to_thread(self._plan.rows_at_home, self._set_ids)
            async with asyncio.TaskGroup() as group:
                for operation in found:
                    row = (operation.set_id, operation.row_key)
                    await self._start(group, replace(operation, for_history=row in at_home))
        return count

    def _claim_doubts(self, connection: sa.Connection) -> list[Operation]:
        living = living_runs(connection, self._me, self._clock.now())
        return claim_doubts(connection, list(self._set_ids.values()), self._run_id, living)

    async def _recorded(self, work: Callable[[sa.Connection], T]) -> T | None:
        """Run a piece of the ledger's work; when it can't be recorded, end the run: None."""
        try:
            return await self._journal.run(work)
        except LedgerError as error:
            self._sender.throttle.end_for_ledger(error)
            return None

    def _batches(self) -> Iterator[list[Call]]:
        options = self._options
        return self._plan.calls(self._set_ids, limit=options.limit, sample_per=options.sample_per)

    async def _make(self, batches: Iterator[list[Call]]) -> None:
        """Claim calls a batch at a time and carry out those that are ours."""
        async with asyncio.TaskGroup() as group:
            while not self._stop.requested:
                found = await asyncio.to_thread(lambda: list(islice(batches, 1)))
                if not found:
                    return
                for operation in await self._claim(found[0]):
                    await self._start(group, operation)

    async def _claim(self, calls: list[Call]) -> list[Operation]:
        passing(Place.BEFORE_INTENT)
        answers = await self._recorded(partial(self._claim_calls, calls))
        if answers is None:
            return []
        passing(Place.INTENDED)
        for call, (claim, _) in zip(calls, answers, strict=True):
            if claim is Claim.BUSY:
                self._busy.append(call)
            elif claim is Claim.MOVED:
                self._moved.append((call.link_set, call.row_key))
        return [operation for _, operation in answers if operation is not None]

    def _claim_calls(
        self, calls: list[Call], connection: sa.Connection
    ) -> list[tuple[Claim, Operation | None]]:
        now = self._clock.now()
        return claim_calls(
            connection,
            calls,
            self._run_id,
            living_runs(connection, self._me, now),
            now,
            retry_rejected=self._plan.options.retry_rejected,
        )

    async def _start(self, group: asyncio.TaskGroup, operation: Operation) -> None:
        """Carry an operation out once the gate lets it in; at the end of the run, not at all."""
        await self._room.acquire()
        entered_at = await self._sender.throttle.enter(operation.retailer, operation.intent)
        if entered_at is None:
            self._room.release()
            return
        task = group.create_task(self._sender.carry(operation, entered_at))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _wait_for_others(self) -> None:
        """Wait for rows that another run is sending, and take over what it leaves behind."""
        set_ids = list(self._set_ids.values())
        while not self._stop.requested:
            calls, self._busy = self._busy, []
            waiting = await self._recorded(lambda c: busy_elsewhere(c, set_ids, self._others(c)))
            if await self._settle_doubts() and self._options.limit is None:
                await self._plan_again()
                await self._make(self._batches())
            elif calls:
                await self._make(iter([calls]))
            if not self._busy and not (waiting and self._plan.figures.doubts):
                return
            self._sender.metrics.waiting = "another run is sending rows of this link set"
            await self._stop.sleep(_POLL_SECONDS)

    def _others(self, connection: sa.Connection) -> list[str]:
        """Return the living runs but this one."""
        living = living_runs(connection, self._me, self._clock.now())
        return [run_id for run_id in living if run_id != self._run_id]

    async def _heartbeat(self) -> None:
        """Keep the lease, and look whether somebody asked this run to stop."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                asked = await self._journal.run(lambda c: renew(c, self._run_id, self._clock.now()))
            except Exception:
                logger.exception("the run's lease could not be renewed")
                continue
            if asked:
                self._stop.request(Reason.STOPPED)
            await self._keep_rate()

    async def _keep_rate(self) -> None:
        """Keep what was learned of the rate limit for the next run."""
        fingerprint = self._sender.rule.api_key_fingerprint
        learned = self._sender.throttle.rate.learned
        if fingerprint is None or learned is None or learned == self._kept_rate:
            return
        now = self._clock.now()
        try:
            await self._journal.run(lambda c: save_rate(c, fingerprint, learned, now))
        except Exception:  # no reason to lose the lease, or not to record the run's end
            logger.exception("what was learned of the rate limit could not be kept")
        else:
            self._kept_rate = learned

    async def _cut_off(self) -> None:
        """Give what is in flight its time once the end was asked for, then cut it off."""
        await self._stop.wait()
        self._sender.throttle.wake_one()
        await asyncio.sleep(_GRACE_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    async def _close(self) -> None:
        """Record how the run ended; when the ledger can't, its lease ends by itself."""
        outcome = self._stop.reason.value if self._stop.reason else "finished"
        now = self._clock.now()
        try:
            missing, back = self._plan.missing_changes(self._set_ids)
            await self._journal.run(lambda c: mark_missing(c, missing, back, now))
            await self._keep_rate()
            await self._journal.run(lambda c: end_run(c, self._run_id, outcome, now))
        except Exception:
            logger.exception("the end of the run could not be recorded")

    def _result(self) -> WriteResult:
        circuits = self._sender.circuits
        return WriteResult(
            run_id=self._run_id,
            end=circuits.end,
            stopped=self._stop.reason,
            forbidden=dict(circuits.forbidden),
            accepted=circuits.accepted,
            requests=self._sender.metrics.requests,
            unrecorded=[
                f"{o.operation.idempotency_key} → "
                f"{o.answer.link.id if o.answer and o.answer.link else o.state.value}"
                for o in self._journal.unrecorded
            ],
            busy=[(call.link_set, call.row_key) for call in self._busy],
            moved=self._moved,
        )


_THRESHOLD = 10_000  # objects that are new, between two looks at them; 700 by default


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Collect garbage less often within the block.

    A request makes dozens of objects that are gone with it, and going through them for garbage
    after every few requests costs a tenth of what sending takes. A threshold that is higher, or a
    collector that is off, is left alone.
    """
    first, *others = gc.get_threshold()
    if not 0 < first < _THRESHOLD:
        yield
        return
    gc.set_threshold(_THRESHOLD, *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
