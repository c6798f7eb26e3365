"""Ban: a limit that refuses everything for a while once it was exceeded. Pure; times in seconds.

The wait hides when there is room again, so that no window can be learned from it. But of each pace
it is known whether it led to a ban: the highest that didn't and the lowest that did close in on the
limit, whatever that is.
"""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.rate_limit.block import Block
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.lengths import is_usual, roundest

_SHORTEST, _LONGEST = 20.0, 600.0  # seconds
_BACK = 1 / 3  # of the way up that a ban leaves, in logarithms: it is dearer than to go slow
_PROOF = 2.0  # bans' lengths that a pace is ridden for, until it counts as fine
_CLOSE = 1.02  # times the pace that is fine: closer to it no pace is tried
_REST, _HIGHER = 50.0, 1.1  # bans' lengths until more is tried again; times the pace, at most
_UNPROVEN_REST = 10.0  # the same, while only one was seen: it may have been an outage
_REMEMBERED = 900.0  # seconds of which the average is taken
_LATE = 0.5  # seconds: a try that is too early prolongs it
_SOON = 0.05  # of a ban's length, after which one request goes: windows of seconds are over then
_LEAST = 1 / 8  # of a pace that was refused: an outage, too, leaves that much to begin with


@dataclass(slots=True)
class Ban:
    """How long a ban lasts, and the paces in requests a second that led to one, and that didn't."""

    lasts: float  # seconds without a try, as it was believed at first
    fine: float = 0.0
    bad: float = 0.0
    longer: float = 0.0  # seconds that a later one took, until one was shorter
    is_raised: bool = False  # whether more than `bad` was tried since
    is_proven: bool = False  # whether a second one came

    @property
    def is_doubted(self) -> bool:
        """Whether a pace well above one that led to a ban was fine: it is none, or less strict."""
        return self.is_raised and self.is_close

    @property
    def length(self) -> float:
        """Seconds that the next one is taken to last."""
        return self.longer or self.lasts

    @property
    def is_close(self) -> bool:
        """Whether nothing is left to be tried between the two paces."""
        return self.bad < _CLOSE * self.fine

    @property
    def rest(self) -> float:
        """Seconds until a higher pace is tried."""
        if not self.is_close:
            return _PROOF * self.length
        return (_REST if self.is_proven else _UNPROVEN_REST) * self.length

    def over_at(self, last_refused: float, tries: int) -> float:
        """Return when to try again after so many tries were refused."""
        if not tries:
            return last_refused + max(_SOON * self.length, 1.0)
        return last_refused + min(self.length * 2.0 ** (tries - 1), _LONGEST) + _LATE

    def ended(self, lasted: float, tries: int) -> None:
        """Take in that one ended so many seconds after the last of so many tries."""
        if not tries and lasted < self.length:
            self.longer = 0.0
        self.is_proven |= tries > 0
        if tries > 1 and could_last(lasted):
            self.longer = lasted

    def met(self, pace: float, history: History, now: float) -> float:
        """Take in a pace that was refused; return the next one to ride."""
        self.bad, self.is_raised = pace, False
        if self.fine > 0.999 * pace:
            self.fine = 0.0  # it was, but the limit fell
        # What was accepted a second, all waits included: that much there is.
        since = max(history.first or 0.0, now - _REMEMBERED)
        average = history.since(since) / max(now - since, 1.0)
        low = self.fine or min(max(average, _LEAST * pace), pace / _HIGHER)
        return low if self.is_close else float(low * (pace / low) ** _BACK)

    def survived(self, pace: float) -> float:
        """Take in a pace that was ridden without a refusal; return the next one."""
        was_close = self.is_close
        self.fine = pace
        if was_close:
            self.bad, self.is_raised = _HIGHER * pace, True
        return pace if self.is_close else float((pace * self.bad) ** 0.5)


@dataclass(slots=True)
class LongBlocks:
    """How long the last long block lasted, in seconds: more than, and at most."""

    last: tuple[float, float] | None = None

    def ban_of(self, block: Block, passed: float, first: float) -> float | None:
        """Return how long a ban takes that ended a block which nobody foretold; None for none.

        `first` is when the first request was accepted.
        """
        before, lasted = self.last, (block.last_refused - block.began, passed - block.began)
        self.last = lasted
        if block.waited_for or block.is_told or not could_last(lasted[1]):
            return None
        if before is not None:
            # As long as the one before, whatever was held.
            is_same = max(before[0], lasted[0]) < min(before[1], lasted[1])
            return lasted[1] if is_same else None
        # Each try prolonged it, should that explain a usual time, and a window none.
        gap = passed - block.last_refused
        if is_usual(block.last_refused - first, passed - first) or not could_last(gap):
            return None
        return roundest(block.longest_gap, gap) if is_usual(block.longest_gap, gap) else None


def could_last(seconds: float) -> bool:
    """Say whether a ban may take so many seconds."""
    return _SHORTEST < seconds < _LONGEST
