"""Sender: one attempt at an operation; mark it sent, send it, record the answer.

The order is what makes a link exactly once. The mark is on disk before a byte leaves, so whatever
ends the process in between, the ledger says that there may be a link, and the next run asks for it
with the same key and the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from incarts_pipeline.api import IncartsClient, endpoint_of, new_correlation_id
from incarts_pipeline.clock import Stamp
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.failpoints import Place, passing, passing_soon
from incarts_pipeline.kinds import kind_for
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
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.write.attempts import AttemptResult, Attempts
from incarts_pipeline.write.throttle import Slot, Throttle

logger = logger_of(__name__)

T = TypeVar("T")

GRACE_SECONDS = 20.0  # for what is in flight when the end is asked for
# After so many failures of a kind a run gives up: a doubt is the next run's to go on with, and what
# provably had no effect is pending.
MOST_FAILURES = {AttemptResult.IN_DOUBT: 8, AttemptResult.NO_EFFECT: 12}

_RESULTS = {State.IN_DOUBT: AttemptResult.IN_DOUBT, State.INTENDED: AttemptResult.NO_EFFECT}

_TOO_LATE = {
    Replay.TOO_OLD: "sent before, and too long ago to trust that Incarts still knows its key",
    Replay.KEY_ROTATED: "sent before under another API key, which Incarts may keep apart",
    Replay.CLOCK_JUMPED: "sent before, and the clock was changed: its age can't be trusted",
}


@dataclass(slots=True)
class Sender:
    """Makes attempts at the operations of a run; everything that it needs is passed in."""

    client: IncartsClient
    journal: Journal
    throttle: Throttle
    rule: ReplayRule

    def sending(self, operation: Operation) -> Sending:
        """Return the sending of an operation, of which no attempt is made yet."""
        known = list(operation.earlier_ids)
        return Sending(self, operation, operation.operation_state, known)

    def attempts(self) -> Attempts[Sending]:
        """Return what begins sendings as slots come free; those that leave together are marked."""
        return Attempts(self.throttle, most=MOST_FAILURES, grace=GRACE_SECONDS, prepare=self.mark)

    async def recorded(self, work: Callable[[sa.Connection], T]) -> T | None:
        """Run a piece of the ledger's work; when it can't be recorded, end the run: None."""
        try:
            return await self.journal.run(work)
        except LedgerError as error:
            self.throttle.end_for_ledger(error)
            return None

    async def mark(self, flight: Sequence[Sending]) -> Sequence[Sending]:
        """Mark the next attempt of each on disk; return those that may leave."""
        now = self.throttle.clock.now()
        allowed = [one for one in flight if one.may_be_sent(now)]
        if not allowed:
            return ()
        self.client.prepare()
        marks = [one.next_attempt(now) for one in allowed]
        try:
            ours = await self.journal.mark_sent(marks)
        except LedgerError as error:
            self.throttle.end_for_ledger(error)
            return ()
        for sending, sent, is_ours in zip(allowed, marks, ours, strict=True):
            # Otherwise another run has taken the operation over.
            sending.marked = sent if is_ours else None
        return [one for one in allowed if one.marked is not None]


@dataclass(slots=True)
class Sending:
    """One operation that is being sent; `attempt` is called until it is settled."""

    sender: Sender
    operation: Operation
    operation_state: OperationState
    attempts: list[str]  # correlation ids: whose answer may come
    marked: Sent | None = None  # the attempt that is on disk, and has not left

    @property
    def retailer(self) -> str:
        """The operation's."""
        return self.operation.retailer

    @property
    def intent(self) -> str:
        """The operation's."""
        return self.operation.intent

    async def attempt(self, slot: Slot) -> AttemptResult:
        """Make one attempt with an acquired slot; return what came of it.

        One that isn't marked with its flight is marked by itself.
        """
        if self.marked is None:
            await self.sender.mark([self])
        sent, self.marked = self.marked, None
        if sent is None:
            return AttemptResult.SETTLED
        passing(Place.MARKED)
        if not await slot.depart() or self._overslept(sent.at):
            return self._keep_back(sent)
        answer = await self._send(sent.correlation_id)
        self.attempts.append(sent.correlation_id)
        state = self._record(sent, answer)
        if slot.answered(answer, state=state):
            return AttemptResult.KEPT_BACK
        return _RESULTS.get(state, AttemptResult.SETTLED)

    def may_be_sent(self, now: Stamp) -> bool:
        """Say whether an attempt is allowed; a doubt that is past replaying goes to review."""
        first_sent = self.operation_state.first_sent
        if first_sent is None:
            return True
        # Sent before, so there may be a link. Once Incarts may have forgotten the key, sending it
        # again could make a second one.
        fingerprint = self.operation_state.api_key_fingerprint
        verdict = self.sender.rule.judge(first_sent, now, fingerprint)
        if verdict is Replay.ALLOWED:
            return True
        self.sender.journal.record(
            Outcome(
                operation=self.operation,
                state=State.NEEDS_REVIEW,
                at=now,
                error_code=verdict.value,
                error_message=_TOO_LATE[verdict],
            )
        )
        self.sender.throttle.metrics.settled(State.NEEDS_REVIEW)
        return False

    def next_attempt(self, now: Stamp) -> Sent:
        """Return the next attempt, as it is marked."""
        fingerprint = self.sender.rule.api_key_fingerprint
        self.operation_state = self.operation_state.sent(now, fingerprint)
        return Sent(
            operation=self.operation,
            number=self.operation_state.attempts,
            correlation_id=new_correlation_id(),
            api_key_fingerprint=fingerprint,
            at=now,
        )

    def _overslept(self, marked: Stamp) -> bool:
        """Say whether an attempt must not leave on its mark any more.

        While this process stood still, another may have taken over, or a doubt may have become too
        old to be sent again: the margins are for clocks and networks, and have no room for waits.
        """
        now = self.sender.throttle.clock.now()
        # The boot clock, because it goes on while a machine sleeps.
        if now.boot - marked.boot > min(LEASE_SECONDS, self.sender.rule.margin):
            return True
        state = self.operation_state
        return state.first_sent is not None and (
            self.sender.rule.judge(state.first_sent, now, state.api_key_fingerprint)
            is not Replay.ALLOWED
        )

    def _keep_back(self, sent: Sent) -> AttemptResult:
        """Record that an attempt didn't leave after all: the mark alone would be a doubt."""
        answer = Answer(
            kind=AnswerKind.NOT_SENT,
            correlation_id=sent.correlation_id,
            error_code="kept_back",
            error_message="the run ended, a 429 came, or the process stood still before it left",
        )
        self._record(sent, answer)
        return AttemptResult.KEPT_BACK

    async def _send(self, correlation_id: str) -> Answer:
        operation = self.operation
        self.sender.throttle.metrics.requests += 1
        passing_soon(Place.IN_FLIGHT)
        try:
            return await self.sender.client.post(
                endpoint_of(kind_for(operation.for_link_id)),
                operation.body,
                link_id=operation.for_link_id,
                idempotency_key=operation.idempotency_key,
                correlation_id=correlation_id,
                earlier=self.attempts,
                in_doubt=self.operation_state.doubtful,
            )
        except asyncio.CancelledError:
            # `sent` on disk means in doubt, which is just what a request cut off is.
            logger.warning(
                "cut off while in flight: %s",
                operation.idempotency_key,
                extra={"correlation_id": correlation_id},
            )
            raise

    def _record(self, sent: Sent, answer: Answer) -> State:
        """Record an answer and return the state that the operation is in now."""
        self.operation_state = self.operation_state.answered(answer.kind)
        state = self.operation_state.state
        # Not awaited: an answer that is lost with the process leaves the mark, and so a doubt.
        self.sender.journal.record(
            Outcome(
                operation=self.operation,
                state=state,
                at=self.sender.throttle.clock.now(),
                number=sent.number,
                answer=answer,
            )
        )
        return state
