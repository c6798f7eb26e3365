"""Rate controller: finds an unknown limit, and keeps just below it.

Pure: no I/O, and the time in seconds is an argument. The facts that it rests on:

* Even pacing at the sustained rate stays within fixed windows, sliding windows, token buckets and
  GCRA alike.
* Between two instants at which the server is known to be exhausted, what it accepted *is* its
  budget: for a bucket accepted / time, for a window the number that fits into it.

So the limit is provoked rarely, measured exactly, and then kept just out of reach:

    start ──429──► blocked ──canary──► measure ──enough──► cruise ◄──► probe ──more──► measure
      1/s, × 2 a second      ▲            │ 429                │ 429     │ 429
                             └────────────┴────────────────────┴─────────┘

What a block teaches is the survey's to say; how far to probe, and how often, the headroom's.

Going faster needs proof: a pace that nobody made use of says nothing of the limit (as for TCP's
congestion window, RFC 7661).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.rate_limit.block import FIRST_GAP, LARGEST_GAP, Block
from incarts_pipeline.rate_limit.confidence import retry_in
from incarts_pipeline.rate_limit.headroom import CRUISE
from incarts_pipeline.rate_limit.limit import NEVER, NO_TIME, Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.reset_times import Model
from incarts_pipeline.rate_limit.survey import UP, UP_EVERY, Survey

STEP_UP = 2.0  # times the pace, each second of the start
_CATCH_UP = 0.15  # seconds that may be made up for after a late wake-up
_FASTEST = 2.0**20  # requests a second
_START_USED = 0.4  # of the pace that must have been made use of before it is doubled
_UP_USED = 0.7  # or raised
_FIRST_UP = 0.05  # of the pace, that a climb begins with
_UP_WINDOWS, _UP_BUCKET = 20, 3.0  # a climb's steps in a window, and the seconds of one otherwise
_IN_HAND = 3.0  # requests that a bucket is let gather after it was exhausted, against jitter
_PATIENCE = 900.0  # seconds of nothing but 429s


@dataclass(slots=True)
class RateController:
    """Says when to send, and learns from the answers; one for each API key.

    All of its state is in its fields, plain enough to be written as JSON between two calls.

    Args:
        ceiling: requests a second that are never exceeded, None for none.
        learned: what an earlier controller measured; then nothing is provoked anew.
    """

    # A state that was written when it had other fields means something else: it is made anew.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ceiling: float | None
    learned: Learned | None = None
    phase: Phase = Phase.START
    rate: float = 1.0
    began: float | None = None
    next_at: float = NEVER
    block: Block | None = None
    ignore_before: float = NEVER
    round_trip: float = 0.05
    since: float = 0.0  # when the phase, or its pace, began
    since_count: int = 0  # accepted until then
    survey: Survey = field(default_factory=Survey)
    up_after: float = UP_EVERY  # seconds without a 429 after which measuring goes faster
    up: float = UP  # times the pace, in the last step of a climb
    cruise_for: float = 0.0  # seconds until the next probe
    told: Learned | None = None  # by the server
    proven: float = 0.0  # requests a second that were accepted in the start

    def __post_init__(self) -> None:
        """Begin with what is known; refuse a ceiling that would never send."""
        if self.ceiling is not None and self.ceiling <= 0:
            raise ValueError(f"ceiling must be above 0, not {self.ceiling}")
        if self.learned is None or self.began is not None:
            return
        if self.learned.kind is LimitKind.OPEN:
            self.rate, self.learned = STEP_UP * self.learned.rate, None
        else:
            self._cruise(self.learned, self.next_at)

    @property
    def known(self) -> Learned | None:
        """What an even later controller may begin with: the limit, or what was below it."""
        if self.learned is not None or self.phase is not Phase.START or not self.proven:
            return self.learned
        return Learned(kind=LimitKind.OPEN, rate=self.proven)

    # What senders ask.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again.

        A permit that is given while `block` is set is the canary's.
        """
        if self.began is None:
            self.began = now
            self._look_from(now)
        if self.block is not None:
            return self.block.ask(now)
        self._keep_time(now)
        # One permit each 1/pace seconds. Who comes late may make up for a little of it; more would
        # be a burst, which no bucket that is nearly empty forgives.
        wait = max(self.next_at - now, self._full_for(now))
        if wait > NO_TIME:
            return wait
        self.next_at = max(self.next_at, now - _CATCH_UP) + 1.0 / self.pace
        return 0.0

    @property
    def pace(self) -> float:
        """Requests a second, while nothing is blocked."""
        return min(self.rate, self.ceiling) if self.ceiling is not None else self.rate

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the next try after a 429, 0.0 when nothing is blocked."""
        return max(0.0, self.block.canary_at - now) if self.block else 0.0

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run.

        That is when the server asked for more than 15 minutes, or said 429 for so long.
        """
        if self.block is None:
            return None
        wait = max(0.0, self.block.canary_at - now)
        # Where the server said when to come back, only that counts, however long it took so far.
        lasts = now - self.block.watched_from if self.block.hinted is None else 0.0
        return wait if wait > _PATIENCE or lasts > _PATIENCE else None

    def waiting_for(self, now: float) -> str:
        """Say in words what is being waited for, empty when nothing is."""
        if self.block is None:
            return ""
        wait = self.blocked_for(now)
        if self.block.hinted is None and self.survey.resets.window is not None:
            return f"window of {self.survey.resets.window:g} s resets in {wait:.0f} s"
        return f"rate limit: next try in {wait:.0f} s"

    def answered(
        self, answer: Answer, *, sent_at: float, now: float, canary: bool | None = None
    ) -> None:
        """Learn from an answer; `canary` None: tell by the time at which it was sent."""
        # Where slots are leased, the process that reports knows whether its slot was the canary's.
        if canary is None:
            canary = self.block is not None and self.block.is_canary(sent_at)
        told = self.survey.hints.told(answer.hints)
        if answer.kind is AnswerKind.RATE_LIMITED:
            self.survey.meter.refused += 1
            self._refused(retry_in(answer.hints), sent_at, now, canary=canary)
        elif answer.status is not None:
            # Any other status was let through by the limiter, even when the API then failed.
            self._was_accepted(sent_at, now, canary=canary)
            if told is not None and self.block is None and self.learned in (None, self.told):
                self._believe(told, now)
        elif self.block is not None and canary:
            self.block.canary_sent = None  # lost: the next one may go at once

    def interrupted(self, now: float) -> None:
        """Note that nobody wanted to send for a while: what goes on since then proves nothing."""
        if self.began is None:
            return
        if self.block is not None:
            self.block.watched_from = now  # patience begins anew
            return
        # What nobody asked for is missing from a measurement, and a bucket has filled meanwhile.
        if self.phase is Phase.MEASURE:
            self.survey.pause()
        if self.phase is Phase.PROBE and self.learned:
            self._cruise(self.learned, now)
        self._look_from(now)

    def _look_from(self, now: float) -> None:
        self.since, self.since_count = now, self.survey.meter.accepted
        self.survey.begin(now)

    # Pacing.

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed, survey = now - self.since, self.survey
        if self.phase is Phase.START and elapsed >= 1.0:
            # Doubled only when the pace was made use of: a slow sender meets no limit at any pace.
            if self._used(_START_USED * self.pace):
                accepted = survey.meter.accepted - self.since_count
                self.proven = max(self.proven, accepted / elapsed)
                survey.headroom.ramp.append((now, survey.meter.accepted))
                began = max(self.since + 1.0, now - 0.5)
                self._go(Phase.START, min(self.rate * STEP_UP, _FASTEST), began)
        elif self.phase is Phase.MEASURE and elapsed > self.up_after:
            # No 429 for so long: the pace is below the limit, and would never measure it. What is
            # under way is not counted yet, hence two round trips less.
            proven = self._used(_UP_USED * self.pace * (elapsed - 2.0 * self.round_trip))
            if proven and survey.sustained is not None:
                self._climb(now)
            else:
                self._go(Phase.MEASURE, self.rate * (UP if proven else 1.0), now)
        elif self.phase is Phase.CRUISE and elapsed > self.cruise_for and self.learned:
            # A probe costs 429s: none where a higher limit could not be used, nor where the server
            # told its limit.
            at_ceiling = self.ceiling is not None and self.learned.rate >= self.ceiling
            if not at_ceiling and self.learned != self.told:
                self._go(Phase.PROBE, survey.probe(self.learned, now), now)
        elif self.phase is Phase.PROBE and self.learned:
            self._look_at_probe(self.learned, elapsed, now)

    def _used(self, requests: float) -> bool:
        """Say whether so many were accepted in this phase."""
        return self.survey.meter.accepted - self.since_count >= requests

    def _look_at_probe(self, learned: Learned, elapsed: float, now: float) -> None:
        """Look for the new limit when the old one explains too little; give up after a while."""
        headroom, accepted = self.survey.headroom, self.survey.meter.accepted - self.since_count
        if headroom.is_passed(learned, accepted, elapsed) or self.survey.proves_more(learned, now):
            self._found_more(learned, now)
        elif elapsed > headroom.lasts(learned, self.rate):
            self._cruise(learned, now)

    def _found_more(self, learned: Learned, now: float) -> None:
        # The ceiling is all that can be had: what lies above it needs no measuring.
        if self.rate == self.ceiling and learned.kind is LimitKind.BUCKET:
            self._cruise(Learned(kind=LimitKind.BUCKET, rate=self.rate), now)
            return
        # Small steps at first, because the new limit is most likely near; each step has to last
        # long enough for the server to refuse what is too much.
        self.up_after = max(learned.window / _UP_WINDOWS, 1.0) if learned.window else _UP_BUCKET
        self.up = 1.0
        self._climb(now)

    def _climb(self, now: float) -> None:
        """Take a step up, each twice as high as the last one."""
        self.survey.climb(self.pace)
        self.up = min(1.0 + max(2.0 * (self.up - 1.0), _FIRST_UP), UP)
        self._go(Phase.MEASURE, self.rate * self.up, now)

    def _full_for(self, now: float) -> float:
        """Return for how long a sliding window is full, as our replica of it says."""
        learned = self.learned
        if learned is None or self.survey.resets.believed is not Model.SLIDING:
            return 0.0
        if self.phase is not Phase.CRUISE or not learned.window or not learned.budget:
            return 0.0
        self.survey.log.trim(now, learned.window)
        # What is under way is not in it yet; how much that matters shows in strays.
        under_way = len(self.survey.trust.strays) * (1.0 + self.pace * self.round_trip)
        return self.survey.log.full_for(now, learned.window, learned.budget - int(under_way))

    # Answers.

    def _was_accepted(self, sent_at: float, now: float, *, canary: bool) -> None:
        # An exponential average: one slow answer is no new distance.
        self.round_trip += 0.1 * (now - sent_at - self.round_trip)
        if self.block is not None and canary:
            self._unblock(self.block, sent_at, now)
        elif self.block is not None and sent_at > self.block.began:
            # Left before the 429 was known, and passed: it is no part of what led to the block.
            self.block.accepted_after += 1
        self.survey.accepted(sent_at)

    def _refused(self, hint: float | None, sent_at: float, now: float, *, canary: bool) -> None:
        if self.block is None:
            # The 429s of requests that left before the last block ended are that block's.
            if sent_at >= self.ignore_before:
                self._begin_block(hint, sent_at, now)
        elif canary:
            self.block.was_refused(sent_at)
            self._plan_canary(self.block, hint, now)

    def _believe(self, told: Learned, now: float) -> None:
        """Take the server's word for its limit, until it breaks it."""
        if told != self.told:
            self.told = told
            self._cruise(told, now)

    def _begin_block(self, hint: float | None, sent_at: float, now: float) -> None:
        rate = self.learned.rate if self.learned else self.rate
        # A known rate says how soon a bucket has room for one more.
        gap = FIRST_GAP if self.learned is None else min(1.0 / rate, LARGEST_GAP)
        self.block = Block(
            began=sent_at, watched_from=sent_at, rate=rate, gap=gap, last_refused=sent_at
        )
        self._plan_canary(self.block, hint, now)

    def _plan_canary(self, block: Block, hint: float | None, now: float) -> None:
        # A quarter of the round trip is more than the way there varies by.
        block.plan(
            now,
            hint,
            self.survey.resets,
            one_more=self.survey.one_more(now, 1.0 / block.rate),
            jitter=0.25 * self.round_trip,
        )

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: go on with what that says of the limit."""
        finding = self.survey.unblocked(
            self.learned,
            block,
            phase=self.phase,
            pace=self.pace,
            round_trip=self.round_trip,
            sent_at=sent_at,
            now=now,
        )
        self.block = None
        self.ignore_before = now  # until here nobody knew that sending goes on
        self.next_at = sent_at + 1.0 / self.pace
        # The server's word was followed, and met a 429 that its limit doesn't explain.
        if self.told and (finding.learned is None or now < self.survey.trust.plain_until):
            self.survey.hints.distrusted = True
        self.learned = finding.learned
        if finding.pace is not None:
            self.up_after = finding.up_after
            self._go(Phase.MEASURE, finding.pace, now)
        elif finding.learned is not None:
            self._cruise(finding.learned, now)
            # The block ended at the very edge of the limit. A bucket is let gather a few requests,
            # so that the next one that is early by jitter doesn't meet it empty.
            in_hand = 1.0 if finding.learned.window else _IN_HAND
            fastest = min(finding.learned.rate, self.ceiling or finding.learned.rate)
            self.next_at = max(now, sent_at + in_hand / fastest)

    def _cruise(self, learned: Learned, now: float) -> None:
        """Go on just below the limit."""
        # After a probe the rest grows with what the probe cost; after a measurement it begins anew.
        survey, last = self.survey, self.cruise_for if self.phase is Phase.PROBE else None
        self.learned = learned
        survey.settle(learned)
        if self.phase is not Phase.CRUISE:
            self.cruise_for = survey.headroom.rests(learned, survey.meter, last)
        self._go(Phase.CRUISE, learned.rate * CRUISE, now)

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self.since, self.since_count = phase, now, self.survey.meter.accepted
        self.rate = rate if self.ceiling is None else min(rate, self.ceiling)
