"""Signals that teach a rate controller."""

from __future__ import annotations

from incarts_pipeline.rate_limit.signals import Hints, Outcome, Signal


def refused(hint: float | None = None) -> Signal:
    """Return a 429."""
    return Signal(outcome=Outcome.REFUSED, hints=Hints(retry_after=hint), said="429")


ACCEPTED = Signal(outcome=Outcome.ACCEPTED)
UNKNOWN = Signal(outcome=Outcome.UNKNOWN)
