"""Headroom: how far above a limit to look for a higher one, and what proves that there is one.

Pure; times in seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.limit import Learned
from incarts_pipeline.rate_limit.meter import Meter

CRUISE = 0.997  # of the budget
MARGIN = 3.0  # requests by which counts may be wrong
_STEP, _LARGEST = 0.05, 0.25  # of the rate, that is tried above it
_SOON = 15.0  # seconds, in which a probe of a bucket is to tell
_WINDOWS = 1.1  # after which a window that holds no more would have been full
_BURST = 2.0  # seconds' worth of requests that a bucket holds, when nobody knows
_PATIENCE = 1.5  # times the time that a probe takes when its pace is made use of
_COST = 0.001  # of the requests that probing may have refused
_FIRST = 15.0  # seconds after which what was just measured is probed
_LONGEST, _LONGEST_FROM = 1.5, 60.0  # windows without a probe, of seconds at least


@dataclass(slots=True)
class Headroom:
    """What a server may still have in hand without having been raised."""

    burst: float = 0.0  # that a bucket may hold
    ramp: list[tuple[float, int]] = field(default_factory=list)  # the start: when, accepted
    slack: float = 0.0  # requests above the estimate that prove nothing in this probe
    refused: int = 0  # before this probe

    @property
    def most(self) -> float:
        """How many requests a bucket accepts at a cruise before it is half full."""
        return 0.5 * self.burst / (1.0 - CRUISE)

    def probe(self, learned: Learned, meter: Meter, now: float, *, even: bool) -> float:
        """Begin a probe; return the rate to try.

        `even`: the server gives evenly, so that what was accepted since it was last exhausted
        tells what it can have in hand; a window that is reset gives all at once.
        """
        window = learned.window
        step = learned.rate * _STEP
        # What a server may have in hand without a higher limit: a bucket its burst, a window what
        # it lets through above its rate until it is full.
        if window is None:
            most = 1.2 * self.burst or _BURST * learned.rate
        else:
            step = max(step, (MARGIN + 1.0) / window)
            most = _WINDOWS * window * step
        basis = learned.budget or meter.basis
        saved = meter.unused(learned.rate * (1.0 + MARGIN / basis), now) if even else None
        self.slack = most if saved is None else min(max(saved, 0.0), most)
        if window is None:
            soon = (self.slack + MARGIN) / _SOON
            step = min(max(step, soon), learned.rate * _LARGEST)
        self.refused = meter.refused
        return learned.rate + step

    def is_passed(self, learned: Learned, accepted: int, elapsed: float) -> bool:
        """Say whether so many in so many seconds are more than the estimate explains."""
        return accepted - learned.rate * elapsed > self.slack + MARGIN

    def lasts(self, learned: Learned, rate: float) -> float:
        """Return after how many seconds nobody made use of a probe, or it would have ended."""
        extra = max(rate - learned.rate, 0.01 * learned.rate)
        return _PATIENCE * (self.slack + MARGIN) / extra + 1.0

    def rests(self, learned: Learned, meter: Meter, last: float | None) -> float:
        """Return the seconds until the next probe: the more of this one was refused, the longer.

        `last` is how long it was until this one, None when the limit was just measured: then it may
        be on the move still.
        """
        longest = _LONGEST * max(learned.window or 0.0, _LONGEST_FROM)
        if last is None:
            return longest if learned.window else _FIRST
        # Probing may have one request in a thousand refused: a long rest follows a dear probe.
        cost = max(meter.refused - self.refused, 1) / _COST / learned.rate
        return min(cost, longest, 2.0 * last)

    def note_burst(self, learned: Learned | None, rate: float) -> None:
        """Estimate the burst: from the start, or because what looked like more was only that."""
        if learned is None and self.ramp:
            end, accepted = self.ramp[-1]
            self.burst = max(accepted - was - rate * (end - at) for at, was in self.ramp)
        elif learned is not None and rate < 0.99 * learned.rate:
            self.burst = 2.0 * max(self.burst, 5.0)
