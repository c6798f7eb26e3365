"""Limit: what is learned of it, the phases of learning, and the protocol of what paces by it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from incarts_pipeline.rate_limit.signals import Signal


class LimitKind(StrEnum):
    """How the server seems to count."""

    WINDOW = "window"
    BUCKET = "bucket"
    IN_FLIGHT = "in_flight"  # requests that are under way at once
    SEVERAL = "several"  # servers that count by themselves
    OPEN = "open"  # no limit was met


_LEAST, _MOST = 1e-6, 1e9  # requests a second, and seconds, of a limit that can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the limit was measured to be; `window` in seconds is None unless it is one.

    `budget` is requests per window, of a bucket what it holds, else what may be under way at once;
    `burst` is the pace in requests a second that was fine as long as there was room.
    """

    kind: LimitKind
    rate: float  # requests a second
    budget: int | None = None
    window: float | None = None
    burst: float | None = None

    @property
    def is_sensible(self) -> bool:
        """Whether a limit can be so; what was kept somewhere may be damaged."""
        is_window = self.kind is LimitKind.WINDOW
        is_whole = self.budget is None or self.budget >= 1
        numbers = [one for one in (self.rate, self.window, self.burst) if one is not None]
        if not is_whole or not all(_LEAST < one < _MOST for one in numbers):
            return False
        return is_window == (self.window is not None) and not (is_window and self.budget is None)

    def __str__(self) -> str:
        if self.kind is LimitKind.OPEN:
            return f"none met up to {self.rate:.3g} requests a second"
        if self.kind is LimitKind.IN_FLIGHT:
            return f"{self.budget} requests at once"
        if self.kind is LimitKind.SEVERAL:
            return f"about {self.rate:.3g} requests a second, of servers that count by themselves"
        if self.window is None:
            return f"about {self.rate:.3g} requests a second"
        return f"{self.budget:,} requests per {self.window:g} s"


# Seconds that are as good as none: a clock that counts from the boot may not be able to tell less,
# and whoever waited so long would ask at the same instant for ever.
NO_TIME = 1e-6
NEVER = -1e18  # seconds: before everything, and unlike an infinity it can be written as JSON


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait: what was said, as the server's words or ours, and the seconds until the next try."""

    said: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.said}; next try in {self.seconds:.0f} s"


class Pacer(Protocol):
    """Says when to send, and learns from the answers; all times are on one monotonic clock."""

    left: int | None  # requests that are still to be sent, None when nobody knows

    @property
    def learned(self) -> Learned | None:
        """What is known of the limit."""

    @property
    def pace(self) -> float | None:
        """Requests a second that this sender may count on now, None when nobody knows."""

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""

    def answered(self, signal: Signal, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""

    def hopeless_for(self, now: float, /) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run."""

    def waiting_for(self, now: float, /) -> Wait | None:
        """Say what is being waited for, None when nothing is."""


class Phase(StrEnum):
    """What the controller is about."""

    START = "start"  # faster and faster, until there is a limit
    MEASURE = "measure"  # a limit was met: how high is it?
    CRUISE = "cruise"  # just below the limit
    PROBE = "probe"  # just above it: is it still there?
