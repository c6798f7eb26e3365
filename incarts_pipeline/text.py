"""Words for people: counts, durations, and what somebody may have meant by a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def counted(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, like `1 request` or `2,000 requests`.

    Args:
        n: the count.
        one: the noun in the singular.
        many: its plural, where that isn't `one` with an s.
    """
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


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest candidate, or an empty string."""
    known = list(candidates)
    # `SKU` for `sku` is the commonest slip, and letters of another case count as other letters.
    by_lower = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_lower, n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[near[0]]}"?' if near else ""


def suggest_file(path: Path) -> str:
    """Return the same for a path that doesn't exist, from what is in its folder."""
    try:
        return suggest(path.name, sorted(one.name for one in path.parent.iterdir()))
    except OSError:  # no folder, or none that can be looked into
        return ""
