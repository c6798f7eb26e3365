"""Window model: so many requests in a time, whenever that begins. Pure; times in seconds.

Two ends in a row are a length apart, and what was accepted between them is the budget. A window
that is the last so many seconds has no end; it shows itself as it refuses, and gives again at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.lengths import SLACK, is_usual, roundest
from incarts_pipeline.rate_limit.limit import Phase

SURE, _MOST_SURE = 1.0, 5.0  # standing from which a length is believed, and the most
MISCOUNT = 3.0  # requests by which counts may be wrong
_FEWEST = 4  # requests in a window: what gives fewer at once gives evenly
_LEAST, _MOST = 1.1, 2.5  # times a block, between which the length of its window is at first
_LONGER = 1.5  # windows that a block lasts, from which it is another one's
_SAME, _CLOSE = 1.02, 0.97  # times a budget: still the same
_FULL = 0.9  # of a budget, below which a refusal is none of the window's
_TOO_FULL = 10.0  # times a budget: it isn't what refuses
_MANY = 40  # requests in a window that are no chance
_NARROW = 0.9  # of the longest length that is possible, the shortest one: it is known well
_SHARP = 0.02  # of a length, to which an end is known well
_EXCESS = 1.01  # times a budget: more shows that it rose


class Edge(NamedTuple):
    """An end, after one was refused and before another passed, with so many accepted until then."""

    refused: float
    passed: float
    total: int

    @property
    def unsure(self) -> float:
        """Seconds between the two."""
        return self.passed - self.refused


@dataclass(slots=True)
class Window:
    """The window that was met last: its length lies between `shortest` and `longest`."""

    shortest: float = 0.0
    longest: float = 0.0  # 0: no window was met
    budget: int = 0  # requests
    edge: Edge | None = None  # its last end that is known
    standing: float = 0.0  # how many ends in a row were where they were expected
    slides: bool = False  # whether it is the last so many seconds
    is_eased: bool = False  # whether it wasn't kept full since that end
    is_exact: bool = False  # whether the budget was counted from end to end
    fits: bool = False  # whether the last end was expected

    @property
    def length(self) -> float | None:
        """The most usual length that is possible, None while no window was met."""
        return roundest(self.shortest, self.longest) if self.longest else None

    @property
    def rate(self) -> float | None:
        """Requests a second that it lets through for good, None if it is none."""
        length = self.length
        return self.budget / length if length and self.budget >= _FEWEST else None

    @property
    def is_known(self) -> bool:
        """Whether its length is known well."""
        is_narrow = self.shortest > _NARROW * self.longest
        return self.standing >= SURE or (is_narrow and self.holds_many)

    @property
    def holds_many(self) -> bool:
        """Whether it holds so many that it is no bucket's by chance."""
        return self.budget >= _MANY

    def begin(self, length: float, budget: int) -> None:
        """Begin with what was measured before."""
        self.shortest, self.longest = max(0.99 * length - 0.01, 0.0), length
        self.budget = budget
        self.standing = SURE

    def started(self, at: float) -> None:
        """Note the first request: a window that was known before may begin with it."""
        if self.edge is None and self.longest:
            self.edge = Edge(at, at, 0)

    # What it foretells.

    def is_full(self, history: History, at: float) -> bool:
        """Say whether it was about full at an instant, if it is the last so many seconds."""
        length = self.length
        return length is None or history.since(at - length) >= _FULL * self.budget

    def held(self, history: History, now: float) -> float:
        """Return how many it holds since it ended last."""
        length, edge = self.length, self.edge
        if length is None or edge is None:
            return 0.0
        return history.since(edge.passed + (now - edge.passed) // length * length - 1e-3)

    def opens(self, history: History, full: float, refused: float) -> float | None:
        """Return when more is let through, if it was full at an instant; None if that is past."""
        length, edge = self.length, self.edge
        if length is None or edge is None:
            return None
        if self.slides:
            oldest = history.nth_newest(min(self.budget, history.total))
            at = refused if oldest is None else oldest + length
        else:
            whole = max(1.0, (full - edge.passed) // length + 1.0)
            # Where windows begin with a request, each one begins a little later.
            at = edge.passed + whole * (length + 0.5 / (self.rate or 1e9))
        if at <= refused:
            return None
        # Of an end that is only known roughly, the middle: a try there halves what is possible.
        is_rough = not self.slides and edge.unsure > _SHARP * length
        return at - min(edge.unsure, at - refused) / 2 if is_rough else at

    def is_sure(self, history: History, full: float) -> bool:
        """Say whether it was full at an instant as far as is known, so that waiting is right.

        One that held many times its budget is none.
        """
        length = self.length or 0.0
        held = history.since(full - length) if self.slides else self.held(history, full)
        is_full = self.slides or held >= _FULL * self.budget
        return is_full and held < _TOO_FULL * self.budget

    def foretold(self, began: float, refused: float, passed: float) -> bool:
        """Say whether a block ended as the window did that was under way when it began."""
        length, edge = self.length, self.edge
        if length is None or edge is None:
            return False
        whole = max(1.0, (began - edge.passed) // length + 1.0) * length
        return edge.refused + whole < passed + SLACK and refused - SLACK < edge.passed + whole

    def is_exceeded(self, history: History, now: float) -> bool:
        """Say whether it holds more than it should."""
        length, edge = self.length, self.edge
        if length is None or edge is None or edge.unsure > _SHARP * length:
            return False
        is_believed = self.standing >= SURE
        return is_believed and self.held(history, now) > _EXCESS * self.budget + MISCOUNT

    # What is learned.

    def let_through(self, rate: float) -> None:
        """Take in that it lets so many a second through: more, or its length was a guess."""
        longest = self.budget / rate
        if self.shortest < longest and not is_usual(self.shortest, self.longest):
            self.longest = min(self.longest, longest)

    def refused_amid(self, history: History, at: float, *, rises: bool) -> None:
        """Take in a refusal long before its end; `rises` says whether more was looked for."""
        held = self.budget
        self.slides = True  # else it had been full until its end
        self.reached(history, at)
        self.is_exact = self.budget <= _SAME * held
        if not rises:
            self.budget = min(self.budget, held)

    def reached(self, history: History, at: float) -> None:
        """Take in that it let so much through as it holds at an instant, or more."""
        self.budget, self.is_exact = int(history.since(at - (self.length or 0.0)) + 0.5), False

    def ended(
        self, history: History, began: float, edge: Edge, phase: Phase, *, is_long: bool
    ) -> None:
        """Take in an end that a block had which began at an instant, if it was long for sure."""
        before, length, is_eased = self.edge, self.length, self.is_eased
        least, whole = max(edge.refused - began, 0.01), 1
        is_new = is_eased and (not length or least > _LONGER * length)
        if before is None or is_new:
            # It is longer than its block, but not many times.
            start = began if history.first is None else history.first
            self.shortest = _LEAST * least
            self.longest = max(min(_MOST * least, edge.passed - start), 1.01 * self.shortest)
            self.standing, self.slides, self.fits, whole = 0.0, False, False, 0
        else:
            low, high = max(edge.refused - before.passed, least), edge.passed - before.refused
            is_next = is_long and not is_eased  # it was full all the time: no end is missing
            if not is_next and length:
                whole = max(1, round((low + high) / 2 / length))
            low, high = low / whole, high / whole
            self.fits = max(low, self.shortest, least) < min(high + SLACK, self.longest)
            if self.fits:
                self.standing = min(self.standing + 1.0, _MOST_SURE)
            if is_next and not self.fits:
                self.shortest, self.longest, self.standing, self.slides = low, high, 0.0, False
            elif is_next:
                self.shortest = max(low, self.shortest)
                self.longest = max(min(high, self.longest), self.shortest + 0.01)
            elif not self.fits:
                whole = 0
        self._count(history, edge, phase, whole)
        self.is_eased = False

    def _count(self, history: History, edge: Edge, phase: Phase, whole: int) -> None:
        """Place an end that is so many windows after the last one, and learn the budget from it.

        0 says that nobody knows how many windows that were.
        """
        before, held, length = self.edge, self.budget, self.length or 0.0
        # An end is known ever better, since it comes again and again. But a window that begins with
        # a request began when one passed.
        first = edge.refused
        if whole and before is not None:
            first = max(first, min(before.refused + whole * length, edge.passed))
        self.edge, self.is_exact = edge._replace(refused=first), False
        if whole == 1 and before is not None and not self.is_eased:
            self.budget, self.is_exact = edge.total - before.total, True
        else:
            middle = (first + edge.passed) / 2 if whole else edge.refused
            self.budget = int(history.since(middle - length) + 0.5)
            close = min(_CLOSE * held, held - MISCOUNT)
            is_same = close <= self.budget <= 2 * held - close
            # A probe doesn't tell it better.
            if whole and (is_same or (phase is Phase.PROBE and self.budget > _FULL * held)):
                self.budget, self.is_exact = held, True
