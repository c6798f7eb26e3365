"""Concurrency limit: a cap on the requests under way; what holds them back is the pace. Pure.

By Little's law, a pace of n a second with answers after t seconds keeps n × t requests under way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from incarts_pipeline.settings import MOST

_AHEAD, _AHEAD_MOST = 4, 64  # beyond what comes due meanwhile, and in all
_UNKNOWN = 32  # while no pace is known
_FEWEST = 8
_SPARE, _MORE = 1.5, 4  # times what the pace needs, and so many more
_SMOOTHING = 0.1


@dataclass(slots=True)
class ConcurrencyLimit:
    """Counts what is under way; `most` None derives the cap from pace and latency in seconds."""

    most: int | None = None
    count: int = 0
    latency: float | None = None
    ready_in: float = 0.0  # seconds that making ready takes

    def cap(self, pace: float | None) -> int:
        """Return how many may be under way at a pace in requests a second."""
        if self.most is not None:
            return self.most
        if pace is None or self.latency is None:
            return _UNKNOWN
        # With some to spare: when answers get slower all at once, the pace is still held.
        needed = math.ceil(min(_SPARE * pace * self.latency, MOST))
        return min(max(needed + _MORE, _FEWEST), MOST)

    def is_full(self, pace: float | None) -> bool:
        """Say whether as many are under way as may be."""
        return self.count >= self.cap(pace)

    def ahead(self, cap: int) -> int:
        """Return how many may make ready beside `cap` under way: what comes due until they have.

        Only that many, so that nobody who is ready has to wait long for those under way.
        """
        needed = cap * self.ready_in / self.latency if self.latency else 0.0
        return min(_AHEAD + int(needed), _AHEAD_MOST)

    def made_ready(self, seconds: float) -> None:
        """Note how long making ready took."""
        self.ready_in += _SMOOTHING * (seconds - self.ready_in)

    def took(self, seconds: float) -> None:
        """Note how long an answer took."""
        last = seconds if self.latency is None else self.latency
        self.latency = last + _SMOOTHING * (seconds - last)
