"""What the server accepted between instants at which it was known to be exhausted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_LONG_RUN, _LONG_RUN_FROM = 3.0, 20.0  # times the longest block, in seconds at least
ENOUGH = 300  # acknowledgements that settle a bucket's rate
_ENOUGH_SECONDS = 30.0  # and what does for a slow one, with
_ENOUGH_SLOW = 100


@dataclass(slots=True)
class Meter:
    """Counts accepted requests; times in seconds, rates in requests a second."""

    accepted: int = 0
    # Short blocks: exhausted at that instant, with so many accepted until then.
    empty_at: float | None = None
    empty_count: int = 0
    last_empty: tuple[float, int] | None = None  # the same, kept while cruising
    sum_accepted: int = 0
    sum_seconds: float = 0.0
    # Long blocks: the window was reset when so many had been accepted.
    reset_count: int | None = None
    # All of a stretch without estimate: a sliding window gives back as unevenly as it was used.
    horizon: float = 0.0
    horizon_count: int = 0
    longest: float = 0.0  # block in it
    first_empty: tuple[float, int] | None = None  # when exhausted first in it, and count

    def stretch(self, began: float) -> float | None:
        """Add the stretch since the server was last exhausted; return the rough rate."""
        if self.empty_at is not None:
            self.sum_accepted += self.accepted - self.empty_count
            self.sum_seconds += began - self.empty_at
        self.empty_at, self.empty_count = began, self.accepted
        self.last_empty = began, self.accepted
        if self.sum_seconds <= 0 or self.sum_accepted < 3:
            return None
        return self.sum_accepted / self.sum_seconds

    def exact(self, began: float, most: float) -> float | None:
        """Return the rate since the server was last exhausted, if that is a long while ago.

        With more than `most` accepted since, a bucket may have been full, and let some go to waste.
        """
        if self.last_empty is None:
            return None
        since, before = self.last_empty
        count = self.accepted - before
        return count / (began - since) if ENOUGH <= count <= most else None

    def forget_stretch(self) -> None:
        """Begin anew to measure between short blocks."""
        self.empty_at = None
        self.sum_accepted, self.sum_seconds = 0, 0.0

    def is_enough(self) -> bool:
        """Say whether the stretches are long enough to believe their rate."""
        slow = self.sum_seconds > _ENOUGH_SECONDS and self.sum_accepted > _ENOUGH_SLOW
        return slow or self.sum_accepted >= ENOUGH

    def was_empty(self, last_refused: float, length: float) -> None:
        """Note a block of so many seconds, for the long run: a longer one begins it anew."""
        if self.first_empty is None or length > 2 * self.longest + 1:
            self.first_empty = (last_refused, self.accepted)

    def long_run(self, began: float) -> float | None:
        """Return what was accepted over so long a time that how the server counts is all one."""
        if self.first_empty is None:
            return None
        since, before = self.first_empty
        long = _LONG_RUN * max(self.longest, _LONG_RUN_FROM)
        if began - since < long or self.accepted - before < ENOUGH:
            return None
        return (self.accepted - before) / (began - since)

    def settled(self) -> None:
        """Forget what led to an estimate."""
        self.forget_stretch()
        self.longest, self.first_empty = 0.0, None

    def begin(self, now: float) -> None:
        """Begin to look for a limit: from here on nothing is known."""
        self.last_empty = None
        self.horizon, self.horizon_count = now, self.accepted
        self.longest, self.first_empty = 0.0, None

    def floor(self, now: float) -> float:
        """Return what was accepted on average since nothing is known, once a window was seen."""
        if self.reset_count is None:
            return 0.0
        return (self.accepted - self.horizon_count) / max(now - self.horizon, 1.0)
