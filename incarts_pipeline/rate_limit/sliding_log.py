"""Sliding log: a replica of the server's, in at most a thousand bins. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

_BINS = 1_000
_FINEST = 0.1  # seconds that a bin spans at first
_LONGEST = 7_200.0  # seconds that are kept while no window is known


@dataclass(slots=True)
class Replica:
    """The accepted requests of the last window: (first time in the bin, count), oldest first.

    While it isn't known how long a window is, all are kept: bins are merged when they get too many.
    """

    bins: list[tuple[float, int]] = field(default_factory=list)
    width: float = _FINEST  # seconds that a bin spans
    total: int = 0

    def add(self, at: float, window: float | None) -> None:
        """Note a request that was accepted, and let go of those that left the window."""
        if self.bins and at < self.bins[-1][0] + self.width:
            self.bins[-1] = (self.bins[-1][0], self.bins[-1][1] + 1)
        else:
            self.bins.append((at, 1))
        self.total += 1
        self.trim(at, window)

    def trim(self, now: float, window: float | None) -> None:
        """Let go of what left the window, and keep the number of bins in bounds."""
        gone = 0
        while gone < len(self.bins) - 1 and self.bins[gone][0] <= now - (window or _LONGEST):
            self.total -= self.bins[gone][1]
            gone += 1
        del self.bins[:gone]
        if window is not None:
            self.width = min(self.width, max(window / _BINS, 1e-3))
        elif len(self.bins) > _BINS:
            self.width *= 2.0
            halves = zip(self.bins[::2], [*self.bins[1::2], (0.0, 0)], strict=False)
            self.bins = [(at, count + more) for (at, count), (_, more) in halves]

    def full_for(self, now: float, window: float, budget: int) -> float:
        """Return the seconds until there is room for one more, 0.0 or less when there is."""
        over = self.total - budget  # requests that have to leave before there is room
        if over < 0:
            return 0.0
        for at, count in self.bins:
            over -= count
            if over < 0:
                return at + window - now
        return 0.0

    def held(self, since: float, until: float) -> int:
        """Return how many were accepted after `since` and until `until`."""
        return sum(count for at, count in self.bins if since < at <= until)
