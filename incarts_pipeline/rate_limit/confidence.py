"""Confidence in hints: what headers say of the limit, and how far to believe it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.models import RateHints
from incarts_pipeline.rate_limit.limit import NEVER, Learned, LimitKind

_STRAYS = 6  # short blocks in two windows that may be jitter
_WRONG, _WRONG_WITHIN = 3, 600.0  # mispredictions in seconds, after which no model is believed


@dataclass(slots=True)
class Trust:
    """Counts 429s that nobody expected; times in seconds."""

    strays: list[float] = field(default_factory=list)
    wrong: list[tuple[float, int]] = field(default_factory=list)  # when, and accepted until then
    plain_until: float = NEVER  # until then: no models, only averages

    def is_stray(self, now: float, window: float | None) -> bool:
        """Note a 429 while cruising; say whether it is the first for a while: jitter, perhaps."""
        # One 429 may be a request that was late on the way. In a window that is known, a few within
        # two of them are still that; without a window a second one within a minute is news.
        self.strays = [at for at in self.strays if now - at < max(60.0, 2.5 * (window or 0.0))]
        self.strays.append(now)
        return len(self.strays) < (2 if window is None else _STRAYS)

    def is_wrong_again(self, now: float, accepted: int) -> bool:
        """Note that what was learned is wrong; say whether that happened too often to go on so."""
        # A server that changes its limit all the time, or counts like none of the models, would
        # have it measured for ever: then what it accepts on average has to do.
        self.wrong = [one for one in self.wrong if now - one[0] < _WRONG_WITHIN]
        self.wrong.append((now, accepted))
        if len(self.wrong) < _WRONG:
            return False
        self.plain_until = now + _WRONG_WITHIN
        return True

    def average(self, now: float, accepted: int) -> Learned:
        """Return what the server accepted, blocks and all, since models began to fail."""
        since, before = self.wrong[0]
        return Learned(
            kind=LimitKind.BUCKET, rate=max(accepted - before, 1) / max(now - since, 1.0)
        )


_SHORTEST, _LONGEST = 0.01, 172_800.0  # seconds of a window that makes sense
_CLOSE = 0.03  # a measured budget this near to the one that is told is that one


@dataclass(slots=True)
class Hints:
    """The last limit that was told; `distrusted` for good once it turned out to be wrong."""

    limit: int | None = None
    distrusted: bool = False

    def told(self, hints: RateHints) -> Learned | None:
        """Take in an answer's hints; return the limit when they name it whole."""
        if hints.limit is None or hints.limit < 1:
            return None
        self.limit = hints.limit
        window = hints.window
        # A limit without its window may be anything a second or a day: no pace follows from it.
        if self.distrusted or window is None or not _SHORTEST <= window <= _LONGEST:
            return None
        return Learned(
            kind=LimitKind.WINDOW, rate=hints.limit / window, budget=hints.limit, window=window
        )

    def snapped(self, budget: int) -> int:
        """Return the budget that was told when the one that was measured is close to it."""
        limit = self.limit
        return limit if limit and abs(budget - limit) <= _CLOSE * limit else budget


def retry_in(hints: RateHints) -> float | None:
    """Return the seconds after which a 429 says to try again."""
    return hints.retry_after if hints.retry_after is not None else hints.reset
