"""Cap model: a limit on how many requests are at work at once. Pure; times in seconds.

Where refusals go with how many are in flight, and not with how many went within a time, that number
is what to keep to; the pace follows from how long a request takes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.block import LEASE
from incarts_pipeline.rate_limit.limit import NEVER

_HIGHEST = 256  # requests in flight that are told apart, and answers that are waited for
_CHANCE = 1e-6  # that refusals above a number show no cap
_TIMES, _APART = 3, 0.5  # they came, more than so many seconds apart
_ON_THE_WAY = 5.0  # times as many that passed above it: they met it when it wasn't full
_MISSED = 0.1  # of them, that were refused below it
_WORKS = 1.25  # times what a refused one takes: a cap is on what works, and work takes time
_FORGET = 20_000  # answers after which older ones count half
_TOO_MANY, _STRIKES = 0.008, 3  # share of refusals, and so many, that lower the cap by one
_REST, _LONGEST_REST = 150, 9_600  # accepted requests until one more is tried; doubled if in vain
_LOWEST = 0.5  # of what it was at first: a cap that falls so far was none
_KNOWN = 0.3  # seconds until all senders keep to a new cap
_ANSWERED, _SOONEST = 3.0, 0.5  # round trips, and seconds, after which answers are in


@dataclass(slots=True)
class Flights:
    """The requests of one sender that are under way."""

    count: int = 0
    held: int = 0  # refused, whose place stays empty
    heard_at: float = 0.0

    def leave(self, now: float) -> None:
        """Note a permit."""
        if not self.count:
            self.heard_at = now
        self.count += 1

    def arrive(self, now: float, *, refused: bool) -> int:
        """Note an answer; return how many were under way until then.

        The server was full as it refused one, and is until one ends: sent again at once it would
        be refused again, many times before anybody hears of it.
        """
        before, self.count, self.heard_at = self.count, max(0, self.count - 1), now
        self.held = self.held + 1 if refused and self.count else 0
        return before

    def is_full(self, most: int | None, now: float) -> bool:
        """Say whether no more may leave; answers that never come hold nobody up for long."""
        if most is None or self.count + self.held < most:
            return False
        if now - self.heard_at > LEASE:
            self.count = self.held = 0
        return self.count + self.held >= most


@dataclass(slots=True)
class Overlaps:
    """Answers of all senders, until it is known how many were under way with each request."""

    sent: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    waiting: list[tuple[float, bool]] = field(default_factory=list)  # when sent, whether refused

    def add(self, sent_at: float, now: float, *, refused: bool) -> None:
        """Take in an answer."""
        insort(self.sent, sent_at)
        insort(self.ended, now)
        insort(self.waiting, (sent_at, refused))

    def settled(self, before: float) -> list[tuple[int, bool]]:
        """Return how many were under way with each that left before an instant, each one once."""
        ready = max(bisect_left(self.waiting, (before, False)), len(self.waiting) - _HIGHEST)
        found = [
            (bisect_right(self.sent, at) - bisect_right(self.ended, at), refused)
            for at, refused in self.waiting[:ready]
        ]
        del self.waiting[:ready]
        # As many of both: what is left of their difference is what it was.
        over = bisect_right(self.ended, self.waiting[0][0] if self.waiting else before)
        del self.sent[:over], self.ended[:over]
        return found


@dataclass(slots=True)
class Cap:
    """Answers by the number in flight, and the cap that they show, None while they show none."""

    most: int | None = None
    first: int = 0  # what it was at first
    overlaps: Overlaps = field(default_factory=Overlaps)
    accepted: list[float] = field(default_factory=list)  # by the number in flight
    refused: list[float] = field(default_factory=list)
    times: int = 0  # how often some were refused
    refused_at: float = NEVER
    took: float = 0.0  # seconds, a refused one, on average
    since: float = 0.0  # when this cap was set
    good: int = 0  # accepted with this cap
    bad: int = 0  # refused
    in_a_row: int = 0  # refused, and nothing accepted between
    rest: int = _REST
    tries: bool = False  # whether it is one more than what was fine

    def begin(self, most: int, now: float) -> None:
        """Keep to a cap."""
        self.first = max(most, 1)
        self.overlaps = Overlaps()
        self._set(self.first, now)

    def saw(self, sent_at: float, now: float, round_trip: float, *, refused: bool) -> int | None:
        """Take in an answer while no cap is known; return one that is shown now."""
        self.overlaps.add(sent_at, now, refused=refused)
        if refused:
            took = now - sent_at
            self.took += (took - self.took) * (0.1 if self.took else 1.0)
        settled = self.overlaps.settled(now - max(_ANSWERED * round_trip, _SOONEST))
        for in_flight, was_refused in settled:
            self._count(min(in_flight, _HIGHEST), refused=was_refused)
        if refused and sent_at > self.refused_at + _APART:
            self.times, self.refused_at = self.times + 1, sent_at
        is_new = any(was_refused for _, was_refused in settled)
        if not is_new or self.times < _TIMES or round_trip < _WORKS * self.took:
            return None
        return self.shown()

    def _count(self, in_flight: int, *, refused: bool) -> None:
        while len(self.accepted) <= in_flight:
            self.accepted.append(0.0)
            self.refused.append(0.0)
        counts = self.refused if refused else self.accepted
        counts[in_flight] += 1.0
        if sum(self.accepted) > _FORGET:
            self.accepted = [0.5 * count for count in self.accepted]
            self.refused = [0.5 * count for count in self.refused]

    def shown(self) -> int | None:
        """Return the cap that refusals show: nearly all above it, and hardly one below."""
        above, passed, total = 0.0, 0.0, sum(self.refused)
        accepted = max(sum(self.accepted), 1.0)
        best, found = _CHANCE, None
        for in_flight in range(len(self.refused) - 1, 1, -1):
            above += self.refused[in_flight]
            passed += self.accepted[in_flight]
            missed = total - above
            if passed > _ON_THE_WAY * above or missed > _MISSED * above:
                continue
            # Were they refused for another reason, this is how likely they all were the highest.
            chance = ((passed + 1.0) / accepted) ** above
            if chance < best:
                best, found = chance, in_flight - 1
        return found

    @property
    def is_wrong(self) -> bool:
        """Whether it was none: it fell too far, or one alone was refused."""
        return self.most is not None and self.most < max(_LOWEST * self.first, 1.0)

    @property
    def is_used_up(self) -> bool:
        """Whether all are refused in a row: then it is a limit of another kind that does it."""
        return self.most is None or self.in_a_row > 2 * self.most + _STRIKES

    def follow(self, sent_at: float, now: float, *, full: bool, refused: bool) -> None:
        """Keep the share of refusals low, and try one more now and then."""
        # After a cap was lowered, all that is heard at first left before anybody knew.
        if self.most is None or (sent_at < self.since + _KNOWN and not self.tries):
            return
        if not refused:
            self.good, self.in_a_row = self.good + full, 0
            if self.good >= self.rest:
                if self.tries:
                    self.rest = _REST
                self._set(self.most + 1, now)
                self.tries = True
            return
        self.bad, self.in_a_row = self.bad + 1, self.in_a_row + 1
        is_mixed = self.good > 0 or self.tries
        if is_mixed and self.bad >= max(_STRIKES, _TOO_MANY * (self.good + self.bad)):
            if self.tries:
                self.rest = min(2 * self.rest, _LONGEST_REST)
            self._set(self.most - 1, now)
            self.tries = False

    def _set(self, most: int, now: float) -> None:
        self.most, self.since, self.good, self.bad = most, now, 0, 0
