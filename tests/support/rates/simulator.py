"""Workers that always have something to send, one limit: event by event, in simulated time."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.rate_limit.limit import Pacer
from incarts_pipeline.rate_limit.signals import NO_HINTS, Hints, Outcome, Signal
from incarts_pipeline.rate_limit.worker import Slots
from tests.support.rates.limiters import InFlight, Limiter

Hint = Callable[[float, bool], Hints]
Jitter = Callable[[random.Random], float]

_IN_FLIGHT = 256  # requests under way at once, over all workers
_STEP = 1.0  # seconds, to which it is told since when a limit is ridden
_STATE = TypeAdapter(Shared)

# Seconds that a request leaves late, and as many again that it is late on its way, by chance.
JITTERS: dict[str, Jitter] = {
    "0 to 50 ms": lambda dice: dice.uniform(0.0, 0.05),
    "10 ms, heavy tail": lambda dice: min(0.005 * dice.paretovariate(1.5), 0.5),
}


def no_jitter(_dice: random.Random) -> float:
    """Return no delay."""
    return 0.0


@dataclass(slots=True)
class Result:
    """When requests arrived that were accepted, and that were refused; and whose they were."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    by_worker: dict[int, list[float]] = field(default_factory=dict)  # when sent
    hopeless: list[float] = field(default_factory=list)  # when a lease would have ended a run

    def use(self, rate: float, since: float, until: float) -> float:
        """Return the share of a budget that was used between two instants."""
        used = bisect_right(self.accepted, until) - bisect_right(self.accepted, since)
        return used / (rate * (until - since))

    def refusals(self, since: float) -> float:
        """Return the share of the requests after an instant that were refused."""
        good, bad = _after(self.accepted, since), _after(self.refused, since)
        return bad / max(good + bad, 1)

    def fairness(self, since: float) -> float:
        """Return Jain's index over what the workers sent after an instant."""
        shares = [_after(sent, since) for sent in self.by_worker.values()]
        return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))

    def ridden_after(self, rate: float, since: float, until: float, span: float) -> float:
        """Return the seconds after `since` from which each `span` uses 95 %, to the end."""
        at = until - span
        while at > since and self.use(rate, at, at + span) >= 0.95:
            at -= _STEP
        return max(at + _STEP - since, 0.0)


def _after(times: list[float], since: float) -> int:
    return len(times) - bisect_right(times, since)


@dataclass(slots=True)
class _Worker:
    number: int
    pacer: Pacer
    latency: float
    free: int
    asks_at: float = float("inf")
    exchanges_at: float = float("inf")
    alive: bool = True


class Simulation:
    """One run of the simulation; `latency` is the round trip in seconds, on average.

    `jitter` comes on top of it twice: as senders leave, and on the way there.

    `rows` is how many requests there are in all, None for ever more; a share of `failing` is
    answered by a 5xx, which the limit counts if `failures_count`.

    `pacer` is what all workers ask: a controller, or the shared state that leases slots to them,
    which then is written as JSON and read again each `saved_every` exchanges; or what makes a
    pacer for each worker of its number.
    """

    def __init__(
        self,
        limiter: Limiter,
        pacer: Pacer | Shared | Callable[[int], Pacer],
        *,
        workers: int = 1,
        latency: float = 0.08,
        jitter: Jitter = no_jitter,
        seed: int = 1,
        hint: Hint = lambda _at, _accepted: NO_HINTS,
        saved_every: int = 500,
        rows: int | None = None,
        failing: float = 0.0,
        failures_count: bool = False,
    ) -> None:
        self.result = Result()
        self.rows, self._failing, self._failures_count = rows, failing, failures_count
        self.limiter, self._hint = limiter, hint
        self._works = limiter.seconds if isinstance(limiter, InFlight) else 0.0
        self.shared = pacer if isinstance(pacer, Shared) else None
        self._pacer = pacer
        self._dice, self._jitter = random.Random(seed), jitter
        self._saved_every, self._exchanges = saved_every, 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self.now, self._under_way = 0.0, 0
        self._workers: list[_Worker] = []
        for i in range(workers):
            spread = 0.5 + i / (workers - 1) if workers > 1 else 1.0
            self.join(latency * spread, _IN_FLIGHT // workers)

    @property
    def controller(self) -> RateController:
        """The controller as it is now."""
        found = self.shared.controller if self.shared else self._pacer
        assert isinstance(found, RateController)
        return found

    def join(self, latency: float = 0.08, in_flight: int = 32) -> int:
        """Let one more worker begin; return its number."""
        number = len(self._workers)
        pacer = self._pacer
        if callable(pacer):
            pacer = pacer(number)
        if isinstance(pacer, Shared):
            pacer = Slots(f"worker {number}", pacer.controller.ceiling, pacer.controller.learned)
        worker = _Worker(number=number, pacer=pacer, latency=latency, free=in_flight)
        self._workers.append(worker)
        self.result.by_worker[number] = []
        self._at(self.now, lambda now: self._ask(worker, now))
        return number

    def kill(self, number: int) -> None:
        """Let a worker die without a word."""
        self._workers[number].alive = False

    def run(self, seconds: float) -> Result:
        """Go on until `seconds`."""
        while self._events and self._events[0][0] <= seconds:
            self.now, _, happen = heapq.heappop(self._events)
            happen(self.now)
        self.now = seconds
        return self.result

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, happen))

    def _ask(self, worker: _Worker, now: float) -> None:
        worker.asks_at = float("inf")
        while worker.free and worker.alive and self._has_more(worker):
            wait = worker.pacer.ask(now)
            if wait > 0:
                self._ask_again(worker, now + wait)
                break
            worker.free -= 1
            self._send(worker, now)
        self._see_to_exchange(worker, now)

    def _has_more(self, worker: _Worker) -> bool:
        if self.rows is None:
            return True
        left = self.rows - len(self.result.accepted) - self._under_way
        worker.pacer.left = max(left // len(self._workers), 1)
        return left > 0

    def _ask_again(self, worker: _Worker, at: float) -> None:
        worker.asks_at = at
        self._at(at, lambda now: self._ask(worker, now) if worker.asks_at == at else None)

    def _send(self, worker: _Worker, now: float) -> None:
        self.result.by_worker[worker.number].append(now)
        # The ledger's mark comes in between.
        sent = now + self._dice.uniform(0.0, 0.002) + self._jitter(self._dice)
        there, back = (worker.latency * self._dice.uniform(0.35, 0.65) for _ in range(2))
        there += self._jitter(self._dice)

        self._under_way += 1

        def arrive(at: float) -> None:
            fails = self._failing > 0 and self._dice.random() < self._failing
            if fails and not self._failures_count:
                self.result.failed.append(at)
                signal, accepted = Signal(outcome=Outcome.UNKNOWN), False
            else:
                accepted = self.limiter.take(at)
                (self.result.accepted if accepted else self.result.refused).append(at)
                fails = fails and accepted
                outcome = Outcome.ACCEPTED if accepted else Outcome.REFUSED
                signal = Signal(
                    outcome=Outcome.UNKNOWN if fails else outcome, hints=self._hint(at, accepted)
                )

            def done(then: float) -> None:
                if accepted:
                    self.limiter.leave()
                self._at(then + back, lambda later: self._answer(worker, sent, signal, later))

            # What limits requests in flight holds them while they are at work.
            works = self._dice.uniform(0.5, 1.5) * self._works if accepted else 0.0
            self._at(at + works, done)

        self._at(sent + there, arrive)

    def _answer(self, worker: _Worker, sent: float, signal: Signal, now: float) -> None:
        worker.free += 1
        self._under_way -= 1
        if worker.alive:
            worker.pacer.answered(signal, sent_at=sent, now=now)
            self._ask(worker, now)

    # What a shared rate needs.

    def _see_to_exchange(self, worker: _Worker, now: float) -> None:
        if not isinstance(worker.pacer, Slots):
            return
        due = worker.pacer.due(now)
        if due is not None and now + due < worker.exchanges_at:
            at = worker.exchanges_at = now + due
            self._at(at, lambda then: self._tell(worker, at, then))

    def _tell(self, worker: _Worker, planned: float, now: float) -> None:
        assert isinstance(worker.pacer, Slots)
        if worker.exchanges_at != planned or not worker.alive:
            return
        report = worker.pacer.report(now)
        took = self._dice.uniform(0.0005, 0.004)
        self._at(now + took / 2, lambda then: self._exchange(worker, report, then, took / 2))

    def _exchange(self, worker: _Worker, report: Report, now: float, back: float) -> None:
        assert self.shared is not None
        lease = self.shared.exchange(report, now)
        if lease.hopeless is not None:
            self.result.hopeless.append(now)
        self._exchanges += 1
        if self._exchanges % self._saved_every == 0:
            self.shared = _STATE.validate_json(_STATE.dump_json(self.shared))

        def arrive(then: float) -> None:
            worker.exchanges_at = float("inf")
            if worker.alive:
                assert isinstance(worker.pacer, Slots)
                worker.pacer.take(lease, then)
                self._ask(worker, then)

        self._at(now + back, arrive)
