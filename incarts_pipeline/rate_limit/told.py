"""Told: when headers say to come back, as guesses that have to come true. Pure.

Times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.lengths import SLACK
from incarts_pipeline.rate_limit.signals import Hints

_RIGHT, _WRONG, _MOST = 1.0, -2.0, 2.0  # standing, by one prediction, and at most
_SHARP = 0.25  # of a wait: what was still refused so shortly before its end proves it
_USED = 0.25  # standing that a prediction costs that nothing else was tried before
_ROUNDED = 1.0  # seconds that servers round up by
_KEPT = 8  # policies


@dataclass(slots=True)
class Told:
    """How far each way to tell a time is believed: 0 at first, below it when it failed."""

    standings: dict[str, float] = field(default_factory=dict)

    def times(self, hints: Hints, now: float) -> dict[str, float]:
        """Return when a refusal says to come back, by the ways in which that was told."""
        waits = {} if hints.retry_after is None else {"retry-after": hints.retry_after}
        for place, policy in enumerate(hints.policies[:_KEPT]):
            if policy.reset is not None and not policy.remaining:
                waits[f"reset {place}"] = policy.reset
        return {name: now + wait for name, wait in waits.items() if wait > 0}

    def believed(self, hints: Hints, now: float) -> float | None:
        """Return the latest of these times, but for the ways that failed before."""
        times = self.times(hints, now).items()
        return max((at for name, at in times if self.standing(name) >= 0), default=None)

    def standing(self, name: str) -> float:
        """Return how far a way to tell a time is believed."""
        return self.standings.get(name, 0.0)

    def judge(self, name: str, at: float, began: float, refused: float, passed: float) -> None:
        """Compare a time that was told with when the server refused last, and when it let pass."""
        is_late, is_early = at < refused - SLACK, passed < at - _ROUNDED - SLACK
        change = 0.0
        if is_late or is_early:
            change = _WRONG
        elif refused > max(began, at - max(_SHARP * (at - began), 1.5 * _ROUNDED)):
            change = _RIGHT
        elif refused <= began:  # nothing was tried before it, so that it may be too long
            change = -_USED
        self.standings[name] = max(-_MOST, min(_MOST, self.standing(name) + change))
