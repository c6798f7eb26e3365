"""Whether what was learned still holds, or was only a guess at something else. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.pacing.learned import Kind, Learned
from incarts_pipeline.pacing.pacer import NEVER

_STRAYS = 6  # short blocks in two windows that may be jitter
_WRONG, _WRONG_WITHIN = 3, 600.0  # mispredictions in seconds, after which no model is believed


@dataclass(slots=True)
class Trust:
    """Counts 429s that nobody expected; times in seconds."""

    strays: list[float] = field(default_factory=list)
    wrong: list[tuple[float, int]] = field(default_factory=list)  # when, and accepted until then
    plain_until: float = NEVER  # until then: no models, only averages

    def is_stray(self, now: float, window: float | None) -> bool:
        """Note a 429 while cruising; say whether it is the first for a while: jitter, perhaps."""
        self.strays = [at for at in self.strays if now - at < max(60.0, 2.5 * (window or 0.0))]
        self.strays.append(now)
        return len(self.strays) < (2 if window is None else _STRAYS)

    def is_wrong_again(self, now: float, accepted: int) -> bool:
        """Note that what was learned is wrong; say whether that happened too often to go on so."""
        self.wrong = [one for one in self.wrong if now - one[0] < _WRONG_WITHIN]
        self.wrong.append((now, accepted))
        if len(self.wrong) < _WRONG:
            return False
        self.plain_until = now + _WRONG_WITHIN
        return True

    def average(self, now: float, accepted: int) -> Learned:
        """Return what the server accepted, blocks and all, since models began to fail."""
        since, before = self.wrong[0]
        return Learned(kind=Kind.BUCKET, rate=max(accepted - before, 1) / max(now - since, 1.0))
