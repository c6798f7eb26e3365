"""Standing: how far a guess is believed, by what it foretold right and wrong. Pure."""

from __future__ import annotations

PROVEN = 1.0  # standing of a guess from which it is waited for alone
RIGHT, WRONG = 1.0, -2.0  # by one prediction: newer evidence counts more than older
SLACK = 0.3  # seconds by which a prediction may be off: what lies between sending and arriving
_MOST = 5.0


def judged(standing: float, change: float, most: float = _MOST) -> float:
    """Return a standing after one prediction."""
    return max(-most, min(most, standing + change))
