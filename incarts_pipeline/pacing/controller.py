"""When the next request may go: find an unknown limit, and ride it just below.

Pure: no I/O, and the time in seconds is an argument. The facts that it rests on:

* Even pacing at the sustained rate stays within fixed windows, sliding windows, token buckets and
  GCRA alike.
* Between two instants at which the server is known to be exhausted, what it accepted *is* its
  budget: for a bucket accepted / time, for a window the number that fits into it.

So the limit is provoked rarely, measured exactly, and then kept just out of reach:

    start ──429──► blocked ──canary──► measure ──enough──► cruise ◄──► probe
      1/s, × 2 a second      ▲            │ 429                │ 429     │ 429, or too much accepted
                             └────────────┴────────────────────┴─────────┘

Going faster needs proof: a pace that nobody made use of says nothing of the limit (as for TCP's
congestion window, RFC 7661).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.pacing.canary import FIRST_GAP, LARGEST_GAP, Block
from incarts_pipeline.pacing.headroom import PROBE_WINDOW, Headroom
from incarts_pipeline.pacing.hints import Hints, retry_in
from incarts_pipeline.pacing.learned import Kind, Learned
from incarts_pipeline.pacing.meter import Meter
from incarts_pipeline.pacing.pacer import NEVER
from incarts_pipeline.pacing.replica import Replica
from incarts_pipeline.pacing.resets import Model, Resets, snapped
from incarts_pipeline.pacing.trust import Trust

_CRUISE = 0.997  # of the budget
_CATCH_UP = 0.15  # seconds that may be made up for after a late wake-up
_FASTEST = 2.0**20  # requests a second
_START_USED = 0.4  # of the pace that must have been made use of before it is doubled
_UP_USED = 0.7  # or raised
_PATIENCE = 900.0  # seconds of nothing but 429s
_ABOVE = 1.1  # times the rough rate, to find the limit again
_UP = 1.25
_UP_EVERY = 5.0  # seconds without a 429 after which measuring goes faster
_PROBE_EVERY = 120.0
_STRAY_SHARE = 0.1  # of a window: a block that is longer is no jitter
_FALLEN = 0.8  # of the old rate, from which a fallen limit is measured
_CLOSE = 0.02  # of a rate, within which a longer measurement refines it
_FEWEST = 5  # requests in a window, from which its budget is believed
_PLAUSIBLE = 0.5  # of the average so far: less is no window's budget


class Phase(StrEnum):
    """What the controller is about."""

    START = "start"
    MEASURE = "measure"
    CRUISE = "cruise"
    PROBE = "probe"


@dataclass(slots=True)
class RateController:
    """Says when to send, and learns from the answers; one for each API key.

    All of its state is in its fields, plain enough to be written as JSON between two calls.

    Args:
        ceiling: requests a second that are never exceeded, None for none.
        learned: what an earlier controller measured; then nothing is provoked anew.
    """

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
    meter: Meter = field(default_factory=Meter)
    resets: Resets = field(default_factory=Resets)
    log: Replica = field(default_factory=Replica)  # accepted in the last window
    up_after: float = _UP_EVERY
    headroom: Headroom = field(default_factory=Headroom)
    trust: Trust = field(default_factory=Trust)
    raising: bool = False  # a window's length is known, and it holds more than it did
    hints: Hints = field(default_factory=Hints)
    told: Learned | None = None  # by the server
    proven: float = 0.0  # requests a second that were accepted in the start

    def __post_init__(self) -> None:
        """Begin with what is known; refuse a ceiling that would never send."""
        if self.ceiling is not None and self.ceiling <= 0:
            raise ValueError(f"ceiling must be above 0, not {self.ceiling}")
        if self.learned is None or self.began is not None:
            return
        if self.learned.kind is Kind.OPEN:
            self.rate, self.learned = self.learned.rate, None
        else:
            self.phase, self.rate = Phase.CRUISE, self.learned.rate * _CRUISE
            self.resets.window = self.learned.window

    @property
    def known(self) -> Learned | None:
        """What an even later controller may begin with: the limit, or what was below it."""
        if self.learned is not None or self.phase is not Phase.START or not self.proven:
            return self.learned
        return Learned(kind=Kind.OPEN, rate=self.proven)

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
        wait = max(self.next_at - now, self._full_for(now))
        if wait > 1e-9:
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
        lasts = now - self.block.watched_from if self.block.hinted is None else 0.0
        return wait if wait > _PATIENCE or lasts > _PATIENCE else None

    def waiting_for(self, now: float) -> str:
        """Say in words what is being waited for, empty when nothing is."""
        if self.block is None:
            return ""
        wait = self.blocked_for(now)
        if self.block.hinted is None and self.resets.window is not None:
            return f"window of {self.resets.window:g} s resets in {wait:.0f} s"
        return f"rate limit: next try in {wait:.0f} s"

    def answered(
        self, answer: Answer, *, sent_at: float, now: float, canary: bool | None = None
    ) -> None:
        """Learn from an answer; `canary` None: tell by the time at which it was sent."""
        if canary is None:
            canary = self.block is not None and self.block.is_canary(sent_at)
        told = self.hints.told(answer.hints)
        if answer.kind is AnswerKind.RATE_LIMITED:
            self._refused(retry_in(answer.hints), sent_at, now, canary=canary)
        elif answer.status is not None:
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
        if self.phase is Phase.MEASURE:
            self.meter.forget_stretch()
            self.meter.reset_count = None
        if self.phase is Phase.PROBE and self.learned:
            self._cruise(self.learned, now)
        self._look_from(now)

    def _look_from(self, now: float) -> None:
        self.since, self.since_count = now, self.meter.accepted
        self.meter.begin(now)

    # Pacing.

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed = now - self.since
        if self.phase is Phase.START and elapsed >= 1.0:
            if self._used(_START_USED * self.pace):
                accepted = self.meter.accepted - self.since_count
                self.proven = max(self.proven, accepted / elapsed)
                self.headroom.ramp.append((now, self.meter.accepted))
                began = max(self.since + 1.0, now - 0.5)
                self._go(Phase.START, min(self.rate * 2.0, _FASTEST), began)
        elif self.phase is Phase.MEASURE and elapsed > self.up_after:
            proven = self._used(_UP_USED * self.pace * (elapsed - 2.0 * self.round_trip))
            self._go(Phase.MEASURE, self.rate * (_UP if proven else 1.0), now)
        elif self.phase is Phase.CRUISE and elapsed > _PROBE_EVERY and self.learned:
            at_ceiling = self.ceiling is not None and self.learned.rate >= self.ceiling
            if not at_ceiling and self.learned != self.told:
                self._probe(self.learned, now)
        elif self.phase is Phase.PROBE and self.learned and elapsed > self._patience(self.learned):
            if self._used(self.learned.rate * (elapsed - 2.0 * self.round_trip)):
                self._found_more(self.learned, now)
            else:
                self._cruise(self.learned, now)

    def _used(self, requests: float) -> bool:
        """Say whether so many were accepted in this phase."""
        return self.meter.accepted - self.since_count >= requests

    def _probe(self, learned: Learned, now: float) -> None:
        self._go(Phase.PROBE, learned.rate * self.headroom.step_from(learned), now)

    def _found_more(self, learned: Learned, now: float) -> None:
        """More was accepted than the estimate explains: climb, or look for the new limit."""
        if learned.kind is Kind.BUCKET:
            self.learned = Learned(kind=Kind.BUCKET, rate=self.rate)
            if self.rate == self.ceiling:
                self._cruise(self.learned, now)
                return
            self.headroom.widen()
            self._probe(self.learned, now)
            return
        self.raising = True
        self.up_after = _UP_EVERY
        self._go(Phase.MEASURE, learned.rate * _UP, now)

    def _patience(self, learned: Learned) -> float:
        return self.headroom.lasts(learned, self.rate)

    def _full_for(self, now: float) -> float:
        """Return for how long a sliding window is full, as our replica of it says."""
        learned = self.learned
        if learned is None or self.resets.believed is not Model.SLIDING:
            return 0.0
        if self.phase is not Phase.CRUISE or not learned.window or not learned.budget:
            return 0.0
        self.log.trim(now, learned.window)
        # What is under way is not in it yet; how much that matters shows in strays.
        under_way = len(self.trust.strays) * (1.0 + self.pace * self.round_trip)
        return self.log.full_for(now, learned.window, learned.budget - int(under_way))

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self.since, self.since_count = phase, now, self.meter.accepted
        self.rate = rate if self.ceiling is None else min(rate, self.ceiling)

    # Answers.

    def _was_accepted(self, sent_at: float, now: float, *, canary: bool) -> None:
        self.round_trip += 0.1 * (now - sent_at - self.round_trip)
        if self.block is not None and canary:
            self._unblock(self.block, sent_at, now)
        self.meter.accepted += 1
        self.resets.accepted(sent_at)
        self.log.add(sent_at, self.resets.window)

    def _refused(self, hint: float | None, sent_at: float, now: float, *, canary: bool) -> None:
        if self.block is None:
            if sent_at >= self.ignore_before:
                self._begin_block(hint, sent_at, now)
        elif canary:
            self.block.was_refused(sent_at)
            self._plan_canary(self.block, hint, now)

    def _believe(self, told: Learned, now: float) -> None:
        """Take the server's word for its limit, until it breaks it."""
        if told != self.told:
            self.told = told
            self.resets.window = told.window
            self._cruise(told, now)

    def _begin_block(self, hint: float | None, sent_at: float, now: float) -> None:
        rate = self.learned.rate if self.learned else self.rate
        gap = FIRST_GAP if self.learned is None else min(1.0 / rate, LARGEST_GAP)
        self.block = Block(
            began=sent_at, watched_from=sent_at, rate=rate, gap=gap, last_refused=sent_at
        )
        self._plan_canary(self.block, hint, now)

    def _plan_canary(self, block: Block, hint: float | None, now: float) -> None:
        # A quarter of the round trip is more than the way there varies by.
        block.plan(now, hint, self.resets, 0.25 * self.round_trip)

    # Measuring.

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: what does that say of the limit?"""
        self.block = None
        self.ignore_before = now  # until here nobody knew that sending goes on
        self.next_at = sent_at + 1.0 / self.pace
        exact = self.meter.exact(block.began, 0.5 * self.headroom.burst / (1.0 - _CRUISE))
        rough = self.meter.stretch(block.began)
        if self.phase is Phase.START:
            self.headroom.ramp.append((block.began, self.meter.accepted))
        self.meter.was_empty(block.last_refused, block.last_refused - block.began)
        is_long = sent_at - block.began > self._long(rough)
        self.resets.ended(sent_at)
        long_run = self.meter.long_run(block.began)
        if now < self.trust.plain_until:
            self._cruise(self.trust.average(now, self.meter.accepted), now)
        elif self.raising and self.learned and self.learned.window:
            self._raised(self.learned, self.learned.window, block.began, now)
        elif self.phase is Phase.MEASURE and long_run is not None:
            self._cruise(Learned(kind=Kind.BUCKET, rate=long_run), now)
        elif is_long:
            self._window_reset(block, sent_at, now)
        elif exact is not None and self._agrees(exact):
            self._cruise(Learned(kind=Kind.BUCKET, rate=exact), now)
        elif self.phase is Phase.PROBE and self.learned:
            self._probe_ended(self.learned, now)
        elif self.phase is Phase.CRUISE and self.learned and self._is_stray(now):
            self._cruise(self.learned, now)
        else:
            self._bucket(rough, now)

    def _agrees(self, exact: float) -> bool:
        """Say whether what a bucket gave since it was last exhausted only makes it known better."""
        if self.learned is None or self.learned.kind is not Kind.BUCKET or self.headroom.climbed:
            return False
        is_close = abs(exact / self.learned.rate - 1.0) < _CLOSE
        return is_close and self.phase in (Phase.CRUISE, Phase.PROBE)

    def _raised(self, learned: Learned, window: float, full_at: float, now: float) -> None:
        """A known window was full again: it holds what was accepted in it."""
        held = self.hints.snapped(self.resets.held(self.log, full_at))
        if held > (learned.budget or 0) * 1.02:
            learned = Learned(kind=Kind.WINDOW, rate=held / window, budget=held, window=window)
        self._cruise(learned, now)

    def _probe_ended(self, learned: Learned, now: float) -> None:
        """A probe found the limit where it was, or a climb found it at last."""
        if self.headroom.narrow():
            self._cruise(self._refined(learned), now)
        else:
            self._go(Phase.MEASURE, learned.rate * _ABOVE, now)

    def _refined(self, learned: Learned) -> Learned:
        """Return the limit with what a sliding window was just seen to hold."""
        held, budget, window = self.log.total, learned.budget, learned.window
        if budget is None or window is None or self.resets.believed is not Model.SLIDING:
            return learned
        if not budget < held < budget * PROBE_WINDOW:
            return learned
        return Learned(kind=Kind.WINDOW, rate=held / window, budget=held, window=window)

    def _cruise(self, learned: Learned, now: float) -> None:
        """Go on just below the limit, with a little in hand against jitter."""
        self.learned = learned
        self.meter.settled()
        self.raising = False
        if learned.kind is Kind.BUCKET:
            self.resets.forget()
        in_hand = 3.0 if learned.kind is Kind.BUCKET else 1.0
        self.next_at = now + in_hand / learned.rate
        self._go(Phase.CRUISE, learned.rate * _CRUISE, now)

    def _long(self, rough: float | None) -> float:
        """Return how long a block must last to be a window's: no bucket takes so long to refill."""
        rate = rough or self.rate
        return 3.0 / rate + 2.0 * self.round_trip + 2.0 * FIRST_GAP

    def _is_stray(self, now: float) -> bool:
        return self.trust.is_stray(now, self.learned.window if self.learned else None)

    def _bucket(self, rough: float | None, now: float) -> None:
        self.up_after = _UP_EVERY
        if rough is None:
            self._go(Phase.MEASURE, max(0.75 * self.pace, 0.5), now)
        elif rough >= 0.9 * self._floor(now) and self.meter.is_enough():
            self.headroom.note_burst(self.learned, rough)
            self._cruise(Learned(kind=Kind.BUCKET, rate=rough), now)
        else:
            self._go(Phase.MEASURE, max(rough * _ABOVE, self._floor(now)), now)

    def _window_reset(self, block: Block, sent_at: float, now: float) -> None:
        """A long block ended: the second in a row tells what fits into a window, and its length."""
        before = (self.resets.earliest, self.resets.latest)
        self.resets.saw(block.last_refused, sent_at)
        is_second = self.phase is Phase.MEASURE and self.meter.reset_count is not None
        count = self.meter.accepted - (self.meter.reset_count or 0)
        self.meter.reset_count = self.meter.accepted
        self.meter.forget_stretch()
        if self.learned and self._confirms(self.learned, sent_at - block.began, now):
            self._cruise(self.learned, now)
            return
        self.meter.longest = max(self.meter.longest, block.last_refused - block.began)
        learned = self._window(block, sent_at, before, count) if is_second else None
        if learned is not None:
            self.resets.window = learned.window
            self._cruise(learned, now)
        else:
            self._measure_window(block, sent_at, before[1] if is_second else None, count, now)

    def _confirms(self, learned: Learned, length: float, now: float) -> bool:
        """Say whether a long block is what was expected of a window that is known."""
        if learned.window is None:
            return False
        if self.phase is Phase.PROBE:
            return True
        short = length < _STRAY_SHARE * learned.window
        return self.phase is Phase.CRUISE and short and self._is_stray(now)

    def _window(
        self,
        block: Block,
        sent_at: float,
        before: tuple[float | None, float | None],
        count: int,
    ) -> Learned | None:
        """Return the window between two resets, None when there is no believable one."""
        earliest, latest = before
        if earliest is None or latest is None:
            return None
        shortest = max(block.last_refused - latest, self.meter.longest)
        window = snapped(shortest, sent_at - earliest)
        if window is None or count < max(_FEWEST, _PLAUSIBLE * self._floor(sent_at) * window):
            return None
        count = self.hints.snapped(count)
        return Learned(kind=Kind.WINDOW, rate=count / window, budget=count, window=window)

    def _measure_window(
        self, block: Block, sent_at: float, since: float | None, count: int, now: float
    ) -> None:
        """Go on to the next reset at a pace that exhausts the window before it."""
        self.resets.window = self.resets.believed = None
        if self.learned is not None:
            self.hints.distrusted |= self.told is not None
            if self.trust.is_wrong_again(block.began, self.meter.accepted):
                self._cruise(self.trust.average(now, self.meter.accepted), now)
                return
            pace, since = self.learned.rate * _FALLEN, block.began
            self.learned = None
            self.meter.begin(sent_at)
        else:
            if since is None:
                since, count = self.meter.horizon, self.meter.accepted - self.meter.horizon_count
            pace = max(count / max(block.last_refused - since, 0.1), self._floor(sent_at)) * _UP
        self.up_after = max(_UP_EVERY, (sent_at - since) / 2)
        self._go(Phase.MEASURE, max(pace, 0.5), now)

    def _floor(self, now: float) -> float:
        return 0.0 if self.learned is not None else self.meter.floor(now)
