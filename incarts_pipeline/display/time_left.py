"""Time left of a run: an estimate that grows only for a reason, which is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SLACK, _SLACK_SECONDS = 0.25, 5.0  # by which a pace may have been misjudged before it is told


@dataclass(slots=True, kw_only=True)
class TimeLeft:
    """The seconds that are left, None when unknown, and `why` they have become more.

    Times are in seconds of any one clock.
    """

    seconds: float | None = None
    why: str = ""
    _ends_at: float | None = None
    _paced: float = 0.0  # requests a second that the estimate counts on
    _facts: Mapping[str, object] = field(default_factory=dict)
    _looked_at: float = 0.0

    def look(
        self,
        now: float,
        *,
        remaining: int,
        pace: float,
        window: float = 0.0,
        facts: Mapping[str, object],
        waiting: bool = False,
    ) -> None:
        """Take in how the run stands.

        Args:
            now: the time.
            remaining: what is still to be done.
            pace: how much of it is done in a second, in the long run.
            window: of the server's limit: within so many seconds the pace isn't even.
            facts: what explains a longer time, as text to be told → its value.
            waiting: whether nothing goes out, for how long nobody knows.
        """
        since, self._looked_at = now - self._looked_at, now
        if not remaining:
            self.seconds, self.why, self._ends_at = None, "", None
            return
        if waiting and self._ends_at is not None:
            self._ends_at += since  # the clock stands; what is waited for is told beside it
        elif pace > 0:
            self._estimate(now, remaining / pace, pace, window, facts)
        if self._ends_at is not None:
            self.seconds = max(self._ends_at - now, 0.0)

    def _estimate(
        self, now: float, left: float, pace: float, window: float, facts: Mapping[str, object]
    ) -> None:
        shown = self._ends_at - now if self._ends_at is not None else None
        changed = [name for name, value in facts.items() if value != self._facts.get(name)]
        if shown is None or left <= shown:
            self.why = self.why if shown is not None and left > 0.9 * shown else ""
        elif (
            shown is not None and left > shown + _SLACK * max(shown, 0.0) + _SLACK_SECONDS + window
        ):
            # What has changed since the last estimate is what it was wrong about.
            self.why = changed[0] if changed else f"slower: {pace:,.3g}/s, was {self._paced:,.3g}/s"
        else:
            return
        self._ends_at, self._paced, self._facts = now + left, pace, dict(facts)
