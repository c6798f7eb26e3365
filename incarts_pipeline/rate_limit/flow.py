"""Flow model: what a server gives evenly, with some in hand: token buckets and their like. Pure.

Between two instants at which it was exhausted, what it accepted is what it gave. Times in seconds,
rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from incarts_pipeline.rate_limit.history import History

_ENOUGH = 300  # acknowledgements between exhaustions that settle a rate
_SLOW_SECONDS, _SLOW = 10.0, 60  # and what does for a slow one
_MOST, _LONGEST = 60, 3_000  # instants, and acknowledgements, that are kept
_OUTWEIGHED = 3.0  # times the weight of what was assumed, from which that counts no more
_FEWEST = 40  # acknowledgements that show whether the rate changed
_UP, _DOWN = 2.0, 6.0  # acknowledgements more, or fewer, than the rate explains, that show it
_KEEPS = 0.5  # seconds of what it gives, that every limit has room for


class Empty(NamedTuple):
    """An instant at which the server was exhausted, and how many it had accepted until then."""

    at: float
    total: int


@dataclass(slots=True)
class Flow:
    """The instants at which the server was exhausted, oldest first, and what follows from them."""

    empties: list[Empty] = field(default_factory=list)
    assumed: float | None = None  # a rate, until one is measured
    weight: float = 0.0  # acknowledgements that it counts for
    burst: float = 0.0  # requests that it can have in hand
    met: float | None = None  # when it was exhausted first
    first: tuple[float, float] | None = None  # seconds, and requests, in which it gave its burst
    lost: float = 0.0  # seconds in which it couldn't keep what it gave

    @property
    def count(self) -> int:
        """How many acknowledgements the rate stands on."""
        return self.empties[-1].total - self.empties[0].total if self.empties else 0

    @property
    def seconds(self) -> float:
        """How long they took."""
        return self.empties[-1].at - self.empties[0].at if self.empties else 0.0

    @property
    def rate(self) -> float | None:
        """What it gives, None while nobody knows."""
        if self.seconds <= 0 or self.count < 1:
            return self.assumed
        if not self.assumed or self.count > _OUTWEIGHED * self.weight:
            return self.count / self.seconds
        return (self.count + self.weight) / (self.seconds + self.weight / self.assumed)

    @property
    def is_settled(self) -> bool:
        """Whether the rate stands on enough to be ridden."""
        slow = self.seconds > _SLOW_SECONDS and self.count > _SLOW
        return self.count >= _ENOUGH or slow

    def begin(self, rate: float | None = None, weight: float = 0.0) -> None:
        """Measure anew; until then a rate is assumed that counts for so many acknowledgements."""
        self.empties, self.assumed, self.weight = [], rate, weight

    def empty(self, at: float, count: int) -> None:
        """Note that the server was exhausted; a limit that changed is measured anew from there."""
        self.empties.append(Empty(at - self.lost, count))
        while len(self.empties) > 2 and (
            len(self.empties) > _MOST or count - self.empties[1].total >= _LONGEST
        ):
            del self.empties[0]
        if self.seconds <= 0 or not self.count:
            return
        whole, last = self.count / self.seconds, self.empties[-1]
        for i in reversed(range(len(self.empties) - 1)):
            since, before = self.empties[i]
            new, seconds = count - before, last.at - since
            off = (new / seconds / whole - 1.0) * new if seconds > 0 else 0.0
            if new >= _FEWEST and (off > _UP or off < -_DOWN):
                del self.empties[:i]
                return

    def rested(self, seconds: float) -> None:
        """Take in that nobody sent for so long: it keeps what it gives as far as there is room."""
        if self.rate:
            self.lost += max(0.0, seconds - max(self.burst / self.rate, _KEEPS))

    def learn_burst(self, history: History) -> None:
        """Learn what it had in hand: the most above its rate before it was exhausted first."""
        if self.rate and self.met is not None:
            self.first = self.first or history.most_above(self.rate, self.met)
            self.burst = max(self.first[1] - self.rate * self.first[0], 0.0)

    def unused(self, now: float, accepted: int) -> float:
        """Return what was not made use of since it was exhausted."""
        rate = self.rate
        if not self.empties or rate is None:
            return self.burst
        since, before = self.empties[-1]
        return rate * (now - self.lost - since) - (accepted - before)

    def saved(self, now: float, accepted: int) -> float:
        """Return how many it may have in hand."""
        return max(0.0, min(self.unused(now, accepted), self.burst))
