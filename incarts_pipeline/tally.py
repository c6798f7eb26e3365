"""What a run has done so far, counted as it goes; a progress bar reads it whenever it likes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.pacing.learned import Kind, Learned
from incarts_pipeline.timeline import Latencies, Timeline


@dataclass(slots=True)
class Tally:
    """Counts of one run, and its history in bounded memory."""

    planned: int = 0  # calls that the run means to make
    requests: int = 0  # attempts that left
    states: Counter[State] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    timeline: Timeline = field(default_factory=Timeline)
    waiting: str = ""  # why nothing goes out right now
    limit: Learned | None = None  # what is known of the rate limit

    @property
    def done(self) -> int:
        """Calls that need no further attempt."""
        final = (State.DONE, State.REJECTED, State.NEEDS_REVIEW)
        return sum(self.states[state] for state in final)

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
        met = limit is not None and limit.kind is not Kind.OPEN
        self.timeline.add(now, answer.kind, limit.rate if limit and met else None, pace)
        if answer.kind is not AnswerKind.LINK:
            self.errors[str(answer.status or answer.error_code or answer.kind.value)] += 1
        self.settled(state)

    def settled(self, state: State) -> None:
        """Count an operation that went into a state; only final states add up to `done`."""
        self.states[state] += 1
