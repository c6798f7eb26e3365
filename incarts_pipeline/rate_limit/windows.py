"""Window models: three guesses of how a server counts so many per window. Pure.

Each says how much is left, and when more will be; what the server does then raises or lowers its
standing. Seconds throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import NEVER
from incarts_pipeline.rate_limit.standing import PROVEN, RIGHT, SLACK, WRONG, judged

# From the most usual length on; what lies between is rounded to fives, then to whole seconds.
_USUAL = (60, 10, 30, 300, 1, 5, 15, 20, 3600, 120, 600, 900, 2, 90, 100, 45, 1800, 180, 86400, 50)
_USUAL_S = tuple(sorted(float(one) for one in _USUAL))
_FOREVER = 1e9
_SURPRISE = 0.5  # of a budget that is hardly believed: less can't fill it
_FEWEST = 4  # requests in a window: what gives fewer at once gives evenly
_EDGES, _LEAST_LENGTH = 7, 5.0  # windows less one between two edges at most, and seconds of one
_SHARP, _SHARPEST = 0.002, 0.1  # of a length, and seconds, to which an edge is to be known


class WindowKind(StrEnum):
    """When a window begins."""

    ANCHORED = "anchored"  # with the first request after the last one's end
    SLIDING = "sliding"  # always: it is the last so many seconds
    ALIGNED = "aligned"  # with the clock


@dataclass(slots=True)
class Window:
    """One model: its length lies between `shortest` and `longest`; `budget` 0 is unknown.

    `began` is when the window under way began, for an aligned one as of its last known edge, which
    was not before `earliest`.
    """

    kind: WindowKind
    shortest: float = 0.0
    longest: float = _FOREVER
    budget: int = 0
    began: float | None = None
    earliest: float = 0.0
    standing: float = 0.0

    @property
    def length(self) -> float | None:
        """The most usual length that is possible, None while too little is known."""
        return roundest(self.shortest, self.longest) if self.longest < _FOREVER else None

    @property
    def rate(self) -> float | None:
        """Requests a second that it lets through for good."""
        length = self.length
        return self.budget / length if length and self.budget >= _FEWEST else None

    def judge(self, *, right: bool) -> None:
        """Raise or lower the standing."""
        self.standing = judged(self.standing, RIGHT if right else WRONG)

    def accepted(self, at: float) -> None:
        """Follow an anchored window, which begins with a request."""
        length = self.length
        if self.kind is WindowKind.ANCHORED and (
            self.began is None or (length is not None and at >= self.began + length)
        ):
            self.began = self.earliest = at

    def start(self, at: float) -> float | None:
        """Return when the window that contains an instant began, None when nobody knows."""
        length = self.length
        if self.kind is WindowKind.SLIDING:
            return at - length if length is not None else None
        if self.began is None:
            return None
        if self.kind is WindowKind.ALIGNED and length is not None:
            return self.began + (at - self.began) // length * length
        return self.began if length is None or at < self.began + length else at

    def held(self, history: History, at: float) -> float:
        """Return how many the window holds at an instant that is not long ago."""
        start = self.start(at)
        if start is None:
            return float(history.total)
        if self.kind is WindowKind.ALIGNED and self.began is not None:
            start -= self.began - self.earliest  # it may have begun so much earlier
        return history.since(start - 1e-3)

    def opens(self, history: History, full_at: float, refused: float = NEVER) -> float | None:
        """Return when the next one passes, if the window was full at an instant.

        Of an edge that is only known roughly it is the middle of what is possible after the last
        refusal: a try there halves that, whatever comes of it.
        """
        length, start = self.length, self.start(full_at)
        if length is None or start is None:
            return None
        if self.kind is WindowKind.ALIGNED and self.began is not None:
            first = max(start + length - (self.began - self.earliest), refused)
            unsure = start + length - first
            is_rough = unsure > max(_SHARP * length, _SHARPEST)
            return start + length - (unsure / 2 if is_rough else 0.0)
        if self.kind is WindowKind.ANCHORED:
            return start + length
        oldest = history.nth_newest(min(self.budget, history.total))
        return None if oldest is None else oldest + length

    def saw(
        self, history: History, full: float, refused: float, passed: float, *, anew: bool
    ) -> None:
        """Learn from a window that was full at `full`, still at `refused`, and open at `passed`.

        Where that doesn't fit, `anew` says whether all that was believed is given up.
        """
        held = self.held(history, full)
        low, high = self._bounds(history, refused, passed)
        low = max(low, refused - full)
        known = self.length is not None
        fits = max(low, self.shortest) < min(high + SLACK, self.longest)
        if known and self.standing < PROVEN and held < _SURPRISE * self.budget:
            fits = False  # right by chance: it can't have been full
        if fits:
            if known:
                self.judge(right=True)
            self.shortest, self.longest = max(low, self.shortest), min(high, self.longest)
            self.longest = max(self.longest, self.shortest + 0.01)
        else:
            self.judge(right=False)
            self.shortest, self.longest = max(low, 0.01), high
        if fits or not known:
            self._fits(held)
        elif anew:
            self._begin_anew(history, full, refused, passed)
        if self.kind is not WindowKind.SLIDING:
            self._edge(refused, passed)

    def _bounds(self, history: History, refused: float, passed: float) -> tuple[float, float]:
        """Return between which lengths this reset says that the window is."""
        if self.kind is WindowKind.SLIDING:
            oldest = history.nth_newest(min(self.budget or history.total, history.total))
        else:
            oldest = self.began
        if oldest is None:
            return 0.0, _FOREVER
        low = refused - oldest
        high = passed - (oldest if self.kind is WindowKind.SLIDING else self.earliest)
        if self.kind is WindowKind.ALIGNED and self.length is not None:
            whole = max(1, round((low + high) / 2 / self.length))
            return low / whole, high / whole
        return low, high

    def _begin_anew(self, history: History, full: float, refused: float, passed: float) -> None:
        """Forget what was wrong: all of it, as a budget says nothing without its length.

        Between two edges of an aligned window there may have been more: the most usual length is
        taken of those that are longer than the block.
        """
        self.standing, least = min(self.standing, 0.0), max(refused - full, _LEAST_LENGTH)
        if self.kind is WindowKind.ALIGNED and self.began is not None:
            low, high = refused - self.began, passed - self.earliest
            wholes = [n for n in range(1, _EDGES) if high / n > least] or [1]
            whole = min(wholes, key=lambda n: rank(max(low / n, least), high / n))
            self.shortest, self.longest = max(low / whole, refused - full), high / whole
        self._fits(self.held(history, full))

    def _edge(self, refused: float, passed: float) -> None:
        """Place the window's begin between a refusal and the request that passed."""
        if self.kind is WindowKind.ANCHORED:
            self.began = self.earliest = passed
            return
        if self.began is not None and self.length is not None:
            # An edge is known ever better, since it comes again and again.
            whole = round((passed - self.began) / self.length) * self.length
            refused = max(refused, min(self.earliest + whole, passed))
            passed = min(passed, max(self.began + whole, refused))
        self.began, self.earliest = passed, refused

    def _fits(self, held: float) -> None:
        self.budget = max(int(held + 0.5), 1)


def roundest(low: float, high: float) -> float:
    """Return the most usual length above `low`, up to `high` and a moment."""
    for usual in _USUAL:
        if low < usual <= high + SLACK:
            return float(usual)
    for step in (600.0, 60.0, 5.0, 1.0):
        found = (low // step + 1) * step
        if found <= high + SLACK:
            return found
    return max((low + high) / 2, 0.01)


def rank(low: float, high: float) -> int:
    """Return how usual the most usual length is that lies above `low`, up to `high`; 0 is most."""
    return next((at for at, usual in enumerate(_USUAL) if low < usual <= high + SLACK), len(_USUAL))


def is_usual(low: float, high: float) -> bool:
    """Say whether a usual length lies above `low`, up to `high` and a moment."""
    return any(low < usual <= high + SLACK for usual in _USUAL)


def next_usual(after: float) -> float | None:
    """Return the next usual length after so many seconds."""
    return next((usual for usual in _USUAL_S if usual > after), None)
