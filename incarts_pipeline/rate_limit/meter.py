"""Meter: what the server accepted between instants at which it was known to be exhausted. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

_LONG_RUN, _LONG_RUN_FROM = 3.0, 30.0  # times the longest block, in seconds at least
ENOUGH = 300  # acknowledgements that settle a bucket's rate
_ENOUGH_SECONDS = 30.0  # and what does for a slow one, with
_ENOUGH_SLOW = 100
_FEWEST = 40  # that show whether it changed
_MISCOUNT = 6.0  # requests by which a count between two instants may be wrong
_LONGEST, _MOST = 3_000, 100  # requests, and instants, that are kept


@dataclass(slots=True)
class Meter:
    """Counts accepted requests; times in seconds, rates in requests a second."""

    accepted: int = 0
    refused: int = 0
    # Short blocks: exhausted at those instants, with so many accepted until then; oldest first.
    empties: list[tuple[float, int]] = field(default_factory=list)
    last_empty: tuple[float, int] | None = None  # the newest
    basis: int = ENOUGH  # requests that the rate between them stands on
    # Long blocks: the window was reset when so many had been accepted.
    reset_count: int | None = None
    # All of a stretch without estimate: a sliding window gives back as unevenly as it was used.
    horizon: float = 0.0
    horizon_count: int = 0
    longest: float = 0.0  # block in it
    first_empty: tuple[float, int] | None = None  # when exhausted first in it, and count

    def stretch(self, began: float, accepted: int, most: float | None) -> float | None:
        """Note that the server was exhausted after so many; return the rate between such instants.

        With more than `most` accepted since the last one, a bucket may have been full, and let some
        go to waste. A limit that changed, or a window that is over, shows in the newest instants:
        then they alone count.
        """
        if most is not None and self.empties and accepted - self.empties[-1][1] > most:
            self.empties = []
        self.empties.append((began, accepted))
        while len(self.empties) > _MOST or _span(self.empties[1:])[1] >= _LONGEST:
            del self.empties[0]
        self.last_empty = self.empties[-1]
        rate = _rate(self.empties)
        # From the newest stretch backwards: the first that differs by more than can be miscounted
        # is where the limit changed, and what is older measures another limit.
        for i in reversed(range(len(self.empties) - 1)):
            count = accepted - self.empties[i][1]
            newest = _rate(self.empties[i:])
            if rate is None or newest is None or count < _FEWEST:
                continue
            if abs(newest / rate - 1.0) * count > _MISCOUNT:
                del self.empties[:i]
                self.first_empty = self.empties[0]
                return newest
        return rate

    def believed(self) -> None:
        """Note that the rate between instants is what is known now."""
        self.basis = max(_span(self.empties)[1], ENOUGH)

    def newest(self) -> float | None:
        """Return the rate of the newest stretch, if it was a long one."""
        seconds, count = _span(self.empties[-2:])
        return count / seconds if count >= ENOUGH and seconds > 0 else None

    def unused(self, rate: float, now: float) -> float | None:
        """Return what was not made use of at a rate since the server was last exhausted."""
        if self.last_empty is None:
            return None
        since, before = self.last_empty
        return rate * (now - since) - (self.accepted - before)

    def forget_stretch(self) -> None:
        """Begin anew to measure between short blocks."""
        self.empties = []

    def is_enough(self) -> bool:
        """Say whether the stretches are long enough to believe their rate."""
        return _are_enough(self.empties)

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
        self.longest, self.first_empty = 0.0, None

    def begin(self, now: float) -> None:
        """Begin to look for a limit: from here on nothing is known."""
        self.last_empty = None
        self.forget_stretch()
        self.horizon, self.horizon_count = now, self.accepted
        self.longest, self.first_empty = 0.0, None

    def floor(self, now: float) -> float:
        """Return what was accepted on average since nothing is known, once a window was seen."""
        if self.reset_count is None:
            return 0.0
        return (self.accepted - self.horizon_count) / max(now - self.horizon, 1.0)


def _rate(empties: list[tuple[float, int]]) -> float | None:
    seconds, count = _span(empties)
    return count / seconds if seconds > 0 and count >= 3 else None


def _are_enough(empties: list[tuple[float, int]]) -> bool:
    seconds, count = _span(empties)
    return count >= ENOUGH or (seconds > _ENOUGH_SECONDS and count > _ENOUGH_SLOW)


def _span(empties: list[tuple[float, int]]) -> tuple[float, int]:
    """Return the seconds from the first to the last, and what was accepted in them."""
    if len(empties) < 2:
        return 0.0, 0
    (since, before), (until, count) = empties[0], empties[-1]
    return until - since, count - before
