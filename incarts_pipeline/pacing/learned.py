"""What was learned of a rate limit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the server seems to count."""

    WINDOW = "window"
    BUCKET = "bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the limit was measured to be; `window` in seconds is None for a bucket."""

    kind: Kind
    rate: float  # requests a second
    budget: int | None = None  # requests per window
    window: float | None = None

    def __str__(self) -> str:
        if self.window is None:
            return f"about {self.rate:.3g} requests a second"
        return f"{self.budget:,} requests per {self.window:g} s"
