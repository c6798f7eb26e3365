"""Work: carries out what is enqueued in the ledger, beside as many other workers as there are.

    begin ─► claim, doubts first ─► send ─► give back ─► wait for others, or for more ─► end

There is no plan here: each operation has its bytes, and what becomes of its link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger import (
    FINISHED,
    Journal,
    LivingRun,
    Operation,
    Process,
    Task,
    Worker as Claimer,
    claim_enqueued,
    end_run,
    enqueued_counts,
    enqueued_sets,
    give_back,
    hold_disputed,
    is_more_to_come,
    living_runs,
    lock_sets,
    name_sets,
    start_run,
)
from incarts_pipeline.models import Reason, State, Status
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.write.circuit_breaker import End
from incarts_pipeline.write.garbage_collection import less_garbage_collection
from incarts_pipeline.write.lease import Lease
from incarts_pipeline.write.options import WorkOptions
from incarts_pipeline.write.result import lines_of
from incarts_pipeline.write.send import Sender
from incarts_pipeline.write.throttle import Throttle

logger = logger_of(__name__)

_SETTLED = (State.DONE, State.REJECTED, State.NEEDS_REVIEW)
_LEAST, _MOST = 16, 1_024  # operations that are claimed at once
_AHEAD_SECONDS = 2.0
_POLL_SECONDS = 0.5  # while others are at work
_IDLE_SECONDS = 2.0  # while nobody is
_AT_WORK = "waiting for what other runs are at, until it is there or they end"
_NOTHING = "waiting for something to be enqueued"
_RETRY_SECONDS = 60.0  # of idleness, after which what was given up is tried again
_LOOK_SHARE = 50  # times as long as a look takes: much that is enqueued is looked at less often
_LOOK_SECONDS = 30.0  # after which a worker that is busy looks for other link sets


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkResult:
    """How a worker ended: what became of the operations that it settled, and what is `left`.

    `left` counts what is still enqueued in its link sets, whoever is at it.
    """

    run_id: str
    link_sets: Sequence[str]
    settled: Mapping[State, int]
    left: Mapping[State, int]
    end: End | None
    stopped: Reason | None
    forbidden: Mapping[tuple[str, str], str]
    accepted: int
    requests: int
    unrecorded: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def made(self) -> int:
        """The links that it made."""
        return self.settled.get(State.DONE, 0)

    @property
    def pending(self) -> int:
        """What is enqueued and was never sent, or had no effect."""
        return self.left.get(State.INTENDED, 0)

    @property
    def in_doubt(self) -> int:
        """What may have a link that nobody knows of."""
        return sum(n for state, n in self.left.items() if state is not State.INTENDED)

    def exit_code(self, fail_on: Sequence[Status] = (Status.IN_DOUBT,)) -> int:
        """Return the shell's exit code: 0 settled, 1 nothing made, 3 `fail_on`, 4 pending.

        1 says that nothing can have been made, so that anything in doubt makes it 4.
        """
        counts = {Status.IN_DOUBT: self.in_doubt, Status.REJECTED: self.settled.get(State.REJECTED)}
        failed = self.end is not None or (self.forbidden and self.pending)
        if failed and not (self.accepted or self.in_doubt or self.unrecorded):
            return 1
        if failed or self.pending or self.unrecorded:
            return 4
        return 3 if any(counts.get(status) for status in fail_on) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a worker sees when it looks: what it `gave_back`, and how much is `left` to settle."""

    gave_back: Sequence[int]
    sets: Mapping[str, int]
    left: int
    others_are_at_it: bool


@dataclass(slots=True, kw_only=True)
class Worker:
    """One run over what is enqueued; `run` does it.

    `set_ids` is what the sender's journal locks; link sets are added as they get something to do.
    """

    project_id: str
    sender: Sender
    set_ids: list[int]
    run_id: str
    options: WorkOptions
    _names: dict[str, int] = field(default_factory=dict)
    _me: Process = field(default_factory=Process.current)
    _claimed: int = 0
    _given_up: set[int] = field(default_factory=set)
    _look_at: float = 0.0  # monotonic seconds

    @property
    def _journal(self) -> Journal:
        return self.sender.journal

    @property
    def _throttle(self) -> Throttle:
        return self.sender.throttle

    @property
    def _clock(self) -> Clock:
        return self.sender.throttle.clock

    async def run(self) -> WorkResult:
        """Carry out what is enqueued until nothing is left to do; return how it ended.

        Raises:
            LedgerError: the run could not be recorded; nothing was sent.
        """
        began = self._clock.monotonic()
        await self._journal.run(self._begin)
        lease = Lease(self.sender, self.run_id, lambda: self._throttle.metrics.states[State.DONE])
        renewing = asyncio.create_task(lease.keep())
        stop = self._throttle.stop
        try:
            with less_garbage_collection(), stop.within(self.options.max_duration):
                await self._work()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            left = await self._end(lease)
        return self._result(left, self._clock.monotonic() - began)

    def _begin(self, connection: sa.Connection) -> None:
        start_run(connection, self.run_id, (), self._me, self._clock.now(), task=Task.WORK)

    async def _work(self) -> None:
        """Send what can be claimed, give back what this run gives up, and look for more."""
        stop, metrics = self._throttle.stop, self._throttle.metrics
        others_are_at_it = await self._look()
        idle_since = self._clock.monotonic()
        while not stop.requested:
            # What another run held as this one claimed may be nobody's when it looks.
            was_busy = await self._send_all() or others_are_at_it
            if self._is_at_limit():
                return
            others_are_at_it = await self._look()
            now = self._clock.monotonic()
            if was_busy or others_are_at_it:
                idle_since = now
            elif now - idle_since >= (self.options.wait_for_work or 0.0):
                return
            elif now - idle_since >= _RETRY_SECONDS:  # what failed often may be well again by now
                self._given_up.clear()
            metrics.waiting = _AT_WORK if others_are_at_it else _NOTHING
            await stop.sleep(_POLL_SECONDS if others_are_at_it else _IDLE_SECONDS)
            metrics.waiting = ""

    async def _send_all(self) -> bool:
        """Send what is there to be claimed; return whether anything was."""
        found_any = False
        async with self.sender.attempts() as begun:
            while not self._throttle.stop.requested:
                if self._clock.monotonic() >= self._look_at:
                    await self._look(gives_up=False)
                found = await self.sender.recorded(partial(self._claim, self._most_at_once()))
                if not found:
                    break
                found_any = True
                self._claimed += len(found)
                await begun.begin([self.sender.sending(operation) for operation in found])
        return found_any

    def _most_at_once(self) -> int:
        """Return how many to claim: what goes out in two seconds, so that others have some, too."""
        pace = self._throttle.rate.pace
        if pace is None:  # nobody knows before the first permit; after it there is no limit
            pace = _MOST if self._claimed else 0.0
        most = min(max(int(pace * _AHEAD_SECONDS), _LEAST), _MOST)
        limit = self.options.limit
        return most if limit is None else min(most, limit - self._claimed)

    def _is_at_limit(self) -> bool:
        return self.options.limit is not None and self._claimed >= self.options.limit

    def _claim(self, most: int, connection: sa.Connection) -> list[Operation]:
        if most <= 0 or not self.set_ids:
            return []
        living, now = self._living(connection), self._clock.now()
        hold_disputed(connection, self.set_ids, now)
        me = Claimer(
            run_id=self.run_id,
            rule=self.sender.rule,
            given_up=self._given_up,
            closed=list(self._throttle.circuits.forbidden),
        )
        return claim_enqueued(connection, self.set_ids, me, living, now, most)

    def _living(self, connection: sa.Connection) -> dict[str, LivingRun]:
        """Return the living runs, while no other one begins or claims."""
        lock_sets(connection, self.set_ids)
        return living_runs(connection, self._me, self._clock.now())

    async def _look(self, *, gives_up: bool = True) -> bool:
        """Find out what there is to do; return whether other runs are at it, or enqueue more.

        With `gives_up`, everything of this run is settled or given up: others may have that.
        """
        began = self._clock.monotonic()
        seen = await self.sender.recorded(partial(self._see, gives_up))
        now = self._clock.monotonic()
        self._look_at = now + max(_LOOK_SECONDS, _LOOK_SHARE * (now - began))
        if seen is None:
            return False
        self._given_up.update(seen.gave_back)
        # In place, and before anything is claimed of them: the journal locks what is listed.
        self.set_ids += [seen.sets[name] for name in sorted(seen.sets.keys() - self._names.keys())]
        self._names |= seen.sets
        metrics, limit = self._throttle.metrics, self.options.limit
        there = metrics.done + seen.left
        metrics.planned = there if limit is None else min(there, limit)
        return seen.others_are_at_it

    def _see(self, gives_up: bool, connection: sa.Connection) -> _Seen:
        gave_back = give_back(connection, self.run_id) if gives_up else ()
        sets = enqueued_sets(connection, self.project_id, self.options.link_sets)
        names = self._names | sets
        if names.keys() != self._names.keys():
            name_sets(connection, self.run_id, names)
        living = living_runs(connection, self._me, self._clock.now())
        others = {run_id: run for run_id, run in living.items() if run_id != self.run_id}
        left = enqueued_counts(connection, names.values())
        return _Seen(
            gave_back=gave_back,
            sets=sets,
            left=sum(n for state, n in left.items() if state is not State.NEEDS_REVIEW),
            others_are_at_it=is_more_to_come(
                connection, names.values(), self.options.link_sets, others
            ),
        )

    async def _end(self, lease: Lease) -> Mapping[State, int]:
        """Give everything back and record the end; when the ledger can't, the lease ends."""
        now, reason = self._clock.now(), self._throttle.stop.reason
        outcome = reason.value if reason else FINISHED

        def ended(connection: sa.Connection) -> dict[State, int]:
            give_back(connection, self.run_id)
            end_run(connection, self.run_id, outcome, now)
            return enqueued_counts(connection, self.set_ids)

        try:
            await lease.save_rate()
            return await self._journal.run(ended)
        except Exception:
            logger.exception("the end of the run could not be recorded")
            return {State.INTENDED: max(self._claimed - self._throttle.metrics.done, 0)}

    def _result(self, left: Mapping[State, int], seconds: float) -> WorkResult:
        circuits, metrics = self._throttle.circuits, self._throttle.metrics
        return WorkResult(
            run_id=self.run_id,
            link_sets=sorted(self._names),
            settled={state: n for state, n in metrics.states.items() if n and state in _SETTLED},
            left=left,
            end=circuits.end,
            stopped=self._throttle.stop.reason,
            forbidden=dict(circuits.forbidden),
            accepted=circuits.accepted,
            requests=metrics.requests,
            unrecorded=lines_of(self._journal.unrecorded),
            seconds=seconds,
        )
