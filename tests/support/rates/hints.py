"""Hints as servers give them: true ones, and false ones of the usual kinds."""

from __future__ import annotations

import math
from collections.abc import Callable

from incarts_pipeline.rate_limit.signals import NO_HINTS, Hints, Policy
from tests.support.rates.limiters import Limiter, Windowed
from tests.support.rates.simulator import Hint

_DAY = 86_400.0  # seconds


def _none(_limiter: Limiter) -> Hint:
    return lambda _at, _accepted: NO_HINTS


def _retry_after(limiter: Limiter) -> Hint:
    """Retry-After, rounded up as servers do."""

    def hint(at: float, accepted: bool) -> Hints:
        return NO_HINTS if accepted else Hints(retry_after=math.ceil(limiter.left(at).reset))

    return hint


def _constant(seconds: float) -> Callable[[Limiter], Hint]:
    """Return the same Retry-After always."""

    def of(_limiter: Limiter) -> Hint:
        return lambda _at, accepted: NO_HINTS if accepted else Hints(retry_after=seconds)

    return of


def _milliseconds(limiter: Limiter) -> Hint:
    """Retry-After in milliseconds."""

    def hint(at: float, accepted: bool) -> Hints:
        return NO_HINTS if accepted else Hints(retry_after=math.ceil(limiter.left(at).reset * 1e3))

    return hint


def _policy(factor: float = 1.0, unit: float = 1.0) -> Callable[..., Hint]:
    """Return RateLimit and RateLimit-Policy with a limit times `factor`, in `unit` seconds."""

    def of(limiter: Limiter) -> Hint:
        window = limiter.window if isinstance(limiter, Windowed) else 1.0
        limit = round(limiter.rate * window * factor)

        def hint(at: float, _accepted: bool) -> Hints:
            left = limiter.left(at)
            used = limiter.rate * window - left.remaining
            policy = Policy(
                remaining=max(round(limit - used), 0) if isinstance(limiter, Windowed) else None,
                reset=math.ceil(left.reset * unit),
            )
            return Hints(policies=(policy,))

        return hint

    return of


def _two(limiter: Limiter) -> Hint:
    """A true policy beside a quota of 100,000 a day."""
    first, used = _policy()(limiter), 0

    def hint(at: float, accepted: bool) -> Hints:
        nonlocal used
        used += accepted
        quota = Policy(remaining=100_000 - used, reset=_DAY - at % _DAY)
        return Hints(policies=(quota, *first(at, accepted).policies))

    return hint


HINTS: dict[str, Callable[[Limiter], Hint]] = {
    "none": _none,
    "Retry-After": _retry_after,
    "Retry-After: 60 always": _constant(60.0),
    "Retry-After: 1 always": _constant(1.0),
    "Retry-After in ms": _milliseconds,
    "policy": _policy(),
    "policy of half": _policy(0.5),
    "policy of a tenth": _policy(0.1),
    "policy in ms": _policy(unit=1e3),
    "policy and a quota": _two,
}
