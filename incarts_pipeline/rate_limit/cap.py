"""Cap model: a limit on how many requests are at work at once. Pure.

Where refusals go with how many are in flight, and not with how many went within a time, that number
is what to keep to; the pace follows from how long a request takes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

_HIGHEST = 256  # requests in flight that are told apart
_SURE, _CHANCE = 5, 1e-6  # refusals above a number that show a cap; chance that it is none
_MISSED = 0.1  # of them, that were refused below it
_FORGET = 20_000  # answers after which older ones count half
_TOO_MANY, _STRIKES = 0.008, 3  # share of refusals, and so many, that lower the cap by one
_REST, _LONGEST_REST = 600, 9_600  # accepted requests until one more is tried; doubled if in vain
_LOST = 5.0  # seconds without an answer, after which requests that are under way count no more
_LOWEST = 0.5  # of what it was at first: a cap that falls so far was none


@dataclass(slots=True)
class Flights:
    """The requests of one sender that are under way, and how many those were as each one left."""

    count: int = 0
    left: list[tuple[float, int]] = field(default_factory=list)
    heard_at: float = 0.0

    def leave(self, now: float) -> None:
        """Note a permit."""
        if not self.count:
            self.heard_at = now
        self.count += 1
        self.left.append((now, self.count))
        if len(self.left) > 2 * _HIGHEST:
            del self.left[:_HIGHEST]

    def arrive(self, sent_at: float, now: float) -> int:
        """Note an answer; return how many were under way as its request left, itself included."""
        self.count, self.heard_at = max(0, self.count - 1), now
        place = bisect_right(self.left, (sent_at, _HIGHEST * _HIGHEST))
        return self.left[place - 1][1] if place else 1

    def is_full(self, most: int | None, now: float) -> bool:
        """Say whether no more may leave; answers that never come hold nobody up for long."""
        if most is None or self.count < most:
            return False
        if now - self.heard_at > _LOST:
            self.count = 0
        return self.count >= most


@dataclass(slots=True)
class Cap:
    """Answers by the number in flight, and the cap that they show, None while they show none."""

    most: int | None = None
    first: int = 0  # what it was at first
    accepted: list[float] = field(default_factory=list)  # by the number in flight
    refused: list[float] = field(default_factory=list)
    good: int = 0  # accepted with this cap
    bad: int = 0  # refused
    in_a_row: int = 0  # refused, and nothing accepted between
    rest: int = _REST
    tries: bool = False  # whether it is one more than what was fine

    def begin(self, most: int) -> None:
        """Keep to a cap."""
        self.most = self.first = max(most, 1)
        self._set(self.most)

    def saw(self, in_flight: int, *, refused: bool) -> None:
        """Take in an answer."""
        if self.most is not None:
            self._follow(self.most, refused=refused)
            return
        while len(self.accepted) <= min(in_flight, _HIGHEST):
            self.accepted.append(0.0)
            self.refused.append(0.0)
        counts = self.refused if refused else self.accepted
        counts[min(in_flight, _HIGHEST)] += 1.0
        if sum(self.accepted) > _FORGET:
            self.accepted = [0.5 * count for count in self.accepted]
            self.refused = [0.5 * count for count in self.refused]

    def shown(self) -> int | None:
        """Return the cap that refusals show: nearly all above it, and hardly one below."""
        above, passed, total = 0.0, 0.0, sum(self.refused)
        accepted = max(sum(self.accepted), 1.0)
        best, found = 0.0, None
        for in_flight in range(len(self.refused) - 1, 1, -1):
            above += self.refused[in_flight]
            passed += self.accepted[in_flight]
            missed = total - above
            if above < _SURE or above < passed or missed > _MISSED * above:
                continue
            # Were they refused for another reason, this is how likely they all were the highest.
            chance = ((passed + 1.0) / accepted) ** above
            if chance < _CHANCE and above - passed - missed > best:
                best, found = above - passed - missed, in_flight - 1
        return found

    @property
    def is_wrong(self) -> bool:
        """Whether refusals go on however few are in flight."""
        if self.most is None:
            return False
        return self.most < _LOWEST * self.first or self.in_a_row > 2 * self.most + _STRIKES

    def _follow(self, most: int, *, refused: bool) -> None:
        """Keep the share of refusals low, and try one more now and then."""
        if not refused:
            self.good, self.in_a_row = self.good + 1, 0
            if self.good >= self.rest:
                if self.tries:
                    self.rest = _REST
                self._set(most + 1)
                self.tries = True
            return
        self.bad, self.in_a_row = self.bad + 1, self.in_a_row + 1
        if self.bad >= _STRIKES and self.bad > _TOO_MANY * (self.good + self.bad):
            if self.tries:
                self.rest = min(2 * self.rest, _LONGEST_REST)
            self._set(most - 1)
            self.tries = False

    def _set(self, most: int) -> None:
        self.most, self.good, self.bad = max(most, 1), 0, 0
