"""Throttle: when a request may leave, and what its answer teaches for the next.

Two things hold a request back: the pace, which is learned, and a cap on how many are under way.
Between them lies what must be on disk before it leaves, so a slot is taken in two steps: acquired
at the pace, and departed with under the cap. While requests are under way, a few others make ready.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger import paces_at
from incarts_pipeline.models import Answer, Reason, State
from incarts_pipeline.rate_limit import Learned, Outcome, Pacer, pacing, signal_of
from incarts_pipeline.settings import ClientSettings
from incarts_pipeline.sync import Stop
from incarts_pipeline.text import Option, OptionText
from incarts_pipeline.write.circuit_breaker import Circuits, End, EndKind
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics


@dataclass(slots=True)
class Throttle:
    """What all requests of a run share; everything that it needs is passed in.

    After a 429, or when trouble opens the breaker, slots that were acquired before are stale: who
    has not departed yet is kept back, and has to acquire anew.
    """

    rate: Pacer
    circuits: Circuits
    clock: Clock
    stop: Stop
    metrics: RunMetrics
    in_flight: ConcurrencyLimit
    waits: bool = False  # also for a quota that lasts longer than a run usually waits
    news: asyncio.Event = field(default_factory=asyncio.Event)  # sooner than a wait said
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _acquired: int = 0  # slots
    _stale_before: float = float("-inf")  # monotonic seconds
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _departing: deque[asyncio.Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Have the run's end wake who waits for the pace."""
        self.stop.wakes(self.news)

    def slot(self, retailer: str, intent: str) -> Slot:
        """Return the slot of one request, not yet acquired."""
        return Slot(self, retailer, intent)

    def end(self, kind: EndKind, message: str, fix: str, reason: Reason) -> None:
        """End the run; the first end is the one that is told."""
        if self.circuits.end is None:
            self.circuits.end = End(kind=kind, message=message, fix=fix)
        self.stop.request(reason)

    def end_for_ledger(self, error: LedgerError) -> None:
        """End the run: nothing may be sent that can't be recorded."""
        self.end(EndKind.LEDGER, error.message, error.fix or "Run again.", Reason.STOPPED)

    async def acquire(self, slots: Sequence[Slot]) -> int:
        """Wait for a turn at the learned rate, and give it to as many as may have it now.

        Returns how many of the first are decided on, 0 once the run is over. Those whose circuit is
        open have no slot; the others leave together, and each must be entered or released.
        """
        # One at a time, in the order in which they came: whoever waits for the pace has the others
        # wait behind it, so that a permit is asked for just when it can be made use of.
        async with self._turn:
            while not self.stop.requested:
                cap = self.in_flight.cap(self.rate.pace)
                room = cap + self.in_flight.ahead(cap) - self._acquired
                if room <= 0:
                    self._released.clear()
                    await self._released.wait()
                    continue
                now = self.clock.monotonic()
                decided, wait = self._permit(slots, room, now)
                if decided:
                    return decided
                if wait > 0:
                    self._say_why(wait, now)
                    await self._rest(wait)
            return 0

    async def _rest(self, seconds: float) -> None:
        """Sleep; but permits may come sooner than was told, and so may the run's end."""
        self.news.clear()
        if self.stop.requested:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()

    def _permit(self, slots: Sequence[Slot], room: int, now: float) -> tuple[int, float]:
        """Let the first of the slots have a turn; return how many, and the seconds to the next."""
        given = 0
        for at, slot in enumerate(slots):
            if self.circuits.is_open(slot.retailer, slot.intent):
                continue
            if given == room:
                return at, 0.0
            try:
                # The breaker first: a permit that is taken and not used is lost to the pace.
                wait = self.circuits.wait(now) or self.rate.ask(now)
            except LedgerError as error:
                self.end_for_ledger(error)
                return at, 0.0
            if wait > 0:
                return at, wait
            self.metrics.waiting = ""
            self.circuits.started(now)
            slot.acquired_at = now
            self._acquired += 1
            given += 1
        return len(slots), 0.0

    def _release(self, acquired_at: float) -> None:
        self._acquired -= 1
        self._released.set()
        self.circuits.finished(acquired_at)

    async def _depart(self, acquired_at: float) -> bool:
        self.in_flight.made_ready(self.clock.monotonic() - acquired_at)
        while not self.stop.requested and self.in_flight.is_full(self.rate.pace):
            turn = asyncio.get_running_loop().create_future()
            self._departing.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # its turn had come: it goes to the next one
                    self._notify_next()
                raise
        if self.stop.requested or acquired_at < self._stale_before:
            self._notify_next()
            return False
        self.in_flight.count += 1
        return True

    def _arrive(self) -> None:
        self.in_flight.count -= 1
        self._notify_next()

    def _notify_next(self) -> None:
        """Let the next one look whether it may depart; who then may not lets the next one look."""
        while self._departing:
            turn = self._departing.popleft()
            if not turn.done():  # else it was cancelled meanwhile
                turn.set_result(None)
                return

    def notify_all(self) -> None:
        """Let all that wait see that the run is over."""
        for turn in self._departing:
            if not turn.done():
                turn.set_result(None)
        self._departing.clear()

    def _say_why(self, wait: float, now: float) -> None:
        """Tell what a longer wait is for; one that is no use ends the run."""
        hopeless = None if self.waits else self.rate.hopeless_for(now)
        if hopeless is not None and self.circuits.end is None:
            at = dt.datetime.now() + dt.timedelta(seconds=hopeless)
            self.end(
                EndKind.RATE_LIMITED,
                "Incarts answers nothing but 429: a quota is used up that lasts longer "
                f"than a run waits ({self.circuits.accepted:,} requests of this one succeeded).",
                OptionText(
                    f"Run again at {at:%Y-%m-%d %H:%M} or later, or with ",
                    Option(name="wait"),
                    ": rows are pending, none is lost.",
                ),
                Reason.CIRCUIT_OPEN,
            )
        elif wait > 1.0:
            blocked = self.rate.waiting_for(now)
            said = blocked.said if blocked else self.circuits.reason
            at = dt.datetime.now() + dt.timedelta(seconds=blocked.seconds if blocked else wait)
            self.metrics.waiting = (
                f"Incarts said {said}; next try {at:%H:%M:%S}. Ctrl-C is safe." if said else ""
            )

    def _learn(self, slot: Slot, answer: Answer, state: State, sent_at: float) -> bool:
        now = self.clock.monotonic()
        signal = signal_of(answer)
        refused = signal.outcome is Outcome.REFUSED
        self.rate.answered(signal, sent_at=sent_at, now=now)
        self.in_flight.took(now - sent_at)
        self.circuits.answered(
            answer, slot.retailer, slot.intent, now, retry=slot.is_retry, refused=refused
        )
        is_trouble = refused or self.circuits.wait(now) > 0
        # What left before an earlier trouble was known tells no news: it must not make stale who
        # has acquired a slot since.
        if is_trouble and sent_at >= self._stale_before:
            self._stale_before = now
        self.metrics.answered(
            answer,
            state,
            latency=now - sent_at,
            now=now,
            limit=self.rate.learned,
            pace=self.rate.pace,
        )
        self.rate.left = max(self.metrics.planned - self.metrics.done, 0)
        if self.circuits.end is not None:
            self.stop.request(Reason.CIRCUIT_OPEN)
        return refused


@asynccontextmanager
async def open_throttle(
    settings: ClientSettings,
    run_id: str,
    learned: Learned | None,
    *,
    most: int | None,
    clock: Clock,
    stop: Stop,
    metrics: RunMetrics,
) -> AsyncIterator[Throttle]:
    """Yield a run's throttle, at the pace that all runs of the API key share.

    `learned` is what the ledger knows of the rate limit; `most` caps how many requests may be under
    way, None leaves that to the pace.
    """
    news, open_pace = asyncio.Event(), paces_at(settings.ledger, clock)
    async with pacing(settings, run_id, learned, clock, open_pace, news) as rate:
        yield Throttle(
            rate=rate,
            circuits=Circuits(),
            clock=clock,
            stop=stop,
            metrics=metrics,
            in_flight=ConcurrencyLimit(most),
            waits=settings.wait,
            news=news,
        )


@dataclass(slots=True)
class Slot:
    """One request's permission to leave; an asynchronous context manager, used once per attempt.

    `async with` acquires it, unless that was done already, and yields None when it can't be had.
    However the block is left, the slot is free for another request then.
    """

    throttle: Throttle
    retailer: str
    intent: str
    is_retry: bool = False  # after an attempt that failed, a 429 aside
    acquired_at: float | None = None  # monotonic seconds; None while it isn't
    _sent_at: float | None = None

    async def acquire(self) -> bool:
        """Wait for a turn at the learned rate; False once the run or this kind's circuit is over.

        Acquired outside of a block, it must be entered, or released, by somebody.
        """
        await self.throttle.acquire((self,))
        return self.acquired_at is not None

    def release(self) -> None:
        """Let another request have the slot; does nothing when it isn't acquired."""
        if self._sent_at is not None:
            self._sent_at = None
            self.throttle._arrive()
        if self.acquired_at is not None:
            acquired_at, self.acquired_at = self.acquired_at, None
            self.throttle._release(acquired_at)

    async def __aenter__(self) -> Slot | None:
        if self.acquired_at is None and not await self.acquire():
            return None
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.release()

    async def depart(self) -> bool:
        """Wait until one more request may be under way; False for one that must not leave.

        That is when the end was asked for, or the slot is stale. True counts as under way until the
        slot is released.
        """
        if self.acquired_at is None or not await self.throttle._depart(self.acquired_at):
            return False
        self._sent_at = self.throttle.clock.monotonic()
        return True

    def answered(self, answer: Answer, *, state: State) -> bool:
        """Learn from the answer, which led to a state; say whether a limiter refused the request.

        An answer that makes going on useless ends all.
        """
        if self._sent_at is None:
            raise RuntimeError("nothing was sent from this slot")
        return self.throttle._learn(self, answer, state, self._sent_at)
