"""Rate limiters of the usual kinds, with the time in seconds as an argument."""

from __future__ import annotations

import email.utils
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from incarts_pipeline.sandbox.config import Hints, Limit, LimitKind, Per


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a limiter says of a moment.

    `wait` is the time in seconds until a request may pass, 0 when one may now; `remaining` how
    many may pass now; `reset` the time in seconds until more may.
    """

    wait: float
    remaining: int
    reset: float


class Limiter(Protocol):
    """One limit for one client; times don't go back."""

    def read(self, now: float) -> Reading:
        """Return what the limiter says now."""

    def count(self, now: float) -> None:
        """Count a request."""


@dataclass(slots=True, kw_only=True)
class FixedWindow:
    """So many requests in each window, which the clock or the first request begins."""

    limit: Limit
    _start: float = -math.inf
    _count: int = 0

    def read(self, now: float) -> Reading:
        """Return what the limiter says now."""
        seconds = self.limit.seconds
        # Copies, since reading must not begin a window: only a request that counts does.
        count, start = self._count, self._start
        if now >= start + seconds:
            aligned = self.limit.kind is LimitKind.FIXED
            count, start = 0, math.floor(now / seconds) * seconds if aligned else now
        reset = max(0.0, start + seconds - now)
        remaining = max(0, self.limit.requests - count)
        return Reading(wait=0.0 if remaining else reset, remaining=remaining, reset=reset)

    def count(self, now: float) -> None:
        """Count a request."""
        seconds = self.limit.seconds
        if now >= self._start + seconds:
            aligned = self.limit.kind is LimitKind.FIXED
            self._start = math.floor(now / seconds) * seconds if aligned else now
            self._count = 0
        self._count += 1


@dataclass(slots=True, kw_only=True)
class SlidingLog:
    """So many requests in any stretch of the window's length."""

    limit: Limit
    _times: deque[float] = field(default_factory=deque)

    def read(self, now: float) -> Reading:
        """Return what the limiter says now."""
        # What is older than a window never counts again, so it is forgotten here.
        while self._times and self._times[0] <= now - self.limit.seconds:
            self._times.popleft()
        # When refused requests count too there may be more than the limit; the wait is then until
        # so many have left that one fits.
        over = len(self._times) - self.limit.requests
        wait = self._times[over] + self.limit.seconds - now if over >= 0 else 0.0
        first = self._times[0] if self._times else now
        reset = wait or first + self.limit.seconds - now
        return Reading(wait=wait, remaining=max(0, -over), reset=reset)

    def count(self, now: float) -> None:
        """Count a request."""
        self._times.append(now)


@dataclass(slots=True, kw_only=True)
class SlidingCounter:
    """An estimate of the sliding log from two counters, as Cloudflare described it in 2017.

    The last window counts with the share of it that a window ending now still reaches.
    """

    limit: Limit
    _number: int = 0
    _count: int = 0
    _previous: int = 0

    def read(self, now: float) -> Reading:
        """Return what the limiter says now."""
        self._roll(now)
        seconds, most = self.limit.seconds, self.limit.requests
        # How far into the window, 0 to 1; so much of the last one is out of reach by now.
        into = now / seconds - self._number
        # Rounding must not refuse the request that is due this very moment.
        remaining = max(0, math.floor(most - self._count - self._previous * (1 - into) + 1e-9))
        wait = 0.0 if remaining else self._wait(into) * seconds
        return Reading(wait=wait, remaining=remaining, reset=wait or (1 - into) * seconds)

    def _wait(self, into: float) -> float:
        """Return the wait in windows: in this one when the last one's share fades, or later."""
        most = self.limit.requests
        if self._count < most:
            # Solved for the moment at which exactly one more fits.
            return 1 - (most - 1 - self._count) / self._previous - into
        return 1 - into + max(0.0, 1 - (most - 1) / self._count)

    def count(self, now: float) -> None:
        """Count a request."""
        self._roll(now)
        self._count += 1

    def _roll(self, now: float) -> None:
        number = math.floor(now / self.limit.seconds)
        if number > self._number:
            # After a pause of more than a window, nothing reaches into this one.
            self._previous = self._count if number == self._number + 1 else 0
            self._number, self._count = number, 0


@dataclass(slots=True, kw_only=True)
class Bucket:
    """Tokens that fill up evenly to the burst; a refused request may owe up to one burst."""

    limit: Limit
    _tokens: float = math.inf
    # Full at the first request, whenever that is.
    _filled: float = -math.inf

    def read(self, now: float) -> Reading:
        """Return what the limiter says now."""
        self._fill(now)
        rate = self.limit.requests / self.limit.seconds
        remaining = max(0, math.floor(self._tokens + 1e-9))
        wait = 0.0 if remaining else (1 - self._tokens) / rate
        reset = wait or (self._size - self._tokens) / rate
        return Reading(wait=wait, remaining=remaining, reset=reset)

    def count(self, now: float) -> None:
        """Count a request."""
        self._fill(now)
        # Where refused requests count, a client that hammers pays for it, but not for ever.
        self._tokens = max(-self._size, self._tokens - 1)

    @property
    def _size(self) -> float:
        return float(self.limit.burst or self.limit.requests)

    def _fill(self, now: float) -> None:
        if now > self._filled:
            gained = (now - self._filled) * self.limit.requests / self.limit.seconds
            self._tokens, self._filled = min(self._size, self._tokens + gained), now


def limiter(limit: Limit) -> Limiter:
    """Return a fresh limiter of a limit's kind."""
    match limit.kind:
        case LimitKind.FIXED | LimitKind.ANCHORED:
            return FixedWindow(limit=limit)
        case LimitKind.SLIDING_LOG:
            return SlidingLog(limit=limit)
        case LimitKind.SLIDING_COUNTER:
            return SlidingCounter(limit=limit)
        case LimitKind.BUCKET:
            return Bucket(limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Whether a request may pass, and what the answer's headers say of it."""

    allowed: bool
    headers: dict[str, str]


class Limiters:
    """Limiters of all limits: a request passes when every one of them lets it."""

    def __init__(self, limits: Sequence[Limit], *, hints: Hints, count_refused: bool) -> None:
        self._limits = limits
        self._hints = hints
        self._count_refused = count_refused
        self._limiters: dict[tuple[int, str], Limiter] = {}

    def admit(self, now: float, owners: Mapping[Per, str]) -> Passage:
        """Count one request, and say whether it may pass.

        Args:
            now: seconds, never less than before.
            owners: whose request it is, by what limits count per.
        """
        limiters = [
            # A limiter for each key, project or address, made when it is first seen.
            self._limiters.setdefault((place, owners[limit.per]), limiter(limit))
            for place, limit in enumerate(self._limits)
        ]
        # All are read before any counts: a request that one of them refuses costs the others
        # nothing, unless refused ones count.
        allowed = all(one.read(now).wait <= 0 for one in limiters)
        if allowed or self._count_refused:
            for one in limiters:
                one.count(now)
        readings = [one.read(now) for one in limiters]
        headers = hint_headers(self._hints, self._limits, readings, now=now, allowed=allowed)
        return Passage(allowed=allowed, headers=headers)


def hint_headers(
    hints: Hints,
    limits: Sequence[Limit],
    readings: Sequence[Reading],
    *,
    now: float,
    allowed: bool,
) -> dict[str, str]:
    """Return the headers that a server of this kind sends; waits are rounded up, as servers do.

    Source: RFC 9110 section 10.2.3 for Retry-After; draft-ietf-httpapi-ratelimit-headers-10.

    Args:
        hints: which headers the server sends.
        limits: all of its limits.
        readings: what each of them says after this request.
        now: seconds since 1970.
        allowed: whether the request passed.
    """
    if not readings:
        return {}
    # The longest of them, since all have to let it pass.
    wait = max(one.wait for one in readings)
    match hints:
        case Hints.RETRY_AFTER:
            return {} if allowed else {"retry-after": str(math.ceil(wait))}
        case Hints.RETRY_AFTER_DATE:
            date = email.utils.formatdate(math.ceil(now + wait), usegmt=True)
            return {} if allowed else {"retry-after": date}
        case Hints.RATELIMIT:
            return _ratelimit(limits, readings)
        case Hints.X_RATELIMIT:
            # One set of headers for several limits: that of the one that binds first.
            place = min(
                range(len(limits)), key=lambda i: (readings[i].remaining, -readings[i].wait)
            )
            return {
                "x-ratelimit-limit": str(limits[place].requests),
                "x-ratelimit-remaining": str(readings[place].remaining),
                "x-ratelimit-reset": str(math.ceil(readings[place].reset)),
            }
        case Hints.NONE:
            return {}


def _ratelimit(limits: Sequence[Limit], readings: Sequence[Reading]) -> dict[str, str]:
    # The draft has one header for several policies, told apart by name.
    names = ["default", *(f"limit{place}" for place in range(2, len(limits) + 1))]
    states, policies = [], []
    for name, limit, reading in zip(names, limits, readings, strict=True):
        states.append(f'"{name}";r={reading.remaining};t={math.ceil(reading.reset)}')
        policies.append(f'"{name}";q={limit.requests};w={math.ceil(limit.seconds)}')
    return {"ratelimit": ", ".join(states), "ratelimit-policy": ", ".join(policies)}
