"""Block: after a 429 nobody sends but one request at a time, the canary; and when it goes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.rate_limit.reset_times import Resets

LEASE = 5.0  # seconds after which a canary that nobody heard of is given up
FIRST_GAP = 0.1  # seconds
_GAP_GROWTH, LARGEST_GAP = 1.8, 4.0
_SURELY_LONG = 0.5  # seconds blocked, before which a reset at a usual length is not waited for
_AGAIN = 0.5  # times the time already blocked, after which one is made anyway
_POLL = 0.05  # seconds between looks while a canary is out


@dataclass(slots=True)
class Block:
    """One block; times in seconds. `rate` is the requests a second that were thought to be fine."""

    began: float  # when the server was exhausted
    watched_from: float  # since when somebody has been trying
    rate: float
    gap: float
    canary_at: float = 0.0
    refused: int = 0
    canary_sent: float | None = None
    last_refused: float = 0.0
    accepted_after: int = 0  # requests that left before anybody knew
    hinted: float | None = None
    guessed: bool = False

    def is_canary(self, sent_at: float) -> bool:
        """Say whether a request that left then was the canary: it leaves after its permit."""
        return self.canary_sent is not None and sent_at >= self.canary_sent

    def ask(self, now: float) -> float:
        """Let the canary go and return 0.0, or return the seconds to wait."""
        if self.canary_sent is not None:
            # Its process may have died with it, so it holds the others up for a lease at most.
            wait = self.canary_sent + LEASE - now
            if wait > 0:
                return min(wait, _POLL)
        if now < self.canary_at:
            return self.canary_at - now
        self.canary_sent = now
        return 0.0

    def was_refused(self, sent_at: float) -> None:
        """Note that the canary was refused."""
        self.canary_sent = None
        self.refused += 1
        self.last_refused = sent_at

    def plan(
        self, now: float, hint: float | None, resets: Resets, *, one_more: float, jitter: float
    ) -> None:
        """Say when to try: at the hint, at the predicted reset, else after a gap that grows.

        `one_more` is how long a sliding window takes to let one more in.
        """
        self.canary_at = self._next(now, hint, resets, one_more, jitter)

    def _next(
        self, now: float, hint: float | None, resets: Resets, one_more: float, jitter: float
    ) -> float:
        # A hint of less than a second may be a rounded nothing. After one that was obeyed, a short
        # one is only what its rounding left over.
        if hint is not None and hint >= 1.0 and (self.hinted is None or hint > 2.0):
            self.hinted = now + hint
            return now + hint - 1.0 + 0.01  # servers round up: the truth is within that second
        if self.hinted is not None and now < self.hinted + 2.0:
            # Tried within the second that the server rounded up: it can't be long now.
            return now + 0.2
        if not self.guessed:
            self.guessed = True
            guess = resets.first_try(now, one_more)
            if guess is not None:
                return guess + jitter
        # Without a better guess the gaps grow: a bucket is open again after a moment, a window may
        # take an hour. Later a tenth of the time blocked is little beside what it took.
        gap, self.gap = self.gap, min(self.gap * _GAP_GROWTH, LARGEST_GAP)
        by_gap = now + max(gap, (now - self.began) / 10 if gap >= LARGEST_GAP else 0.0)
        # Windows are longer than this: it is a bucket as yet, and the gaps find it sooner.
        if resets.window is None and now - self.began < _SURELY_LONG:
            return by_gap
        # A guess goes first, but may be wrong: one that is far ahead is not waited for alone.
        guess = resets.next_try(now + 0.01, by_gap)
        if guess is None:
            return by_gap
        return min(guess + jitter, max(by_gap, now + _AGAIN * (now - self.began)))
