"""When the next request may go: pure algorithms, with the time in seconds as an argument."""

from __future__ import annotations

from incarts_pipeline.models import Answer, AnswerKind

_BURST_SECONDS = 0.05  # what may be caught up after a late wake-up
_FIRST_BLOCK = 1.0
_LONGEST_BLOCK = 60.0


class TokenBucket:
    """A fixed ceiling that stops for a 429 and goes on afterwards at the same rate.

    Requests are paced evenly: the bucket holds what a twentieth of a second allows, at least one.
    A 429 blocks everybody for its Retry-After, else for a time that doubles with every 429 in a
    row, from 1 to 60 seconds. 429s of requests that were sent before the block are ignored.

    Args:
        rate: requests per second, None for no ceiling.
    """

    def __init__(self, rate: float | None) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"rate must be above 0, not {rate}")
        self.rate = rate
        self._capacity = max(1.0, (rate or 0) * _BURST_SECONDS)
        self._tokens = 1.0
        self._filled_at: float | None = None
        self._blocked_at = float("-inf")
        self._blocked_until = float("-inf")
        self._in_a_row = 0

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""
        if now < self._blocked_until:
            return self._blocked_until - now
        if self.rate is None:
            return 0.0
        if self._filled_at is not None:
            gained = (now - self._filled_at) * self.rate
            self._tokens = min(self._capacity, self._tokens + max(0.0, gained))
        self._filled_at = now
        # Rounding must not leave a caller asking again and again for the last billionth of a token.
        if self._tokens < 1.0 - 1e-9:
            return (1.0 - self._tokens) / self.rate
        self._tokens -= 1.0
        return 0.0

    def answered(self, answer: Answer, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""
        if answer.kind is AnswerKind.LINK:
            self._in_a_row = 0
        if answer.kind is not AnswerKind.RATE_LIMITED or sent_at < self._blocked_at:
            return
        hint = answer.hints.retry_after
        wait = hint if hint is not None else _FIRST_BLOCK * 2**self._in_a_row
        self._in_a_row = min(self._in_a_row + 1, 10)
        self._blocked_at = now
        self._blocked_until = now + min(max(wait, 0.05), max(_LONGEST_BLOCK, hint or 0.0))

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the block after a 429 ends, 0.0 when there is none."""
        return max(0.0, self._blocked_until - now)
