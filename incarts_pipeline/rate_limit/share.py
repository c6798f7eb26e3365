"""Share: a limit that refuses some requests while it lets others pass. Pure.

Servers that count by themselves do, and no model of a single one explains them. So the pace is
looked for at which a small share is refused: each refusal lowers it, and each acceptance raises it
by as much as that share is worth (Robbins and Monro, A Stochastic Approximation Method, 1951).
Rates in requests a second, times in seconds, counts of requests.
"""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN, _EPISODES = 9, 2  # breaks that are an episode, and how many of these show that models fail
_ANEW, _FORGOTTEN = 100, 5_000  # accepted since, after which one begins anew, and all are forgotten
_TARGET = 0.006  # share that may be refused
_GAIN = 0.0025  # of the pace, by which a refusal lowers it
_SOONER, _LAST = 10.0, 200.0  # times the share of so many that was refused, that it lowers more
_ALL = 4  # refusals in a row that say that nothing passes
_APART, _FADES = 10, 0.8  # accepted between refusals that are no one event; of what lay between
_QUIET, _RISE = 2.0, 0.1  # times the usual run without one, and by how much it rises in it then
_LONG_QUIET = 120.0  # seconds without one, that say the same where few are sent
_LEAST = 1 / 60  # requests a second: an outage leaves that much to begin with
_MANY, _LOWER = 40, 0.75  # accepted between blocks, that tell a rate; of the pace, at least
_STEP = 0.75  # of the pace, after which it is looked whether that helped
_SAME, _PASSED = 0.85, 1.1  # of the share refused before, and times the one accepted: it didn't
_JUDGED, _SINGLE = 40, 0.04  # refusals that tell, by the share of them that follow another


@dataclass(slots=True)
class Breaks:
    """Refusals that models didn't foretell."""

    count: int = 0  # soon after another
    episodes: int = 0  # how often that were many
    at: int = 0  # accepted until the last one

    def show(self, accepted: int, weight: int) -> bool:
        """Take in one; say whether models fail again and again."""
        since, self.at = accepted - self.at, accepted
        if since > _FORGOTTEN:
            self.episodes = 0
        before = 0 if since > _ANEW else self.count
        self.count = before + weight
        self.episodes += before < _SHOWN <= self.count
        return self.episodes >= _EPISODES


@dataclass(slots=True)
class Share:
    """The pace that is kept, at first one that was accepted on average."""

    pace: float
    in_a_row: int = 0  # refused
    run: int = 0  # accepted since the last refusal
    usual_run: float = 0.0
    recent: float = 0.0  # share of the last ones that was refused
    alone: int = 0  # refused after one that was accepted
    again: int = 0  # refused after one that was refused
    blocked: tuple[float, int] | None = None  # until when all was refused, and accepted until then
    by_chance: float = 0.0  # share that is refused whatever the pace is
    looked: float = 0.0  # the pace at the last look, and what became of requests since
    good: int = 0
    bad: int = 0
    before: float = 1.0  # share that was refused until that look

    def __post_init__(self) -> None:
        """Look from the pace that it begins with, which may be next to none after an outage."""
        self.pace = max(self.pace, _LEAST)
        self.looked = self.looked or self.pace

    @property
    def is_all(self) -> bool:
        """Whether nothing passes any more."""
        return self.in_a_row >= _ALL

    @property
    def is_single(self) -> bool:
        """Whether it is a single server after all: there, hardly a refusal follows another."""
        return self.alone + self.again >= _JUDGED and self.again < _SINGLE * self.alone

    @property
    def _quiet(self) -> float:
        """A run that is long enough to say that there may be more."""
        usual = max(_QUIET * self.usual_run, 3.0 / _TARGET)
        return max(min(usual, _LONG_QUIET * self.pace), 1.0)

    def accepted(self, ceiling: float | None) -> float:
        """Take in one that passed; return the pace."""
        self.in_a_row, self.run, self.good = 0, self.run + 1, self.good + 1
        self.recent -= self.recent / _LAST
        rise = _GAIN * (_TARGET + self.by_chance)
        if self.run > self._quiet:
            rise += _RISE * self.run / self._quiet**2
        self.pace = min(self.pace * (1.0 + rise), ceiling or float("inf"))
        if self.looked < _STEP * self.pace:
            self.by_chance = min(self.by_chance, self._look(1.0))
        return self.pace

    def refused(self, *, is_blocked: bool) -> float:
        """Take in one that was refused, maybe while nothing passed anyway; return the pace."""
        if self.run > _APART:
            self.usual_run = max(min(self.run, self._quiet), _FADES * self.usual_run)
        self.run = 0
        if not is_blocked:
            self._judge()
            self.bad += 1
            self.recent += (1.0 - self.recent) / _LAST
            lower = 1.0 - _GAIN * (1.0 + _SOONER * self.recent)
            self.pace = max(lower * self.pace, _LEAST)
            if self.pace < _STEP * self.looked:
                self._look_below()
        self.in_a_row += 1
        return self.pace

    def was_blocked(self, until: float, accepted: int) -> float:
        """Take in that nothing passed for long; return the pace.

        What was accepted between two such times is about what there is.
        """
        since, before = self.blocked or (until, accepted)
        is_told = accepted - before >= _MANY
        if is_told:
            given = (accepted - before) / (until - since)
            self.pace = max(min(self.pace, max(given, _LOWER * self.pace)), _LEAST)
        if is_told or self.blocked is None:
            self.blocked = (until, accepted)
        self._look(1.0)
        return self.pace

    def _judge(self) -> None:
        if self.alone + self.again >= 2 * _JUDGED:
            self.alone, self.again = self.alone // 2, self.again // 2
        if self.in_a_row:
            self.again += 1
        else:
            self.alone += 1

    def _look_below(self) -> None:
        """Compare the share that is refused with that at a higher pace: if it is the same, chance.

        Of a limit that was exceeded, a lower pace has at least more of its requests accepted.
        """
        before, above = self.before, self.looked / _STEP
        share = self.bad / max(self.good + self.bad, 1)
        if _SAME * before < share < before / _SAME and 1.0 - share < _PASSED * (1.0 - before):
            self.by_chance, self.pace = share, above
        self._look(share)

    def _look(self, before: float) -> float:
        """Begin to count anew; return the share that was refused until now."""
        share = self.bad / max(self.good + self.bad, 1)
        self.before, self.looked, self.good, self.bad = before, self.pace, 0, 0
        return share
