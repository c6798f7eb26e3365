"""How far above a limit to look for a higher one, and how long a burst hides that there is none.

Pure; times in seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.pacing.learned import Kind, Learned

PROBE_WINDOW = 1.025  # times a window's rate
_STEP = 0.05  # of a bucket's rate
_SMALLEST_STEP, _LARGEST_STEP = 0.0125, 0.4
_SHORTEST_PROBE, _LONGEST_PROBE = 5.0, 60.0  # seconds, of a bucket


@dataclass(slots=True)
class Headroom:
    """What is known of a bucket's burst, and the next step above the limit."""

    burst: float = 0.0  # that a bucket may hold
    step: float = _STEP
    climbed: int = 0
    ramp: list[tuple[float, int]] = field(default_factory=list)  # the start: when, accepted

    def step_from(self, learned: Learned) -> float:
        """Return how many times the limit's rate to try."""
        return PROBE_WINDOW if learned.kind is Kind.WINDOW else 1.0 + self.step

    def widen(self) -> None:
        """Take a larger step: the limit was not met."""
        self.climbed += 1
        self.step = min(2 * self.step, _LARGEST_STEP)

    def narrow(self) -> bool:
        """Take smaller steps: the limit was met; say whether it is known where, closely enough."""
        climbed, self.climbed = self.climbed, 0
        if self.step > _STEP:
            self.step = _STEP
            return False
        if not climbed:
            self.step = max(self.step / 2, _SMALLEST_STEP)
        return True

    def lasts(self, learned: Learned, rate: float) -> float:
        """Return for how long a server may accept a higher rate: a window, or a burst."""
        extra = max(rate - learned.rate, 1e-6)
        if learned.window is not None:
            return learned.window * min(max(1.1, 3.0 / extra / learned.window), 3.3)
        return min(max((1.2 * self.burst + 3.0) / extra, _SHORTEST_PROBE), _LONGEST_PROBE)

    def note_burst(self, learned: Learned | None, rate: float) -> None:
        """Estimate the burst: from the start, or because what looked like more was only that."""
        if learned is None and self.ramp:
            end, accepted = self.ramp[-1]
            self.burst = max(accepted - was - rate * (end - at) for at, was in self.ramp)
        elif learned is not None and rate < 0.99 * learned.rate:
            self.burst = 2.0 * max(self.burst, 5.0)
