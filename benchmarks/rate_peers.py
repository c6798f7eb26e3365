"""What people use against an unknown limit, as pacers for the simulator; each keeps to itself.

All have 32 requests under way at most, and try again what was refused.
"""

from __future__ import annotations

import heapq
import random
from collections import deque

from incarts_pipeline.rate_limit.limit import Learned, Wait
from incarts_pipeline.rate_limit.signals import Outcome, Signal

IN_FLIGHT = 32


class Peer:
    """A number of tasks, each with one request: under way, or asleep after a 429."""

    learned: Learned | None = None
    left: int | None = None
    pace: float | None = None
    backs_off = True  # exponentially with full jitter, as tenacity's wait_random_exponential

    def __init__(self, number: int = 0) -> None:
        self._dice = random.Random(number)
        self._under_way: deque[int] = deque()  # refusals so far of each request, oldest first
        self._asleep: list[tuple[float, int]] = []  # until when, and refusals so far
        self._next_at = 0.0

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""
        wait = self._wait(now)
        if wait > 1e-9:
            return wait
        refused = 0
        if self._asleep and self._asleep[0][0] <= now:
            _, refused = heapq.heappop(self._asleep)
        elif len(self._under_way) + len(self._asleep) >= self._most():
            return max(self._asleep[0][0] - now, 1e-6) if self._asleep else 0.005
        self._under_way.append(refused)
        self._took(now)
        return 0.0

    def answered(self, signal: Signal, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""
        refused = self._under_way.popleft()
        if signal.outcome is Outcome.REFUSED:
            longest = min(60.0, 2.0**refused) if self.backs_off else 0.0
            heapq.heappush(self._asleep, (now + self._dice.uniform(0, longest), refused + 1))
            self._refused(sent_at, now)
        else:
            self._accepted(now)

    def hopeless_for(self, _now: float) -> float | None:
        """Never give up."""
        return None

    def waiting_for(self, _now: float) -> Wait | None:
        """Say nothing."""
        return None

    def _most(self) -> float:
        return IN_FLIGHT

    def _wait(self, _now: float) -> float:
        return 0.0

    def _took(self, now: float) -> None: ...
    def _accepted(self, now: float) -> None: ...
    def _refused(self, sent_at: float, now: float) -> None: ...


class Backoff(Peer):
    """Fixed concurrency, exponential backoff with jitter."""


class RateAimd(Peer):
    """Additive increase of the rate by 1/s each second, halved after a 429."""

    backs_off = False

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self._rate, self._changed, self._fell = 10.0, 0.0, 0.0

    def _wait(self, now: float) -> float:
        self._rate += now - self._changed
        self._changed = now
        return self._next_at - now

    def _took(self, now: float) -> None:
        self._next_at = max(now, self._next_at) + 1.0 / self._rate

    def _refused(self, sent_at: float, now: float) -> None:
        if sent_at >= self._fell:
            self._rate, self._fell = max(self._rate / 2, 0.5), now


class ConcurrencyAimd(Peer):
    """Netflix's concurrency-limits, AIMDLimit: 20 to 200, + 1 when used by half, × 0.9 at a drop.

    It says nothing of when to try again what was refused: that backs off as the others do.
    Source: https://github.com/Netflix/concurrency-limits
    """

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self._limit = 20.0

    def _most(self) -> float:
        return self._limit

    def _accepted(self, _now: float) -> None:
        if 2 * len(self._under_way) >= self._limit:
            self._limit = min(self._limit + 1, 200.0)

    def _refused(self, _sent_at: float, _now: float) -> None:
        self._limit = max(self._limit * 0.9, 20.0)


class Cubic(Peer):
    """Botocore's adaptive mode: a token bucket whose rate follows CUBIC once it was throttled.

    Source: https://github.com/boto/botocore, retries/adaptive.py and retries/throttling.py
    """

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self._rate: float | None = None  # no bucket before the first 429
        self._tokens, self._filled = 0.0, 0.0
        self._w_max, self._fell = 0.5, 0.0
        self._measured, self._count, self._bucket = 0.0, 0, 0.0

    def _wait(self, now: float) -> float:
        if self._rate is None:
            return 0.0
        self._tokens = min(max(self._rate, 1.0), self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate

    def _took(self, _now: float) -> None:
        if self._rate is not None:
            self._tokens -= 1

    def _measure(self, now: float) -> None:
        self._count += 1
        bucket = int(now * 2) / 2
        if bucket > self._bucket:
            current = self._count / (bucket - self._bucket)
            self._measured += 0.8 * (current - self._measured)
            self._count, self._bucket = 0, bucket

    def _accepted(self, now: float) -> None:
        self._measure(now)
        if self._rate is not None:
            k = (self._w_max * 0.3 / 0.4) ** (1 / 3)
            cubic = 0.4 * (now - self._fell - k) ** 3 + self._w_max
            self._set(min(cubic, 2.0 * self._measured))

    def _refused(self, _sent_at: float, now: float) -> None:
        self._measure(now)
        used = self._measured if self._rate is None else min(self._measured, self._rate)
        self._w_max, self._fell, self._filled = used, now, now
        self._set(used * 0.7)

    def _set(self, rate: float) -> None:
        self._rate = max(rate, 0.5)
        self._tokens = min(self._tokens, max(self._rate, 1.0))


PEERS = {
    "backoff": Backoff,
    "AIMD, rate": RateAimd,
    "AIMD, concurrency": ConcurrencyAimd,
    "CUBIC": Cubic,
}
