"""Metrics of a run: what it has done so far, and how that went over time.

A progress bar reads them whenever it likes. Adding an answer costs the same however long the run
is: slices of a second are joined in pairs when there are too many of them, so a run of any length
has at most `MOST`, and memory is bounded.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.rate_limit import Learned, LimitKind
from incarts_pipeline.telemetry import Heard

MOST = 600

_SHORTEST = 1e-3  # seconds; faster answers share the first bin
_STEP = 1.05  # from one bin to the next: a quantile is right within 2.5 %
_BINS = 256  # up to four minutes
_LOG_STEP = math.log(_STEP)


@dataclass(slots=True)
class Slice:
    """What was answered within one slice of time.

    `limit` is the learned one, None while none was met, and `pace` what the run aimed at, both in
    requests a second, as last seen.
    """

    links: int = 0
    limited: int = 0  # 429
    failed: int = 0  # any other answer without a link, or none
    limit: float | None = None
    pace: float | None = None

    @property
    def answers(self) -> int:
        """All answers."""
        return self.links + self.limited + self.failed

    def add(self, later: Slice) -> None:
        """Take over what a later slice has."""
        self.links += later.links
        self.limited += later.limited
        self.failed += later.failed
        self.limit = self.limit if later.limit is None else later.limit
        self.pace = self.pace if later.pace is None else later.pace


@dataclass(slots=True)
class Timeline:
    """Slices from the first answer on, each `width` seconds wide."""

    width: float = 1.0
    began: float | None = None
    slices: list[Slice] = field(default_factory=list)

    def add(
        self, now: float, kind: AnswerKind, limit: float | None = None, pace: float | None = None
    ) -> None:
        """Count an answer at `now` (monotonic seconds), and keep limit and pace as of then."""
        if self.began is None:
            self.began = now
        # Not before the first slice, should answers be told out of order.
        at = max(0, int((now - self.began) / self.width))
        if at >= len(self.slices):
            at = self._reach(now - self.began)
        one = self.slices[at]
        if kind is AnswerKind.LINK:
            one.links += 1
        elif kind is AnswerKind.RATE_LIMITED:
            one.limited += 1
        else:
            one.failed += 1
        one.limit, one.pace = limit, pace

    def _reach(self, seconds: float) -> int:
        """Make slices up to a time and return its own, joining pairs while there are too many."""
        while (at := int(seconds / self.width)) >= MOST:
            self.width *= 2
            joined = self.slices[::2]
            for one, later in zip(joined, self.slices[1::2], strict=False):
                one.add(later)
            self.slices = joined
        self.slices += [Slice() for _ in range(at + 1 - len(self.slices))]
        return at


@dataclass(slots=True)
class Latencies:
    """How long answers took, in bins that grow by 5 %; all in seconds."""

    count: int = 0
    longest: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * _BINS)

    def add(self, seconds: float) -> None:
        """Count one answer."""
        at = int(math.log(seconds / _SHORTEST) / _LOG_STEP) + 1 if seconds > _SHORTEST else 0
        self.bins[min(at, _BINS - 1)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float | None:
        """Return the time within which that share of the answers came, None when there are none."""
        if not self.count:
            return None
        at = bisect_left(list(accumulate(self.bins)), max(1, math.ceil(share * self.count)))
        return min(upper(at) / math.sqrt(_STEP), self.longest)

    def spread(self) -> list[tuple[float, float, int]]:
        """Return (from, to, answers) from the first to the last bin that has any."""
        used = [at for at, n in enumerate(self.bins) if n]
        if not used:
            return []
        span = range(used[0], used[-1] + 1)
        return [(upper(at - 1) if at else 0.0, upper(at), self.bins[at]) for at in span]


def upper(at: int) -> float:
    """Return the seconds at which a bin ends."""
    return float(_SHORTEST * _STEP**at)


@dataclass(slots=True)
class RunMetrics:
    """Counts of one run, and its history in bounded memory."""

    planned: int = 0  # calls that the run means to make
    requests: int = 0  # attempts that left
    states: Counter[State] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    timeline: Timeline = field(default_factory=Timeline)
    waiting: str = ""  # why nothing goes out right now
    limit: Learned | None = None  # what is known of the rate limit
    heard: Heard | None = None  # who wants to hear of each answer

    @property
    def done(self) -> int:
        """Calls that need no further attempt."""
        # Asked for with each answer. A counter looks long for what it doesn't have.
        count = self.states.get
        return count(State.DONE, 0) + count(State.REJECTED, 0) + count(State.NEEDS_REVIEW, 0)

    def answered(
        self,
        answer: Answer,
        state: State,
        *,
        latency: float,
        now: float,
        limit: Learned | None = None,
        pace: float | None = None,
    ) -> None:
        """Count one attempt's answer at `now`, and keep the limit and the pace as of then."""
        self.limit = limit
        self.latencies.add(latency)
        met = limit is not None and limit.kind is not LimitKind.OPEN
        rate = limit.rate if limit is not None and met else None
        self.timeline.add(now, answer.kind, rate, pace)
        if self.heard is not None:
            self.heard(answer, latency, rate, pace)
        if answer.kind is not AnswerKind.LINK:
            self.errors[str(answer.status or answer.error_code or answer.kind.value)] += 1
        self.settled(state)

    def settled(self, state: State) -> None:
        """Count an operation that went into a state; only final states add up to `done`."""
        self.states[state] += 1
