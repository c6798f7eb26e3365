"""Rate limits as servers keep them; time in seconds is an argument."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Limiter(Protocol):
    """A server's limit."""

    @property
    def rate(self) -> float: ...
    def take(self, now: float) -> bool: ...


class Fixed:
    """So many in a window that is aligned to the clock, or begins with its first request."""

    def __init__(self, n: int, window: float, *, anchored: bool = False) -> None:
        self.n, self.window, self.anchored = n, window, anchored
        self.began, self.count = float("-inf"), 0

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
        if now >= self.began + self.window:
            aligned = now - (now - 7.3) % self.window
            self.began, self.count = (now if self.anchored else aligned), 0
        if self.count >= self.n:
            return False
        self.count += 1
        return True

    @property
    def rate(self) -> float:
        """Return the requests a second that it lets through for good."""
        return self.n / self.window


class Bucket:
    """Refills at a rate, holds a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
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
        """Let a request through that arrives now, or refuse it."""
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        if len(self.log) >= self.n:
            return False
        self.log.append(now)
        return True

    @property
    def rate(self) -> float:
        """Return the requests a second that it lets through for good."""
        return self.n / self.window


class SlidingCounter:
    """This window, and the last one's share that still reaches into it."""

    def __init__(self, n: int, window: float) -> None:
        self.n, self.window, self.index, self.now_count, self.last = n, window, 0, 0, 0

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
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
        """Return the requests a second that it lets through for good."""
        return self.n / self.window


class Stacked:
    """Two limits at once."""

    def __init__(self, *parts: Fixed) -> None:
        self.parts = parts

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
        taken = [part.take(now) for part in self.parts]
        return all(taken)

    @property
    def rate(self) -> float:
        """Return the requests a second that it lets through for good."""
        return min(part.rate for part in self.parts)


class Counting(SlidingLog):
    """A sliding log in which refused requests count too, so that asking often keeps it full."""

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
        taken = super().take(now)
        if not taken:
            self.log.append(now)
        return taken


class Foreign:
    """A limit that somebody else uses too, evenly, at a rate of their own."""

    def __init__(self, limiter: Limiter, rate: float) -> None:
        self.limiter, self.foreign, self._at = limiter, rate, 0.0

    def take(self, now: float) -> bool:
        """Let a request through that arrives now, or refuse it."""
        while self._at < now:
            self.limiter.take(self._at)
            self._at += 1 / self.foreign
        return self.limiter.take(now)

    @property
    def rate(self) -> float:
        """Return the requests a second that it leaves."""
        return self.limiter.rate - self.foreign


def scale(limiter: Limiter, factor: float) -> None:
    """Change a limit while it is in force."""
    if isinstance(limiter, Bucket):
        limiter.rate *= factor
    elif isinstance(limiter, Fixed | SlidingLog | SlidingCounter):
        limiter.n = int(limiter.n * factor)
    else:
        raise TypeError(type(limiter))


LIMITERS = {
    "fixed 600/60 s": lambda: Fixed(600, 60),
    "anchored 600/60 s": lambda: Fixed(600, 60, anchored=True),
    "sliding log 600/60 s": lambda: SlidingLog(600, 60),
    "sliding counter 600/60 s": lambda: SlidingCounter(600, 60),
    "bucket 50/s burst 100": lambda: Bucket(50, 100),
    "bucket 50/s burst 1000": lambda: Bucket(50, 1000),
    "bucket 5/s burst 2": lambda: Bucket(5, 2),
    "10 per 1 s": lambda: Fixed(10, 1),
    "30 per 60 s": lambda: Fixed(30, 60),
    "20/s + 600/60 s": lambda: Stacked(Fixed(20, 1), Fixed(600, 60)),
}
