"""Controllers against limiters of every kind, in simulated time.

    python benchmarks/rate_simulator.py [--quick]
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from incarts_pipeline.models import Answer, AnswerKind, RateHints
from incarts_pipeline.rate_controller import RateController


class Fixed:
    """So many in a window that is aligned to the clock, or begins with its first request."""

    def __init__(self, n: int, window: float, *, anchored: bool = False) -> None:
        self.n, self.window, self.anchored = n, window, anchored
        self.began, self.count = float("-inf"), 0

    def take(self, now: float) -> bool:
        if now >= self.began + self.window:
            aligned = now - (now - 7.3) % self.window
            self.began, self.count = (now if self.anchored else aligned), 0
        if self.count >= self.n:
            return False
        self.count += 1
        return True

    @property
    def rate(self) -> float:
        return self.n / self.window


class Bucket:
    """Refills at a rate, holds a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class SlidingLog:
    """Every request counts for exactly one window's length."""

    def __init__(self, n: int, window: float) -> None:
        self.n, self.window, self.log = n, window, deque[float]()

    def take(self, now: float) -> bool:
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        if len(self.log) >= self.n:
            return False
        self.log.append(now)
        return True

    @property
    def rate(self) -> float:
        return self.n / self.window


class SlidingCounter:
    """This window, and the last one's share that still reaches into it."""

    def __init__(self, n: int, window: float) -> None:
        self.n, self.window, self.index, self.now_count, self.last = n, window, 0, 0, 0

    def take(self, now: float) -> bool:
        index = int(now / self.window)
        if index != self.index:
            self.last = self.now_count if index == self.index + 1 else 0
            self.index, self.now_count = index, 0
        share = 1 - (now / self.window - index)
        if self.last * share + self.now_count >= self.n:
            return False
        self.now_count += 1
        return True

    @property
    def rate(self) -> float:
        return self.n / self.window


class Stacked:
    """Two limits at once."""

    def __init__(self, *parts: Fixed) -> None:
        self.parts = parts

    def take(self, now: float) -> bool:
        return all([part.take(now) for part in self.parts])

    @property
    def rate(self) -> float:
        return min(part.rate for part in self.parts)


@dataclass
class Result:
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def simulate(server, controller, seconds: float, *, workers: int, latency: float = 0.08, seed: int = 1, change: Callable[[float, object], None] | None = None) -> Result:
    """Run always-hungry workers behind one controller."""
    dice = random.Random(seed)
    result = Result()
    events: list[tuple[float, int, str, tuple]] = []
    order = 0

    def push(at: float, what: str, *data: object) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, what, data))

    own = [latency * (0.5 + i / max(workers - 1, 1)) if workers > 1 else latency for i in range(workers)]
    free = deque(i for i in range(workers) for _ in range(max(2, 256 // workers)))
    push(0.0, "ask")
    asked_at = None
    while events:
        now, _, what, data = heapq.heappop(events)
        if now > seconds:
            break
        if what == "arrive":
            worker, sent, back = data
            if change:
                change(now, server)
            ok = server.take(now)
            push(now + back, "answer", worker, sent, ok)
            (result.accepted if ok else result.refused).append(now)
            continue
        if what == "answer":
            worker, sent, ok = data
            free.append(worker)
            kind = AnswerKind.LINK if ok else AnswerKind.RATE_LIMITED
            controller.answered(Answer(kind=kind, correlation_id="", status=201 if ok else 429, hints=RateHints()), sent_at=sent, now=now)
        elif asked_at is not None and now < asked_at - 1e-12:
            continue
        asked_at = None
        while free:
            wait = controller.ask(now)
            if wait > 0:
                asked_at = now + wait
                push(asked_at, "ask")
                break
            worker = free.popleft()
            there = own[worker] * dice.uniform(0.35, 0.65)
            push(now + there, "arrive", worker, now, own[worker] * dice.uniform(0.35, 0.65))
    return result


SERVERS = {
    "fixed 600/60 s": (lambda: Fixed(600, 60), 60),
    "anchored 600/60 s": (lambda: Fixed(600, 60, anchored=True), 60),
    "sliding log 600/60 s": (lambda: SlidingLog(600, 60), 60),
    "sliding counter 600/60 s": (lambda: SlidingCounter(600, 60), 60),
    "bucket 50/s burst 100": (lambda: Bucket(50, 100), 10),
    "bucket 50/s burst 1000": (lambda: Bucket(50, 1000), 10),
    "bucket 5/s burst 2": (lambda: Bucket(5, 2), 10),
    "10 per 1 s": (lambda: Fixed(10, 1), 10),
    "30 per 60 s": (lambda: Fixed(30, 60), 60),
    "20/s + 600/60 s": (lambda: Stacked(Fixed(20, 1), Fixed(600, 60)), 60),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=1800)
    options = parser.parse_args()
    print(f"{'server':26} {'workers':>7} {'use':>7} {'429s':>7} {'warm-up 429s':>13}  learned")
    for name, (make, window) in SERVERS.items():
        if options.only not in name:
            continue
        for workers in (1, 8):
            warm = 5 * window if window >= 60 else 60
            controller = RateController(100.0)
            server = make()
            result = simulate(server, controller, options.seconds, workers=workers)
            steady = sum(at > warm for at in result.accepted)
            bad = sum(at > warm for at in result.refused)
            use = steady / (server.rate * (options.seconds - warm))
            early = len(result.refused) - bad
            print(f"{name:26} {workers:7} {use:7.2%} {bad / (steady + bad):7.2%} {early:13}  {controller.learned}")


if __name__ == "__main__":
    main()
