"""Meter: what the server gives, by the model that explains what was met last. Pure.

Times in seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.flow import Flow
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import Phase
from incarts_pipeline.rate_limit.window import Edge, Window

DOUBTED = 20.0  # acknowledgements that a rate counts for which may have changed
_FEWEST = 4  # requests since a window's last end: what gives fewer is a slow bucket


@dataclass(slots=True)
class Meter:
    """Both models, and which one was met last."""

    flow: Flow = field(default_factory=Flow)
    window: Window = field(default_factory=Window)
    by_window: bool = False  # whether the window is what paces
    was_long: bool = False  # whether the last block was a window's

    @property
    def length(self) -> float | None:
        """The window's length, None if none paces."""
        return self.window.length if self.by_window else None

    @property
    def rate(self) -> float | None:
        """What the server gives, None while nobody knows."""
        return (self.by_window and self.window.rate) or self.flow.rate

    @property
    def is_settled(self) -> bool:
        """Whether the rate stands on enough to be ridden."""
        if self.by_window and self.window.rate:
            is_told = not self.was_long and self.window.holds_many
            return self.window.is_exact and (is_told or self.window.is_known)
        return self.flow.is_settled

    def room(self, history: History, now: float) -> float:
        """Return how many may go at once, as far as is known."""
        length = self.length
        if length is None:
            return self.flow.saved(now, history.total)
        return self.window.budget - history.since(now - length)

    def begin(self, rate: float | None, weight: float = 0.0) -> None:
        """Measure anew; until then a rate is assumed that counts for so many acknowledgements."""
        self.flow.begin(rate, weight)
        self.by_window = False

    def ended(
        self, history: History, began: float, edge: Edge, phase: Phase, *, is_long: bool
    ) -> None:
        """Take in a block that began at an instant, and whether that was long for a bucket."""
        flow, window = self.flow, self.window
        is_long &= edge.total - (window.edge.total if window.edge else 0) >= _FEWEST
        self.was_long = is_long
        if not is_long:
            flow.rested(edge.passed - began)
        if is_long or (self.by_window and window.foretold(began, edge.refused, edge.passed)):
            window.ended(history, began, edge, phase, is_long=is_long)
            self.by_window = window.rate is not None
        elif self.by_window and not window.is_full(history, edge.refused):
            self.begin(window.rate, DOUBTED)  # another limit, of fewer
        elif self.by_window:
            window.refused_amid(history, edge.refused, rises=phase is Phase.MEASURE)
        elif phase is Phase.MEASURE and window.length and window.is_full(history, edge.refused):
            window.reached(history, edge.refused)
            self.by_window = True
        # What gives evenly has least when it refuses; a window gives again when one passes.
        flow.empty((edge.refused + edge.passed) / 2 if is_long else edge.refused, edge.total)
        if flow.met is None:
            flow.met = began
        if not self.by_window:
            flow.learn_burst(history)
