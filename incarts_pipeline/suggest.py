"""What somebody may have meant by a name that doesn't exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest candidate, or an empty string."""
    known = list(candidates)
    by_lower = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_lower, n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[near[0]]}"?' if near else ""


def suggest_file(path: Path) -> str:
    """Return the same for a path that doesn't exist, from what is in its folder."""
    try:
        return suggest(path.name, sorted(one.name for one in path.parent.iterdir()))
    except OSError:  # no folder, or none that can be looked into
        return ""
