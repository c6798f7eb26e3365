"""Lengths: how long windows usually are, in seconds. Pure."""

from __future__ import annotations

SLACK = 0.3  # seconds by which a prediction may be off: what lies between sending and arriving
# From the most usual one on; what lies between is rounded to tens of minutes, minutes, fives, ones.
_USUAL = (60, 10, 30, 300, 1, 5, 15, 20, 3600, 120, 600, 900, 2, 90, 100, 45, 1800, 180, 86400, 50)
_USUAL_S = tuple(sorted(float(one) for one in _USUAL))


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


def is_usual(low: float, high: float) -> bool:
    """Say whether a usual length lies above `low`, up to `high` and a moment."""
    return any(low < usual <= high + SLACK for usual in _USUAL)


def next_usual(after: float) -> float | None:
    """Return the next usual length after so many seconds, None for more than a day."""
    return next((usual for usual in _USUAL_S if usual > after), None)
