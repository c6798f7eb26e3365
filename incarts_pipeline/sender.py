"""One operation's life within a run: wait for a permit, record, send, record, perhaps again."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass, field

import tenacity

from incarts_pipeline.circuits import Circuits, End, EndKind
from incarts_pipeline.client import IncartsClient, new_correlation_id
from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.failpoints import Place, passing, passing_soon
from incarts_pipeline.in_flight import InFlight
from incarts_pipeline.ledger.claims import Operation
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.records import Outcome, Sent
from incarts_pipeline.ledger.runs import LEASE_SECONDS
from incarts_pipeline.ledger.states import Replay, ReplayRule, Standing
from incarts_pipeline.models import Answer, AnswerKind, Reason, State
from incarts_pipeline.pacing.pacer import Pacer
from incarts_pipeline.tally import Tally

logger = logging.getLogger(__name__)

# A doubt is retried so often within one run; the next run goes on with it.
_DOUBT_ATTEMPTS = 8
# So are attempts that provably had no effect, a 429 aside: the row is pending then.
_VAIN_ATTEMPTS = 12
_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.25, max=20.0, jitter=0.25)


class Stop:
    """The wish to end a run: set once, seen by everything that waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: Reason | None = None

    def request(self, reason: Reason) -> None:
        """Ask for the end; the first reason stays."""
        if self.reason is None:
            self.reason = reason
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or return early when the end is asked for."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return


@dataclass(slots=True)
class _Life:
    """What changes while an operation is carried."""

    operation: Operation
    standing: Standing
    doubts: int = 0
    vain: int = 0
    last: AnswerKind | None = None


@dataclass(slots=True)
class Sender:
    """Carries operations out; everything that it stands on is passed in."""

    client: IncartsClient
    journal: Journal
    rate: Pacer
    circuits: Circuits
    clock: Clock
    rule: ReplayRule
    stop: Stop
    tally: Tally
    in_flight: InFlight
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _landed: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, operation: Operation) -> None:
        """Send an operation until it is settled, the run ends, or this run's patience does."""
        life = _Life(operation=operation, standing=operation.standing)
        # Nearly every operation is settled at the first go, so tenacity is set up only when needed.
        if await self._go(life):
            await self._go_again(life)

    async def _go_again(self, life: _Life) -> None:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(bool),
            wait=lambda state: self._wait(life, state),
            stop=lambda _: self._is_over(life),
            sleep=self.stop.sleep,
            retry_error_callback=lambda _: None,
        )
        await self.stop.sleep(0.0 if life.last is AnswerKind.RATE_LIMITED else 0.25)
        await retrying(self._go, life)

    def _is_over(self, life: _Life) -> bool:
        tired = life.doubts >= _DOUBT_ATTEMPTS or life.vain >= _VAIN_ATTEMPTS
        return tired or self.stop.requested

    def _wait(self, life: _Life, state: tenacity.RetryCallState) -> float:
        """After a 429 the rate says when; otherwise back off, with jitter."""
        return 0.0 if life.last is AnswerKind.RATE_LIMITED else _BACKOFF(state)

    async def _go(self, life: _Life) -> bool:
        """Make one attempt; return whether another one may be worth it."""
        started_at = await self._permit(life.operation)
        if started_at is None:
            return False
        try:
            now = self.clock.now()
            return self._may_go(life, now) and await self._attempt(life, now)
        finally:
            self.in_flight.count -= 1
            self._landed.set()
            self.circuits.landed(started_at)

    async def _permit(self, operation: Operation) -> float | None:
        """Wait for a turn at the learned rate; return when it came, None for not at all."""
        async with self._turn:
            while not self.stop.requested:
                if self.circuits.is_open(operation.retailer, operation.intent):
                    return None
                if self.in_flight.count >= self.in_flight.cap(self.rate.pace):
                    self._landed.clear()
                    await self._landed.wait()
                    continue
                now = self.clock.monotonic()
                try:
                    wait = self.circuits.wait(now) or self.rate.ask(now)
                except LedgerError as error:
                    self.end_for_ledger(error)
                    return None
                if wait <= 0:
                    self.tally.waiting = ""
                    self.in_flight.count += 1
                    self.circuits.started(now)
                    return now
                self._say_why(wait, now)
                await self.stop.sleep(wait)
            return None

    def _say_why(self, wait: float, now: float) -> None:
        """Tell what a longer wait is for; one that is no use ends the run."""
        hopeless = self.rate.hopeless_for(now)
        if hopeless is not None and self.circuits.end is None:
            at = dt.datetime.now() + dt.timedelta(seconds=hopeless)
            self.circuits.end = End(
                kind=EndKind.RATE_LIMITED,
                message="Incarts answers nothing but 429: a quota is used up that lasts longer "
                f"than a run waits (this one made {self.circuits.accepted:,} links).",
                fix=f"Run again at {at:%Y-%m-%d %H:%M} or later: rows are pending, none is lost.",
            )
            self.stop.request(Reason.CIRCUIT_OPEN)
        elif wait > 1.0:
            self.tally.waiting = self.rate.waiting_for(now) or self.circuits.reason

    def _may_go(self, life: _Life, now: Stamp) -> bool:
        """Say whether an attempt is allowed; a doubt that is past replaying goes to review."""
        first_sent = life.standing.first_sent
        if first_sent is None:
            return True
        verdict = self.rule.judge(first_sent, now, life.standing.api_key_fingerprint)
        if verdict is Replay.ALLOWED:
            return True
        self.journal.record(
            Outcome(
                operation=life.operation,
                state=State.NEEDS_REVIEW,
                at=now,
                error_code=verdict.value,
                error_message=_TOO_LATE[verdict],
            )
        )
        self.tally.settled(State.NEEDS_REVIEW)
        return False

    async def _attempt(self, life: _Life, now: Stamp) -> bool:
        correlation_id = new_correlation_id()
        life.standing = life.standing.sent(now, self.rule.api_key_fingerprint)
        sent = Sent(
            operation=life.operation,
            number=life.standing.attempts,
            correlation_id=correlation_id,
            api_key_fingerprint=self.rule.api_key_fingerprint,
            at=now,
        )
        try:
            if not await self.journal.mark_sent(sent):
                return False
        except LedgerError as error:
            self.end_for_ledger(error)
            return False
        passing(Place.MARKED)
        sent_at = self.clock.monotonic()
        if self._overslept(now):
            answer = _overslept_answer(correlation_id)
        else:
            answer = await self._post(life.operation, correlation_id)
        return self._learn(life, sent, answer, sent_at)

    def _overslept(self, marked: Stamp) -> bool:
        """Say whether this process stood still since the mark, so that another may have taken over.

        By then the key may be older than the server's memory; nothing may leave on an old mark.
        """
        return self.clock.now().boot - marked.boot > min(LEASE_SECONDS, self.rule.margin)

    async def _post(self, operation: Operation, correlation_id: str) -> Answer:
        self.tally.requests += 1
        passing_soon(Place.IN_FLIGHT)
        try:
            return await self.client.post_link(
                operation.body,
                idempotency_key=operation.idempotency_key,
                correlation_id=correlation_id,
            )
        except asyncio.CancelledError:
            # `sent` on disk means in doubt, which is just what a request cut off is.
            logger.warning("cut off while in flight: %s", operation.idempotency_key)
            raise

    def _learn(self, life: _Life, sent: Sent, answer: Answer, sent_at: float) -> bool:
        """Record an answer and return whether to try again."""
        life.standing = life.standing.answered(answer.kind)
        state = life.standing.state
        self.journal.record(
            Outcome(
                operation=life.operation,
                state=state,
                at=self.clock.now(),
                number=sent.number,
                answer=answer,
            )
        )
        life.last = answer.kind
        if answer.kind is not AnswerKind.RATE_LIMITED:
            life.doubts += state is State.IN_DOUBT
            life.vain += state is State.INTENDED
        self._tell(life, answer, state, sent_at)
        return state in (State.INTENDED, State.IN_DOUBT)

    def _tell(self, life: _Life, answer: Answer, state: State, sent_at: float) -> None:
        monotonic = self.clock.monotonic()
        operation = life.operation
        self.rate.answered(answer, sent_at=sent_at, now=monotonic)
        self.in_flight.took(monotonic - sent_at, monotonic, self.clock.cpu())
        self.circuits.answered(
            answer,
            operation.retailer,
            operation.intent,
            monotonic,
            retry=life.vain + life.doubts > 0,
        )
        self.tally.answered(
            answer,
            state,
            latency=monotonic - sent_at,
            now=monotonic,
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
        if self.circuits.end is None:
            self.circuits.end = End(
                kind=EndKind.LEDGER, message=error.message, fix=error.fix or "Run again."
            )
        self.stop.request(Reason.STOPPED)


def _overslept_answer(correlation_id: str) -> Answer:
    return Answer(
        kind=AnswerKind.NOT_SENT,
        correlation_id=correlation_id,
        error_code="overslept",
        error_message="the process stood still before the request could leave",
    )


_TOO_LATE = {
    Replay.TOO_OLD: "sent before, and too long ago to trust that Incarts still knows its key",
    Replay.KEY_ROTATED: "sent before under another API key, which Incarts may keep apart",
    Replay.CLOCK_JUMPED: "sent before, and the clock was changed: its age can't be trusted",
}
