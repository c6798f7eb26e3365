"""Flow model: a limit that gives evenly, and has some in hand: token buckets and their like. Pure.

Between two instants at which the server was exhausted, what it accepted is what it gave. Times in
seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENOUGH = 300  # acknowledgements between exhaustions that settle a rate
_SLOW_SECONDS, _SLOW = 10.0, 60  # and what does for a slow one
_MOST, _LONGEST = 60, 3_000  # instants, and acknowledgements, that are kept
_MISCOUNT = 6.0  # requests by which a count between two instants may be wrong
_UP = 2.0
_KEEPS = 0.5  # seconds of what it gives, that every limit has room for
_FEWEST = 40  # that show whether the rate changed


@dataclass(slots=True)
class Flow:
    """The instants at which the server was exhausted, with so many accepted until then."""

    empties: list[tuple[float, int]] = field(default_factory=list)
    assumed: float | None = None  # a rate that was sustained, until one is measured
    weight: int = 0  # acknowledgements that it stood on, and still does
    burst: float = 0.0  # requests that it can have in hand
    met: float | None = None  # when it was exhausted first
    first: tuple[float, float] | None = None  # seconds, and requests, in which it gave its burst
    standing: float = 0.0
    lost: float = 0.0  # seconds in which nobody asked for what it gave, and it couldn't keep it

    @property
    def count(self) -> int:
        """How many acknowledgements the rate stands on."""
        return self.empties[-1][1] - self.empties[0][1] if self.empties else 0

    @property
    def seconds(self) -> float:
        """How long they took."""
        return self.empties[-1][0] - self.empties[0][0] if self.empties else 0.0

    @property
    def rate(self) -> float | None:
        """What it gives, None while nobody knows."""
        if self.seconds <= 0 or self.count < 1:
            return self.assumed
        known = self.weight / self.assumed if self.assumed else 0.0
        return (self.count + self.weight) / (self.seconds + known)

    @property
    def is_settled(self) -> bool:
        """Whether the rate stands on enough to be ridden."""
        slow = self.seconds > _SLOW_SECONDS and self.count > _SLOW
        return self.count + self.weight >= ENOUGH or slow

    def empty(self, at: float, accepted: int) -> None:
        """Note that the server was exhausted; a limit that changed is measured anew from there."""
        at -= self.lost
        if self.empties and at <= self.empties[-1][0]:
            return
        self.empties.append((at, accepted))
        while len(self.empties) > 2 and (
            len(self.empties) > _MOST or accepted - self.empties[1][1] >= _LONGEST
        ):
            del self.empties[0]
        whole = self.rate
        if whole is None:
            return
        for i in reversed(range(len(self.empties) - 1)):
            since, before = self.empties[i]
            count, seconds = accepted - before, at - since
            off = (count / seconds / whole - 1.0) * count
            if count >= _FEWEST and (off > _UP or off < -_MISCOUNT):
                del self.empties[:i]
                self.weight = 0
                return

    def restart(
        self, at: float | None = None, accepted: int = 0, rate: float | None = None
    ) -> None:
        """Measure anew, from an instant at which it was exhausted if there is one."""
        self.empties = [] if at is None else [(at - self.lost, accepted)]
        self.assumed, self.weight = rate, 0

    def unused(self, now: float, accepted: int) -> float:
        """Return what was not made use of since it was empty, the rate taken at its highest."""
        rate = self.rate
        if not self.empties or rate is None:
            return self.burst
        since, before = self.empties[-1]
        most = rate * (1.0 + 3.0 / max(self.count, ENOUGH))
        return most * (now - self.lost - since) - (accepted - before)

    def rested(self, seconds: float) -> None:
        """Take in that nobody sent for so long: what it gave above its burst is lost."""
        if self.rate:
            self.lost += max(0.0, seconds - max(self.burst / self.rate, _KEEPS))

    def saved(self, now: float, accepted: int) -> float:
        """Return how many it may have in hand."""
        return max(0.0, min(self.unused(now, accepted), self.burst))
