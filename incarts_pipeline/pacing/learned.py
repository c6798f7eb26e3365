"""What was learned of a rate limit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the server seems to count."""

    WINDOW = "window"
    BUCKET = "bucket"
    OPEN = "open"  # no limit was met


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the limit was measured to be; `window` in seconds is None unless it is one."""

    kind: Kind
    rate: float  # requests a second
    budget: int | None = None  # requests per window
    window: float | None = None

    def __str__(self) -> str:
        if self.kind is Kind.OPEN:
            return f"none met up to {self.rate:.3g} requests a second"
        if self.window is None:
            return f"about {self.rate:.3g} requests a second"
        return f"{self.budget:,} requests per {self.window:g} s"
