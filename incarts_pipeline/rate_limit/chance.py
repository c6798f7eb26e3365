"""Chance: refusals that nobody foretold and that mean nothing, told apart from a limit. Pure.

One alone stops everybody for a moment; after a few that meant nothing, only a second one soon after
it does. Many within few requests are a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_HITS, _HITS_IN = 4, 40  # refusals in so many requests that are a limit
_TOLERANT = 3  # that meant nothing, after which one alone stops nobody
_AGAIN, _RARE = 10, 0.005  # requests in which a second one does; fewer where more are usual
_MOST_USUAL = 0.03  # share: what refuses more has a limit
_SPREAD = 6.0  # times as many as are usual may come by chance, besides
_WATCHED = 400  # requests that tell a share


@dataclass(slots=True)
class Chance:
    """Counts are of accepted requests, as of then."""

    strays: list[tuple[float, int]] = field(default_factory=list)  # when, and the count
    met: int = 0  # how many, since `met_from` were accepted
    met_from: int = 0
    usual: float = 0.0  # share of requests that is refused by chance, as far as is known
    tolerance: int = 0  # how many of the last ones meant nothing
    doubt: int | None = None  # the count at the last one that stopped nobody

    @property
    def is_usual(self) -> bool:
        """Whether enough of the last ones meant nothing for one alone to be no news."""
        return self.tolerance >= _TOLERANT

    def stops_nobody(self, at: float, count: int) -> bool:
        """Take in a refusal that came alone; say whether it may be ignored."""
        if not self.is_usual:
            return False
        last, self.doubt = self.doubt, count
        again = _AGAIN if self.usual < _RARE else _AGAIN * _RARE / self.usual
        if last is not None and count - last <= again:
            return False
        return self._note(at, count)

    def meant_nothing(self, at: float, count: int) -> bool:
        """Take in a block that one request ended; say whether it is no limit as yet."""
        if self._note(at, count):
            self.tolerance += 1
            return True
        return False

    def _note(self, at: float, count: int) -> bool:
        if count - self.met_from >= _WATCHED:
            share = self.met / (count - self.met_from)
            self.usual = share if share <= _MOST_USUAL else 0.0
            self.met, self.met_from = 0, count
        self.met += 1
        hits = _HITS + int(_SPREAD * _HITS_IN * self.usual)
        self.strays = [*self.strays[1 - hits :], (at, count)]
        return len(self.strays) < hits or count - self.strays[0][1] > _HITS_IN

    def is_a_limit(self) -> None:
        """Forget what meant nothing: it did mean something."""
        self.strays, self.tolerance = [], 0
