"""The way out to the API: when a request may leave, and what its answer teaches for the next."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import deque
from dataclasses import dataclass, field

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.models import Answer, AnswerKind, Reason, State
from incarts_pipeline.rate_limit import Pacer
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.circuit_breaker import Circuits, End, EndKind
from incarts_pipeline.write.concurrency import ConcurrencyLimit
from incarts_pipeline.write.metrics import RunMetrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Throttle:
    """What all requests of a run pass; everything that it stands on is passed in.

    Whoever entered may make ready what must be on disk first, and then departs: no more are under
    way than the cap allows, and as many make ready as come due meanwhile. After a 429, or when
    trouble opens the breaker, whoever entered before is kept back and has to enter anew.
    """

    rate: Pacer
    circuits: Circuits
    clock: Clock
    stop: Stop
    metrics: RunMetrics
    in_flight: ConcurrencyLimit
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _inside: int = 0
    _void_before: float = float("-inf")
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _departing: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def enter(self, retailer: str, intent: str) -> float | None:
        """Wait for a turn at the learned rate; return when it came, None for not at all."""
        async with self._turn:
            while not self.stop.requested:
                if self.circuits.is_open(retailer, intent):
                    return None
                cap = self.in_flight.cap(self.rate.pace)
                if self._inside >= cap + self.in_flight.ahead(cap):
                    self._left.clear()
                    await self._left.wait()
                    continue
                now = self.clock.monotonic()
                try:
                    wait = self.circuits.wait(now) or self.rate.ask(now)
                except LedgerError as error:
                    self.end_for_ledger(error)
                    return None
                if wait <= 0:
                    self.metrics.waiting = ""
                    self._inside += 1
                    self.circuits.started(now)
                    return now
                self._say_why(wait, now)
                await self.stop.sleep(wait)
            return None

    def leave(self, entered_at: float) -> None:
        """Let the next one in; `entered_at` is what `enter` returned."""
        self._inside -= 1
        self._left.set()
        self.circuits.landed(entered_at)

    async def depart(self, entered_at: float) -> bool:
        """Wait until one more request may be under way; False for one that must not leave.

        That is when the end was asked for, or `entered_at` is too old. Who departed must land.
        """
        self.in_flight.made_ready(self.clock.monotonic() - entered_at)
        while not self.stop.requested and self.in_flight.is_full(self.rate.pace):
            landed = asyncio.get_running_loop().create_future()
            self._departing.append(landed)
            await landed
        if self.stop.requested or entered_at < self._void_before:
            self.wake_one()
            return False
        self.in_flight.count += 1
        return True

    def land(self) -> None:
        """Say that a request is no longer under way."""
        self.in_flight.count -= 1
        self.wake_one()

    def wake_one(self) -> None:
        """Let the next one look whether it may depart; at the end of a run it wakes the others."""
        while self._departing:
            waiting = self._departing.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _say_why(self, wait: float, now: float) -> None:
        """Tell what a longer wait is for; one that is no use ends the run."""
        hopeless = self.rate.hopeless_for(now)
        if hopeless is not None and self.circuits.end is None:
            at = dt.datetime.now() + dt.timedelta(seconds=hopeless)
            self.circuits.end = End(
                kind=EndKind.RATE_LIMITED,
                message="Incarts answers nothing but 429: a quota is used up that lasts longer "
                f"than a run waits ({self.circuits.accepted:,} requests of this one succeeded).",
                fix=f"Run again at {at:%Y-%m-%d %H:%M} or later: rows are pending, none is lost.",
            )
            self.stop.request(Reason.CIRCUIT_OPEN)
        elif wait > 1.0:
            self.metrics.waiting = self.rate.waiting_for(now) or self.circuits.reason

    def heard(
        self,
        answer: Answer,
        retailer: str,
        intent: str,
        *,
        state: State,
        sent_at: float,
        retry: bool,
    ) -> None:
        """Learn from an answer that led to a state; one after which going on is no use ends all."""
        now = self.clock.monotonic()
        self.rate.answered(answer, sent_at=sent_at, now=now)
        self.in_flight.took(now - sent_at)
        self.circuits.answered(answer, retailer, intent, now, retry=retry)
        is_trouble = answer.kind is AnswerKind.RATE_LIMITED or self.circuits.wait(now) > 0
        if is_trouble and sent_at >= self._void_before:  # else it left before we knew
            self._void_before = now
        self.metrics.answered(
            answer,
            state,
            latency=now - sent_at,
            now=now,
            limit=self.rate.learned,
            pace=self.rate.pace,
        )
        if answer.echoed_id not in (None, answer.correlation_id):
            logger.warning(
                "correlation id %s came back as %s", answer.correlation_id, answer.echoed_id
            )
        if self.circuits.end is not None:
            self.stop.request(Reason.CIRCUIT_OPEN)

    def end_for_ledger(self, error: LedgerError) -> None:
        """End the run: nothing may be sent that can't be recorded."""
        self.end(EndKind.LEDGER, error.message, error.fix or "Run again.", Reason.STOPPED)

    def end(self, kind: EndKind, message: str, fix: str, reason: Reason) -> None:
        """End the run; the first end is the one that is told."""
        if self.circuits.end is None:
            self.circuits.end = End(kind=kind, message=message, fix=fix)
        self.stop.request(reason)
