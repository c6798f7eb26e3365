"""Rate limiters of the usual kinds, with the time in seconds as an argument."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from incarts_pipeline.sandbox.config import Limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass; seconds until the next may, and how many are left."""

    allowed: bool
    wait: float
    remaining: int


@dataclass(slots=True)
class Limiter:
    """One limit for one client."""

    limit: Limit
    _times: deque[float] = field(default_factory=deque)
    _start: float = -math.inf
    _count: int = 0
    _previous: int = 0
    _tokens: float | None = None
    _filled: float = 0.0

    def check(self, now: float, *, count_refused: bool) -> Verdict:
        """Count one request and say whether it may pass."""
        match self.limit.kind:
            case "fixed":
                return self._window(now, math.floor(now / self.limit.seconds), count_refused)
            case "anchored":
                if now >= self._start + self.limit.seconds:
                    self._start, self._count = now, 0
                return self._counted(self._start + self.limit.seconds - now, count_refused)
            case "sliding_log":
                return self._log(now, count_refused)
            case "sliding_counter":
                return self._counter(now, count_refused)
            case "bucket":
                return self._bucket(now, count_refused)
        raise ValueError(f"there is no limit of kind {self.limit.kind!r}")

    def _window(self, now: float, number: int, count_refused: bool) -> Verdict:
        start = number * self.limit.seconds
        if start != self._start:
            self._start, self._count = start, 0
        return self._counted(start + self.limit.seconds - now, count_refused)

    def _counted(self, until_reset: float, count_refused: bool) -> Verdict:
        allowed = self._count < self.limit.requests
        self._count += allowed or count_refused
        return Verdict(allowed, until_reset, max(0, self.limit.requests - self._count))

    def _log(self, now: float, count_refused: bool) -> Verdict:
        while self._times and self._times[0] <= now - self.limit.seconds:
            self._times.popleft()
        allowed = len(self._times) < self.limit.requests
        wait = self._times[0] + self.limit.seconds - now if self._times else 0.0
        if allowed or count_refused:
            self._times.append(now)
        return Verdict(allowed, wait, max(0, self.limit.requests - len(self._times)))

    def _counter(self, now: float, count_refused: bool) -> Verdict:
        number = math.floor(now / self.limit.seconds)
        if number != self._start:
            self._previous = self._count if number == self._start + 1 else 0
            self._start, self._count = number, 0
        into = now / self.limit.seconds - number
        weight = self._count + self._previous * (1 - into)
        allowed = weight + 1 <= self.limit.requests
        self._count += allowed or count_refused
        wait = self.limit.seconds * (1 - into)
        if self._previous and self._count < self.limit.requests:
            over = weight + 1 - self.limit.requests
            wait = over / self._previous * self.limit.seconds
        return Verdict(allowed, max(0.0, wait), max(0, math.floor(self.limit.requests - weight)))

    def _bucket(self, now: float, count_refused: bool) -> Verdict:
        size = float(self.limit.burst or self.limit.requests)
        rate = self.limit.requests / self.limit.seconds
        if self._tokens is None:
            self._tokens, self._filled = size, now
        self._tokens = min(size, self._tokens + (now - self._filled) * rate)
        self._filled = now
        allowed = self._tokens >= 1
        if allowed:
            self._tokens -= 1
        elif count_refused:
            self._tokens = max(-size, self._tokens - 1)
        return Verdict(allowed, max(0.0, (1 - self._tokens) / rate), max(0, int(self._tokens)))


def hint_headers(hints: str, limit: Limit, verdict: Verdict, now: float) -> dict[str, str]:
    """Return the headers that a server of this kind sends; waits are rounded up, as servers do."""
    seconds = str(math.ceil(verdict.wait))
    refused = not verdict.allowed
    match hints:
        case "retry_after":
            return {"retry-after": seconds} if refused else {}
        case "retry_after_date":
            import email.utils  # rarely asked for

            date = email.utils.formatdate(math.ceil(now + verdict.wait), usegmt=True)
            return {"retry-after": date} if refused else {}
        case "ratelimit":
            return {
                "ratelimit": f'"default";r={verdict.remaining};t={seconds}',
                "ratelimit-policy": f'"default";q={limit.requests};w={math.ceil(limit.seconds)}',
            }
        case "x_ratelimit":
            return {
                "x-ratelimit-limit": str(limit.requests),
                "x-ratelimit-remaining": str(verdict.remaining),
                "x-ratelimit-reset": seconds,
            }
    return {}
