"""History: when requests were accepted, in few bins that are the finer the newer they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 300  # bins
_FINEST = 0.02  # seconds
_SHARE = 0.0025  # of its age, that a bin is wide at most; doubled when there are too many
_BURST = 60.0  # seconds in which what a limit has in hand is used up
_LONGEST = 90_000.0  # seconds that are kept: a day, and a little


@dataclass(slots=True)
class History:
    """Accepted requests as (first time in the bin, last time, count), oldest first."""

    bins: list[tuple[float, float, int]] = field(default_factory=list)
    total: int = 0

    def add(self, at: float) -> None:
        """Note a request that was accepted; one that is told late counts as of the newest."""
        self.total += 1
        if self.bins:
            first, last, count = self.bins[-1]
            at = max(at, last)
            if at < first + _FINEST:
                self.bins[-1] = (first, at, count + 1)
                return
        self.bins.append((at, at, 1))
        if len(self.bins) > _MOST:
            self._merge(at)

    def _merge(self, now: float) -> None:
        # A bin's width grows with its age, and so does a count's error: no more than that.
        share = _SHARE
        while len(self.bins) > _MOST * 3 // 4:
            merged: list[tuple[float, float, int]] = []
            for first, last, count in self.bins:
                if merged and last - merged[-1][0] <= share * (now - last):
                    before = merged.pop()
                    merged.append((before[0], last, before[2] + count))
                elif last > now - _LONGEST:
                    merged.append((first, last, count))
            self.bins, share = merged, 2.0 * share

    def since(self, when: float) -> float:
        """Return how many were accepted after an instant; within a bin they count as even."""
        found = 0.0
        for first, last, count in reversed(self.bins):
            if first > when:
                found += count
            elif last > when:
                found += count * (last - when) / (last - first)
                break
            else:
                break
        return found

    def most_above(self, rate: float, until: float) -> tuple[float, float]:
        """Return the seconds up to an instant in which most was accepted above a rate, and it."""
        best, count = (0.0, 0.0), 0.0
        for first, last, n in reversed(self.bins):
            if first < until - _BURST:
                break
            if last <= until:
                count += n
                best = max(best, (until - first, count), key=lambda it: it[1] - rate * it[0])
        return best

    def nth_newest(self, n: float) -> float | None:
        """Return when the n-th newest was accepted, None when there are fewer."""
        for first, last, count in reversed(self.bins):
            if n <= count:
                return last - (last - first) * (max(n - 1, 0.0) / max(count - 1, 1))
            n -= count
        return None

    @property
    def first(self) -> float | None:
        """When the oldest was accepted that is known."""
        return self.bins[0][0] if self.bins else None
