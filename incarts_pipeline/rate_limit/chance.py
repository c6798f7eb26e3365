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
_TOO_MANY, _FEW = 0.004, 0.001  # share of refusals, from which to go slower, and below it faster
_WATCHED, _TELLING = 400, 20  # requests, and refusals, that tell a share
_HELPED = 0.75  # times the share before: what is left of it when going slower helped
_LOWER, _HIGHER, _LOWEST = 0.97, 1.004, 0.8  # times the pace


@dataclass(slots=True)
class Chance:
    """Counts are of accepted requests, as of then."""

    strays: list[tuple[float, int]] = field(default_factory=list)  # when, and the count
    met: int = 0  # how many, since `met_from` were accepted
    met_from: int = 0
    usual: float = 0.0  # share of requests that is refused by chance, as far as is known
    tolerance: int = 0  # how many of the last ones meant nothing
    doubt: int | None = None  # the count at the last one that stopped nobody
    margin: float = 1.0  # times the pace: lowered while that makes refusals fewer
    noise: float = 0.0  # share of refusals that no pace makes fewer
    step: float = 1.0  # times the pace, by which it was lowered last
    share_before: float | None = None  # of refusals, before the pace was lowered
    accepted: int = 0  # since when the share is watched
    refused: int = 0

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

    def watch_from(self, accepted: int, refused: int, *, cruises: bool) -> None:
        """Begin to watch the share of refusals at one pace."""
        self.accepted, self.refused = accepted, refused
        if not cruises:
            self.share_before = None

    def watch(self, accepted: int, refused: int) -> bool:
        """Lower the margin while that helps, whatever refusals come from; say whether it changed.

        Where it doesn't help, as many are refused by chance.
        """
        good, bad = accepted - self.accepted, refused - self.refused
        if good < _WATCHED or (bad < _TELLING and good < 5 * _WATCHED):
            return False
        share = bad / (good + bad)
        before, self.share_before = self.share_before, None
        if before is not None and share > _HELPED * before:
            self.noise, self.margin = max(share, before), min(1.0, self.margin / self.step)
        elif share > max(_TOO_MANY, 1.5 * self.noise) and self.margin > _LOWEST:
            self.step = min(_LOWER, 1.0 - share)
            self.share_before, self.margin = share, self.margin * self.step
        elif share < max(_FEW, self.noise):
            self.margin = min(1.0, self.margin * _HIGHER)
        self.accepted, self.refused = accepted, refused
        return True
