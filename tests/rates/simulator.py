"""Workers that always have something to send, one controller, one limit: event by event."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from incarts_pipeline.models import Answer, AnswerKind, RateHints
from incarts_pipeline.pacing.fixed import Pacer
from tests.rates.limiters import Limiter

_SLOTS = 256  # requests under way at once, over all workers


@dataclass(slots=True)
class Result:
    """When requests arrived that were accepted, and that were refused; and whose they were."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    by_worker: Counter[int] = field(default_factory=Counter)

    def use(self, rate: float, since: float, until: float) -> float:
        """Return the share of a budget that was used between two instants."""
        return sum(since < at <= until for at in self.accepted) / (rate * (until - since))

    def refusals(self, since: float) -> float:
        """Return the share of the requests after an instant that were refused."""
        good, bad = (sum(at > since for at in times) for times in (self.accepted, self.refused))
        return bad / max(good + bad, 1)


class Simulation:
    """One run of the simulation; `latency` is the round trip in seconds, on average."""

    def __init__(
        self,
        limiter: Limiter,
        pacer: Pacer,
        *,
        workers: int = 1,
        latency: float = 0.08,
        seed: int = 1,
        hint: Callable[[float], float | None] = lambda _: None,
    ) -> None:
        self.result = Result()
        self._limiter, self._pacer, self._hint = limiter, pacer, hint
        self._dice = random.Random(seed)
        spread = [0.5 + i / (workers - 1) if workers > 1 else 1.0 for i in range(workers)]
        self._latency = [latency * share for share in spread]
        self._free = deque(i for i in range(workers) for _ in range(_SLOTS // workers))
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self._asks_at = float("inf")
        self._at(0.0, self._ask)

    def run(self, seconds: float, change: Callable[[], None] | None = None) -> Result:
        """Go on until `seconds`, then change the world if asked to."""
        while self._events and self._events[0][0] <= seconds:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
        if change is not None:
            change()
        return self.result

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, happen))

    def _ask(self, now: float) -> None:
        if now < self._asks_at - 1e-12 and self._asks_at != float("inf"):
            return
        self._asks_at = float("inf")
        while self._free:
            wait = self._pacer.ask(now)
            if wait > 0:
                self._asks_at = now + wait
                self._at(self._asks_at, self._ask)
                return
            self._send(self._free.popleft(), now)

    def _send(self, worker: int, now: float) -> None:
        self.result.by_worker[worker] += 1
        sent = now + self._dice.uniform(0.0, 0.002)  # the ledger's mark comes in between
        there, back = (self._latency[worker] * self._dice.uniform(0.35, 0.65) for _ in range(2))

        def arrive(at: float) -> None:
            accepted = self._limiter.take(at)
            (self.result.accepted if accepted else self.result.refused).append(at)
            hint = None if accepted else self._hint(at)
            self._at(at + back, lambda then: self._answer(worker, sent, accepted, hint, then))

        self._at(sent + there, arrive)

    def _answer(
        self, worker: int, sent: float, accepted: bool, hint: float | None, now: float
    ) -> None:
        self._free.append(worker)
        answer = Answer(
            kind=AnswerKind.LINK if accepted else AnswerKind.RATE_LIMITED,
            correlation_id="",
            status=201 if accepted else 429,
            hints=RateHints(retry_after=hint),
        )
        self._pacer.answered(answer, sent_at=sent, now=now)
        self._asks_at = float("inf")
        self._ask(now)
