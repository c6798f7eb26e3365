"""Block: after a refusal nobody sends but one request at a time, the canary; and when it goes.

Pure; times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from incarts_pipeline.rate_limit.limit import NEVER

LEASE = 5.0  # seconds after which a canary that nobody heard of is given up
_POLL = 0.05  # seconds between looks while a canary is out
FIRST_GAP = 0.1  # seconds
_GROWTH = 2.0  # of the gap
_FAST_UNTIL, _FAST_TRIES = 1.0, 4  # seconds blocked, and tries, until which gaps grow like that
_SHARE, _SHARE_LATER, _LATER = 0.25, 0.5, 60.0  # of the time blocked, and from when on
PATIENCE = 900.0  # seconds that most runs wait; no ban is so long
_CLOSE = 0.01  # of the time blocked, that a gap is at least
_MASS, _AMONG = 4, 9  # refused, and at most so many times as many that passed
_SAME, _AGAIN = 2.0, 30.0  # seconds that one instant is told within, and for how long, to count
_LATE = 0.02  # seconds after a predicted instant: what is early is refused
TOLD = ("retry-after", "reset")  # how the names of guesses begin that headers told


class Guess(NamedTuple):
    """When a model, or a hint, says that a request passes again; waited for if `sure`."""

    name: str
    at: float
    standing: float
    sure: bool


@dataclass(slots=True)
class Block:
    """One block: since `began`, when the server was exhausted."""

    began: float
    last_refused: float
    first_gap: float = FIRST_GAP
    canary_at: float = 0.0
    canary_sent: float | None = None
    tries: int = 0  # canaries that were refused
    also_refused: int = 0  # requests that left before anybody knew
    accepted_after: int = 0  # and such that passed
    guesses: dict[str, float] = field(default_factory=dict)
    said: str = ""  # by the server, as people are told
    hinted: float | None = None  # when a hint said to come back, as it was told
    hinted_from: float = 0.0  # since when it tells that instant
    waited_for: str = ""
    watched_from: float = 0.0  # since when somebody has been trying
    foretold: float = NEVER  # when it should have ended
    longest_gap: float = 0.0  # between two tries of which the second was refused
    lost: float = 0.0  # seconds in which a canary was out that nobody heard of

    @property
    def is_told(self) -> bool:
        """Whether a header told when it ends."""
        return any(way.startswith(TOLD) for way in self.guesses)

    @property
    def is_mass(self) -> bool:
        """Whether so many of what was under way were refused that it is no chance."""
        refused = 1 + self.also_refused
        return refused >= _MASS and self.accepted_after < _AMONG * refused

    def ask(self, now: float) -> float:
        """Let the canary go and return 0.0, or return the seconds to wait."""
        if self.canary_sent is not None:
            # Its process may have died with it, so it holds the others up for a lease at most.
            wait = self.canary_sent + LEASE - now
            if wait > 0:
                return min(wait, _POLL)
            self.lost += LEASE
        if now < self.canary_at:
            return self.canary_at - now
        self.canary_sent = now
        return 0.0

    def is_canary(self, sent_at: float) -> bool:
        """Say whether a request that left then was the canary: it leaves after its permit."""
        return self.canary_sent is not None and sent_at >= self.canary_sent

    def was_refused(self, sent_at: float) -> None:
        """Note that the canary was refused."""
        self.canary_sent = None
        self.tries += 1
        self.longest_gap = max(self.longest_gap, sent_at - self.last_refused)
        self.last_refused = sent_at

    def was_told(self, at: float | None, sent_at: float) -> None:
        """Note when a hint says to come back."""
        if at is None or self.hinted is None or abs(at - self.hinted) > _SAME:
            self.hinted, self.hinted_from = at, sent_at

    @property
    def is_told_again(self) -> bool:
        """Whether a hint tells the same instant for a while: one in another unit never does."""
        since = max(self.hinted_from, self.watched_from)
        return self.hinted is not None and self.last_refused - since > _AGAIN

    def plan(self, now: float, guesses: list[Guess]) -> None:
        """Say when to try: when the best that is sure says, else soon, and then ever later."""
        for guess in guesses:
            self.guesses.setdefault(guess.name, guess.at)
        ahead = [guess for guess in guesses if guess.at > now]
        # What would take very long has to be proven by a second refusal.
        sure = [one for one in ahead if one.sure and (self.tries or one.at - now < PATIENCE)]
        if sure:
            best = max(sure, key=lambda guess: (guess.standing, -guess.at))
            self.canary_at, self.waited_for = best.at + _LATE, best.name
            self.foretold = best.at
            return
        near = min((guess.at + _LATE for guess in ahead), default=now + PATIENCE)
        if near - self.began > PATIENCE and self.foretold < near < now + self._gap(now):
            self.foretold = near
        self.canary_at, self.waited_for = min(now + self._gap(now), near), ""

    def _gap(self, now: float) -> float:
        """Return a gap that grows: a bucket is open after a moment, a window after an hour."""
        # What should have ended just now ends soon.
        blocked = now - max(self.began, self.foretold)
        if blocked < _FAST_UNTIL and self.tries < _FAST_TRIES:
            return float(self.first_gap * _GROWTH**self.tries)
        share = _SHARE if blocked < _LATER else _SHARE_LATER
        return max(blocked * share, _CLOSE * (now - self.began), FIRST_GAP)
