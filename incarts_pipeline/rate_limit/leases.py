"""Leases: one rate for all processes of an API key, as send slots and reports of answers. Pure.

A process asks about ten times a second for as many slots as it can use, and tells what it heard.
So a request costs no lock of its own, and what a process that dies can waste is a lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.limit import NEVER, Learned, Phase, Wait
from incarts_pipeline.rate_limit.signals import Signal

HORIZON = 0.2  # seconds of sending that are leased at once
POLL = 0.25  # seconds after which one that got nothing asks again, at the latest
_ALIVE = 2.0  # seconds without a word, after which a worker has no share
_LEAD = 3  # slots that a worker may be ahead of another that wants some; more if it takes 2 s
_TURN = 30.0  # seconds until what can't be shared equally goes to others
_MAKE_WAY = 0.05  # seconds that it then waits


class Heard(NamedTuple):
    """An answer, when its request left and when it came."""

    signal: Signal
    sent_at: float
    now: float
    canary: bool
    full: bool = False  # whether this sender had as many under way as it may


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells and wants: `wants` slots, at no more than `ceiling` a second in all.

    `left` is how many requests it still has to send, None when nobody knows.
    """

    worker: str
    ceiling: float | None
    heard: Sequence[Heard]
    wants: int
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """When the worker may send; `wait` is the seconds until it may ask again.

    `canary`: the only slot is the one request that tries a limit which was exhausted.
    """

    slots: Sequence[float]
    canary: bool
    wait: float
    pace: float | None  # requests a second, this worker's share
    learned: Learned | None
    hopeless: float | None
    waiting: Wait | None
    most: int | None = None  # requests that this worker may have under way


@dataclass(slots=True)
class Worker:
    """One process at work: its ceiling, when it was last heard of, and the slots that it got."""

    ceiling: float | None
    seen: float
    served: int
    wants: bool = False
    wanted_at: float = NEVER
    left: int | None = None


@dataclass(slots=True)
class Shared:
    """The state that all processes of a key share; plain enough to be written as JSON."""

    controller: RateController
    workers: dict[str, Worker] = field(default_factory=dict)
    wanted_at: float = NEVER  # when anybody wanted to send last
    latest: float = NEVER  # time that was ever heard of: it never goes back

    def exchange(self, report: Report, now: float) -> Lease:
        """Take in what a worker heard, and lease slots to it."""
        now = self.latest = max(now, self.latest)
        self._attend(report, now)
        controller = self.controller
        # First what was heard: a 429 in it must stop the very lease that is made now.
        for one in report.heard:
            controller.answered(
                one.signal,
                sent_at=one.sent_at,
                now=one.now,
                canary=one.canary,
                full=one.full,
            )
        served = [worker.served for worker in self.workers.values() if worker.wants]
        share = controller.speed / max(1, len(served))
        slots, canary, wait = (
            self._lease(report, now, share, min(served)) if report.wants else ([], False, POLL)
        )
        self.workers[report.worker].served += len(slots)
        return Lease(
            slots=slots,
            canary=canary,
            wait=wait,
            pace=share,
            learned=controller.learned,
            hopeless=controller.hopeless_for(now),
            waiting=controller.waiting_for(now),
            most=self._most(report.worker, now),
        )

    def is_at_work(self, now: float) -> bool:
        """Say whether any worker was heard of just now."""
        return any(now - worker.seen < _ALIVE for worker in self.workers.values())

    def _attend(self, report: Report, now: float) -> None:
        """Keep the list of workers, and note when nobody wanted to send for a while."""
        for name in [name for name, one in self.workers.items() if now - one.seen >= _ALIVE]:
            del self.workers[name]
        # Who comes new begins where the least served is, and is not owed what was given out before.
        least = min([one.served for one in self.workers.values() if one.wants], default=0)
        worker = self.workers.setdefault(report.worker, Worker(report.ceiling, now, least))
        if report.wants and not worker.wants:
            worker.served = max(worker.served, least)  # who wanted nothing has nothing coming
        worker.ceiling, worker.seen, worker.wants = report.ceiling, now, report.wants > 0
        worker.left = report.left
        # The politest of the processes at work speaks for all: they share one key.
        controller = self.controller
        ceilings = [one.ceiling for one in self.workers.values() if one.ceiling is not None]
        controller.ceiling = min(ceilings, default=None)
        lefts = [one.left for one in self.workers.values() if one.wants]
        controller.left = None if None in lefts else sum(left or 0 for left in lefts)
        if report.wants and now - self.wanted_at > _ALIVE:
            controller.interrupted(now)
        if report.wants:
            self.wanted_at = worker.wanted_at = now

    def _most(self, name: str, now: float) -> int | None:
        """Return a worker's share of what may be under way; what is left over goes in turns."""
        most = self.controller.cap.most
        if most is None:
            return None
        names = sorted(one for one, at in self.workers.items() if now - at.wanted_at < _ALIVE)
        if name not in names:
            return 1
        turn = (names.index(name) + int(now / _TURN)) % len(names)
        return most // len(names) + (turn < most % len(names))

    def _horizon(self) -> float:
        """Return the seconds of sending that are leased: few where a 429 may come any time."""
        # What other processes hold leaves even if a 429 comes here meanwhile; so while a limit is
        # looked for, less is leased.
        controller = self.controller
        is_safe = not controller.learns or controller.phase is Phase.CRUISE
        is_safe |= controller.cap.most is not None
        return HORIZON if is_safe else HORIZON * 0.3

    def _lease(
        self, report: Report, now: float, share: float, least: int
    ) -> tuple[list[float], bool, float]:
        """Return slots, whether they are the canary's, and the seconds until asking again."""
        # Who is ahead makes way for a moment, so that shares even out without a queue.
        lead = self.workers[report.worker].served - least
        if lead > max(_LEAD, share * _ALIVE) and self.controller.cap.most is None:
            return [], False, _MAKE_WAY
        horizon = self._horizon()
        most = min(report.wants, max(1, round(share * horizon)))
        slots: list[float] = []
        at = now
        # The controller is asked as of the time at which each slot will be used, not of now.
        while len(slots) < most:
            wait = self.controller.permit(at)
            if wait > 0:
                at += wait
                if at > now + horizon:
                    return slots, False, min(at - now, POLL)
            elif self.controller.block:
                # A permit within a block is the canary's, and it goes alone.
                return [at], True, POLL
            else:
                slots.append(at)
        return slots, False, 0.0
