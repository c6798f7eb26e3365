"""Signal: what one answer says to rate control, free of any protocol's details. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of a request at the server's limiter."""

    ACCEPTED = "accepted"  # it was let through, and answered
    REFUSED = "refused"  # by a limiter: a 429, or a 503 that means the same
    UNKNOWN = "unknown"  # no answer, or trouble of which nobody knows whether it was counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is left of one limit, as headers tell it; what is not told is None."""

    remaining: int | None = None  # requests
    reset: float | None = None  # seconds from the answer on


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What an answer's headers say: each policy by itself."""

    retry_after: float | None = None  # seconds
    policies: tuple[Policy, ...] = ()


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An answer: its outcome, and its hints; `said` is what people are told of a refusal."""

    outcome: Outcome
    hints: Hints = NO_HINTS
    said: str = ""
