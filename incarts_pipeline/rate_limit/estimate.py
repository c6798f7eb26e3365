"""Estimate: how long a run will take, as far as anybody can know before it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from incarts_pipeline.rate_limit.course import FIRST, STEP_UP
from incarts_pipeline.rate_limit.limit import Learned, LimitKind


@dataclass(frozen=True, slots=True)
class ExpectedPace:
    """What a run may count on, in requests a second.

    The pace begins at `first`, and is doubled each second until it is `rate`.
    """

    rate: float
    first: float

    def seconds(self, requests: int) -> float:
        """Return the seconds that so many requests take, their answers aside."""
        # Doubling since the first makes first × (2^t - 1) within t seconds.
        on_the_way = min(requests, self.rate - self.first)
        return math.log2(on_the_way / self.first + 1) + (requests - on_the_way) / self.rate

    def requests(self, seconds: float) -> int:
        """Return the requests that so many seconds are enough for."""
        climb = math.log2(self.rate / self.first)
        on_the_way = self.first * (2 ** min(seconds, climb) - 1)
        # What takes so long has to fit in it, whatever the last digit of a float says.
        return math.floor(on_the_way + max(0.0, seconds - climb) * self.rate + 1e-6)


def expected_pace(ceiling: float | None, learned: Learned | None) -> ExpectedPace | None:
    """Return what the controller will do under a ceiling; None when nobody knows the end of it.

    A limit that was met is where it begins; from one that was not, or from nothing, it climbs on.
    How far, nobody knows without a ceiling: then the pace that was reached is counted on.
    """
    if learned is not None and (ceiling is None or learned.kind is not LimitKind.OPEN):
        rate = learned.rate if ceiling is None else min(learned.rate, ceiling)
        return ExpectedPace(rate, rate)
    if ceiling is None:
        return None
    return ExpectedPace(ceiling, min(STEP_UP * learned.rate if learned else FIRST, ceiling))
