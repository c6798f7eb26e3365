"""One operation's life within a run: it entered the gate; record, depart, send, record, again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

import tenacity

from incarts_pipeline.api import IncartsClient, new_correlation_id
from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.failpoints import Place, passing, passing_soon
from incarts_pipeline.ledger import (
    LEASE_SECONDS,
    Journal,
    Operation,
    OperationState,
    Outcome,
    Replay,
    ReplayRule,
    Sent,
)
from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.sync import Stop
from incarts_pipeline.write.circuit_breaker import Circuits
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.throttle import Throttle

logger = logging.getLogger(__name__)

# A doubt is retried so often within one run; the next run goes on with it.
_DOUBT_ATTEMPTS = 8
# So are attempts that provably had no effect, a 429 aside: the row is pending then.
_VAIN_ATTEMPTS = 12
_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.25, max=20.0, jitter=0.25)


@dataclass(slots=True)
class _Life:
    """What changes while an operation is carried."""

    operation: Operation
    operation_state: OperationState
    doubts: int = 0
    vain: int = 0
    last: AnswerKind | None = None


@dataclass(slots=True)
class Sender:
    """Carries operations out; everything that it stands on is passed in."""

    client: IncartsClient
    journal: Journal
    throttle: Throttle
    rule: ReplayRule

    @property
    def stop(self) -> Stop:
        """The wish to end the run."""
        return self.throttle.stop

    @property
    def metrics(self) -> RunMetrics:
        """What the run has done so far."""
        return self.throttle.metrics

    @property
    def circuits(self) -> Circuits:
        """What makes going on useless."""
        return self.throttle.circuits

    @property
    def clock(self) -> Clock:
        """The clocks that the run goes by."""
        return self.throttle.clock

    async def carry(self, operation: Operation, entered_at: float) -> None:
        """Send an operation until it is settled, the run ends, or this run's patience does.

        `entered_at` is what the gate said when it let the operation in.
        """
        life = _Life(operation=operation, operation_state=operation.operation_state)
        # Nearly every operation is settled at the first go, so tenacity is set up only when needed.
        if await self._go(life, entered_at):
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
        await retrying(self._enter_and_go, life)

    def _is_over(self, life: _Life) -> bool:
        tired = life.doubts >= _DOUBT_ATTEMPTS or life.vain >= _VAIN_ATTEMPTS
        return tired or self.stop.requested

    def _wait(self, life: _Life, state: tenacity.RetryCallState) -> float:
        """After a 429 the rate says when; otherwise back off, with jitter."""
        return 0.0 if life.last is AnswerKind.RATE_LIMITED else _BACKOFF(state)

    async def _enter_and_go(self, life: _Life) -> bool:
        operation = life.operation
        entered_at = await self.throttle.enter(operation.retailer, operation.intent)
        return entered_at is not None and await self._go(life, entered_at)

    async def _go(self, life: _Life, entered_at: float) -> bool:
        """Make one attempt; return whether another one may be worth it."""
        try:
            now = self.clock.now()
            return self._may_go(life, now) and await self._attempt(life, now, entered_at)
        finally:
            self.throttle.leave(entered_at)

    def _may_go(self, life: _Life, now: Stamp) -> bool:
        """Say whether an attempt is allowed; a doubt that is past replaying goes to review."""
        first_sent = life.operation_state.first_sent
        if first_sent is None:
            return True
        verdict = self.rule.judge(first_sent, now, life.operation_state.api_key_fingerprint)
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
        self.metrics.settled(State.NEEDS_REVIEW)
        return False

    async def _attempt(self, life: _Life, now: Stamp, entered_at: float) -> bool:
        correlation_id = new_correlation_id()
        life.operation_state = life.operation_state.sent(now, self.rule.api_key_fingerprint)
        sent = Sent(
            operation=life.operation,
            number=life.operation_state.attempts,
            correlation_id=correlation_id,
            api_key_fingerprint=self.rule.api_key_fingerprint,
            at=now,
        )
        try:
            if not await self.journal.mark_sent(sent):
                return False
        except LedgerError as error:
            self.throttle.end_for_ledger(error)
            return False
        passing(Place.MARKED)
        if not await self.throttle.depart(entered_at):
            return self._keep_back(life, sent)
        try:
            if self._overslept(now):
                return self._keep_back(life, sent)
            sent_at = self.clock.monotonic()
            answer = await self._post(life.operation, correlation_id)
        finally:
            self.throttle.land()
        state = self._learn(life, sent, answer)
        self._tell(life, answer, state, sent_at)
        return state in (State.INTENDED, State.IN_DOUBT)

    def _keep_back(self, life: _Life, sent: Sent) -> bool:
        """Record that an attempt didn't leave after all; return whether to try again."""
        answer = Answer(
            kind=AnswerKind.NOT_SENT,
            correlation_id=sent.correlation_id,
            error_code="kept_back",
            error_message="the run ended, a 429 came, or the process stood still before it left",
        )
        self._record(life, sent, answer)
        life.last = AnswerKind.RATE_LIMITED  # no back-off: the gate says when
        return not self.stop.requested

    def _overslept(self, marked: Stamp) -> bool:
        """Say whether this process stood still since the mark, so that another may have taken over.

        By then the key may be older than the server's memory; nothing may leave on an old mark.
        """
        return self.clock.now().boot - marked.boot > min(LEASE_SECONDS, self.rule.margin)

    async def _post(self, operation: Operation, correlation_id: str) -> Answer:
        self.metrics.requests += 1
        passing_soon(Place.IN_FLIGHT)
        try:
            send = self.client.post_link
            if operation.for_link_id is not None:
                send = partial(self.client.post_qr_code, operation.for_link_id)
            return await send(
                operation.body,
                idempotency_key=operation.idempotency_key,
                correlation_id=correlation_id,
            )
        except asyncio.CancelledError:
            # `sent` on disk means in doubt, which is just what a request cut off is.
            logger.warning("cut off while in flight: %s", operation.idempotency_key)
            raise

    def _learn(self, life: _Life, sent: Sent, answer: Answer) -> State:
        """Record an answer and return the state that the operation is in now."""
        state = self._record(life, sent, answer)
        life.last = answer.kind
        if answer.kind is not AnswerKind.RATE_LIMITED:
            life.doubts += state is State.IN_DOUBT
            life.vain += state is State.INTENDED
        return state

    def _record(self, life: _Life, sent: Sent, answer: Answer) -> State:
        life.operation_state = life.operation_state.answered(answer.kind)
        state = life.operation_state.state
        self.journal.record(
            Outcome(
                operation=life.operation,
                state=state,
                at=self.clock.now(),
                number=sent.number,
                answer=answer,
            )
        )
        return state

    def _tell(self, life: _Life, answer: Answer, state: State, sent_at: float) -> None:
        operation = life.operation
        self.throttle.heard(
            answer,
            operation.retailer,
            operation.intent,
            state=state,
            sent_at=sent_at,
            retry=life.vain + life.doubts > 0,
        )


_TOO_LATE = {
    Replay.TOO_OLD: "sent before, and too long ago to trust that Incarts still knows its key",
    Replay.KEY_ROTATED: "sent before under another API key, which Incarts may keep apart",
    Replay.CLOCK_JUMPED: "sent before, and the clock was changed: its age can't be trusted",
}
