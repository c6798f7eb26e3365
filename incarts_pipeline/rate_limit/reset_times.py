"""Reset times: three guesses of when a window begins anew; the one that comes true is believed.

A window may be aligned to the server's clock, may begin with the first request after the last one
ended, or may slide. Each block that ends tells which of them was right. Pure, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from incarts_pipeline.rate_limit.limit import NEVER
from incarts_pipeline.rate_limit.sliding_log import Replica

WINDOWS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds

SHORT = 0.1  # of a window: a longer block is neither jitter nor what was expected
_SLACK = 0.02  # of a length, by which a measured window may miss a usual one
_HALVED = 8.0  # seconds to the next usual end from which one try is made halfway
_LATE = 0.2  # seconds by which a reset may come after it was expected: requests take unequal time
_SURE = 0.1  # seconds to which an aligned reset is worth finding out


class Model(StrEnum):
    """How a window moves on."""

    SLIDING = "sliding"  # room for one more as soon as the oldest request is out of it
    ANCHORED = "anchored"
    ALIGNED = "aligned"


@dataclass(slots=True)
class Resets:
    """Watches resets; `earliest` and `latest` are the bounds between which the last one was."""

    window: float | None = None
    earliest: float | None = None
    latest: float | None = None
    began: float = NEVER  # of the window under way, if it is anchored
    believed: Model | None = None
    guesses: dict[Model, float] = field(default_factory=dict)

    def accepted(self, sent_at: float) -> None:
        """Follow an anchored window: it begins with the first request after the last one's end."""
        if self.window is not None and sent_at >= self.began + self.window:
            self.began = sent_at

    def forget(self) -> None:
        """Forget all about windows."""
        self.window = self.earliest = self.latest = None
        self.believed = None

    def saw(self, refused_at: float, accepted_at: float) -> None:
        """Note that a reset was between a refused request and an accepted one."""
        self.began = accepted_at
        if self.window is not None and self.earliest is not None and self.latest is not None:
            whole = round((accepted_at - self.latest) / self.window) * self.window
            low, high = self.earliest + whole, self.latest + whole
            if low < accepted_at and high > refused_at:  # the same phase, known better now
                refused_at, accepted_at = max(low, refused_at), min(high, accepted_at)
        self.earliest, self.latest = refused_at, accepted_at

    def ended(self, last_refused: float, sent_at: float) -> bool:
        """Believe the guess that came true when a canary that left at `sent_at` was accepted.

        Return whether there is one. What was believed goes on to be when it came true as well: the
        other one may be mere chance.
        """
        # The reset was between the last refusal and the request that passed: a guess in between
        # came true.
        near = {model: at for model, at in self.guesses.items() if last_refused < at <= sent_at}
        others = [at for model, at in self.guesses.items() if model is not Model.SLIDING]
        far = sent_at + SHORT * (self.window or 0.0)
        if near and self.believed not in near:
            self.believed = min(near, key=lambda model: near[model])
        elif not near and len(others) < len(self.guesses) and min(others, default=far) >= far:
            self.believed = Model.SLIDING  # a little later than was expected, and nothing else is
        self.guesses = {}
        return bool(near)

    def held(self, log: Replica, at: float) -> int:
        """Return how many of the requests in `log` were in the window that was full at `at`."""
        window = self.window or 0.0
        since = at - window
        if self.believed is Model.ANCHORED:
            since = self.began - 0.001
        elif self.believed is Model.ALIGNED and self.latest is not None:
            since = at - (at - self.latest) % window
        return log.held(since, at)

    def first_try(self, now: float, one_more: float) -> float | None:
        """Return when to try first in a block, None when there is nothing to go by.

        `one_more` is how long a sliding window takes to let one more in.
        """
        if self.window is None:
            return None
        guesses = {
            Model.SLIDING: now + one_more,
            Model.ANCHORED: self.began + self.window,
            Model.ALIGNED: self._aligned(now, self.window),
        }
        # All that are still ahead are kept, so that the block's end can tell which was right.
        self.guesses = {m: at for m, at in guesses.items() if at is not None and at > now}
        if (
            self.believed in self.guesses
            and self.guesses[self.believed] < now + SHORT * self.window
        ):
            return self.guesses[self.believed]
        return min(self.guesses.values(), default=None)

    def next_try(self, now: float, by: float) -> float | None:
        """Return when to try next after a guess was wrong; `by` when there is none until then."""
        if self.window is None:
            end = self._usual_end(now)
            if end is None:
                return None
            return end if end - now < _HALVED else (now + end) / 2
        return min((at for at in self.guesses.values() if now < at < by), default=None)

    def _aligned(self, now: float, window: float) -> float | None:
        if self.earliest is None or self.latest is None:
            return None
        unsure = self.latest - self.earliest
        at = self.latest if unsure < _SURE else (self.earliest + self.latest) / 2
        return at + window * (int((now - at) / window) + 1)

    def _usual_end(self, now: float) -> float | None:
        """Try where a window of a usual length would end that began with the last reset.

        And once again shortly after: what misses it by a little would wait for the next length.
        """
        if self.latest is None:
            return None
        ends = (self.latest + window + late for window in WINDOWS for late in (0.0, _LATE))
        return next((end for end in ends if end > now), None)


def snapped(shortest: float, longest: float) -> float | None:
    """Return the usual window between two lengths in seconds, the nearest to the longer one."""
    slack = _SLACK * longest + 0.05
    fitting = [w for w in WINDOWS if shortest * (1.0 - _SLACK) < w <= longest + slack]
    return float(min(fitting, key=lambda w: abs(w - longest))) if fitting else None
