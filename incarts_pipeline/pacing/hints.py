"""What a server's headers say of its limit, and whether to believe it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.models import RateHints
from incarts_pipeline.pacing.learned import Kind, Learned

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
        if self.distrusted or window is None or not _SHORTEST <= window <= _LONGEST:
            return None
        return Learned(
            kind=Kind.WINDOW, rate=hints.limit / window, budget=hints.limit, window=window
        )

    def snapped(self, budget: int) -> int:
        """Return the budget that was told when the one that was measured is close to it."""
        limit = self.limit
        return limit if limit and abs(budget - limit) <= _CLOSE * limit else budget


def retry_in(hints: RateHints) -> float | None:
    """Return the seconds after which a 429 says to try again."""
    return hints.retry_after if hints.retry_after is not None else hints.reset
