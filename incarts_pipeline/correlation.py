"""Correlation ids: one for each attempt, so that Incarts' support can find it."""

from __future__ import annotations

import os
import random

# Seeded by the system, and anew in a forked process; asking the system each time costs more.
_chance = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chance.seed)


def new_correlation_id() -> str:
    """Return a fresh id for one attempt: 40 characters, of the 8 to 128 that are allowed."""
    return f"incarts-{_chance.getrandbits(128):032x}"
