"""What a controller is about."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """What the controller is about."""

    START = "start"  # faster and faster, until the first 429
    MEASURE = "measure"  # a limit was met, or is higher than was thought: where is it?
    CRUISE = "cruise"  # just below the limit
    PROBE = "probe"  # just above it: is it still there?
