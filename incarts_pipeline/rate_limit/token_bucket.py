"""Token bucket: paces requests at a rate that is given. Pure, the time in seconds an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.rate_limit.limit import NEVER, NO_TIME, Learned

_BURST_SECONDS = 0.05  # what may be caught up after a late wake-up
_FIRST_BLOCK = 1.0
_LONGEST_BLOCK = 60.0
_PATIENCE = 900.0  # seconds


@dataclass(slots=True)
class TokenBucket:
    """A fixed ceiling that stops for a 429 and goes on afterwards at the same rate.

    Requests are paced evenly: the bucket holds what a twentieth of a second allows, at least one.
    A 429 blocks everybody for its Retry-After, else for a time that doubles with every 429 in a
    row, from 1 to 60 seconds. 429s of requests that were sent before the block are ignored.

    Args:
        rate: requests per second, None for no ceiling.
    """

    # What a RateController of other fields had written must not be read as a bucket.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rate: float | None
    learned: Learned | None = None  # nothing: the rate is given
    tokens: float = 1.0
    filled_at: float | None = None
    blocked_at: float = NEVER
    blocked_until: float = NEVER
    in_a_row: int = 0
    refused_since: float | None = None  # nothing but 429s

    def __post_init__(self) -> None:
        """Refuse a rate that would never send."""
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")

    @property
    def pace(self) -> float | None:
        """The rate that was given."""
        return self.rate

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""
        if now < self.blocked_until:
            return self.blocked_until - now
        if self.rate is None:
            return 0.0
        if self.filled_at is not None:
            gained = (now - self.filled_at) * self.rate
            self.tokens = min(max(1.0, self.rate * _BURST_SECONDS), self.tokens + max(0.0, gained))
        self.filled_at = now if self.filled_at is None else max(self.filled_at, now)
        missing = (1.0 - self.tokens) / self.rate  # seconds
        if missing > NO_TIME:
            # Slots are leased ahead: nothing is gained before the time that was looked at last.
            return self.filled_at - now + missing
        self.tokens -= 1.0
        return 0.0

    def answered(self, answer: Answer, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""
        if answer.kind is AnswerKind.LINK:
            self.in_a_row, self.refused_since = 0, None
        if answer.kind is not AnswerKind.RATE_LIMITED or sent_at < self.blocked_at:
            return
        # Without a hint, exponential back-off: nothing is learned here that could do better.
        hint = answer.hints.retry_after
        wait = hint if hint is not None else _FIRST_BLOCK * 2**self.in_a_row
        self.in_a_row = min(self.in_a_row + 1, 10)
        if self.refused_since is None:
            self.refused_since = now
        self.blocked_at = now
        self.blocked_until = now + min(max(wait, 0.05), max(_LONGEST_BLOCK, hint or 0.0))

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run.

        That is when the server asked for more than 15 minutes, or said 429 for so long.
        """
        wait = self.blocked_for(now)
        lasts = 0.0 if self.refused_since is None else now - self.refused_since
        return wait if wait and max(wait, lasts) > _PATIENCE else None

    def waiting_for(self, now: float) -> str:
        """Say for how long the 429 is waited out, empty when nothing is."""
        wait = self.blocked_for(now)
        return f"rate limit: next try in {wait:.0f} s" if wait else ""

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the block after a 429 ends, 0.0 when there is none."""
        return max(0.0, self.blocked_until - now)
