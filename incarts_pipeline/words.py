"""Counts and times in words, the same wherever they are told."""

from __future__ import annotations


def counted(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, like `1 request` or `2,000 requests`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a time in words: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    parts += [f"{left} s" if left and not hours else ""]
    return " ".join(part for part in parts if part)
