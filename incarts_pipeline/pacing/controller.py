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
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.pacing.canary import FIRST_GAP, LARGEST_GAP, Block
from incarts_pipeline.pacing.learned import Kind, Learned
from incarts_pipeline.pacing.resets import Model, Resets, snapped

_CRUISE = 0.997  # of the budget
_CATCH_UP = 0.05  # seconds that may be made up for after a late wake-up
_FASTEST_START = 20  # doublings
_PATIENCE = 900.0  # seconds of nothing but 429s
_ENOUGH = 300  # acknowledgements that settle a bucket's rate
_ENOUGH_SECONDS = 30.0  # and what does for a slow one, with
_ENOUGH_SLOW = 100
_ABOVE = 1.1  # times the rough rate, to find the limit again
_UP = 1.25
_UP_EVERY = 5.0  # seconds without a 429 after which measuring goes faster
_PROBE_EVERY = 120.0
_PROBE_WINDOW, _PROBE_BUCKET = 1.025, 1.05
_LONG_RUN, _LONG_RUN_FROM = 3.0, 20.0  # times the longest block, in seconds at least
_LONGEST_PROBE = 60.0  # seconds, of a bucket
_SMALLEST_STEP = 0.0125
_STRAYS = 6  # short blocks in two windows that may be jitter
_STRAY_SHARE = 0.1  # of a window: a block that is longer is no jitter
_FALLEN = 0.8  # of the old rate, from which a fallen limit is measured
_FEWEST = 5  # requests in a window, from which its budget is believed
_PLAUSIBLE = 0.5  # of the average so far: less is no window's budget
_LARGEST_STEP = 0.4


class Phase(StrEnum):
    """What the controller is about."""

    START = "start"
    MEASURE = "measure"
    CRUISE = "cruise"
    PROBE = "probe"


class RateController:
    """Says when to send, and learns from the answers; one for each API key.

    Args:
        ceiling: requests a second that are never exceeded, None for none.
        learned: what an earlier controller measured; then nothing is provoked anew.
    """

    def __init__(self, ceiling: float | None, learned: Learned | None = None) -> None:
        if ceiling is not None and ceiling <= 0:
            raise ValueError(f"ceiling must be above 0, not {ceiling}")
        self._ceiling = ceiling
        self.phase = Phase.CRUISE if learned else Phase.START
        self.learned = learned
        self._began: float | None = None
        self._rate = learned.rate * _CRUISE if learned else 1.0
        self._next_at = float("-inf")
        self._block: Block | None = None
        self._ignore_before = float("-inf")
        self._accepted = 0
        self._round_trip = 0.05
        self._since = 0.0  # when the phase, or its pace, began
        # Short blocks: exhausted here, with so many accepted until then.
        self._empty_at: float | None = None
        self._empty_count = 0
        self._sum_accepted, self._sum_seconds = 0, 0.0
        # Long blocks: the server's window was reset between these two instants.
        self._resets = Resets()
        self._resets.window = learned.window if learned else None
        self._reset_count: int | None = None
        # All of a stretch without estimate: a sliding window gives back as unevenly as it was used.
        self._horizon = 0.0
        self._horizon_count = 0
        self._longest = 0.0  # block in it
        self._first_empty: tuple[float, int] | None = None  # when exhausted first in it, and count
        self._log: deque[float] = deque()  # accepted in the last window
        self._up_after = _UP_EVERY
        self._burst = 0.0  # that a bucket may hold
        self._probe_step = _PROBE_BUCKET - 1.0
        self._climbed = 0
        self._strays: list[float] = []
        self._raising = False  # a window's length is known, and it holds more than it did
        self._start_ended: tuple[float, int] | None = None  # after so many seconds and requests

    # What senders ask.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""
        if self._began is None:
            self._began = self._since = self._horizon = now
        if self._block is not None:
            return self._block.ask(now)
        self._keep_time(now)
        wait = max(self._next_at - now, self._full_for(now))
        if wait > 1e-9:
            return wait
        self._next_at = max(self._next_at, now - _CATCH_UP) + 1.0 / self._pace()
        return 0.0

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the next try after a 429, 0.0 when nothing is blocked."""
        return max(0.0, self._block.canary_at - now) if self._block else 0.0

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run.

        That is when the server asked for more than 15 minutes, or said 429 for so long.
        """
        if self._block is None:
            return None
        wait = max(0.0, self._block.canary_at - now)
        lasts = now - self._block.began if self._block.hinted is None else 0.0
        return wait if wait > _PATIENCE or lasts > _PATIENCE else None

    def waiting_for(self, now: float) -> str:
        """Say in words what is being waited for, empty when nothing is."""
        if self._block is None:
            return ""
        what = str(self.learned) if self.learned else "rate limit"
        return f"{what}: next try in {self.blocked_for(now):.0f} s"

    def answered(self, answer: Answer, *, sent_at: float, now: float) -> None:
        """Learn from an answer."""
        if answer.kind is AnswerKind.RATE_LIMITED:
            self._refused(answer.hints.retry_after, sent_at, now)
        elif answer.status is not None:
            self._was_accepted(sent_at, now)
        elif self._block is not None and self._block.is_canary(sent_at):
            self._block.canary_sent = None  # lost: the next one may go at once

    # Pacing.

    def _pace(self) -> float:
        return min(self._rate, self._ceiling) if self._ceiling is not None else self._rate

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed = now - self._since
        if self.phase is Phase.START:
            self._rate = 2.0 ** min(int(elapsed), _FASTEST_START)
        elif self.phase is Phase.MEASURE and elapsed > self._up_after:
            self._go(Phase.MEASURE, self._rate * _UP, now)
        elif self.phase is Phase.CRUISE and elapsed > _PROBE_EVERY and self.learned:
            if self._ceiling is None or self.learned.rate < self._ceiling:
                self._probe(self.learned, now)
        elif self.phase is Phase.PROBE and self.learned and elapsed > self._patience():
            self._found_more(self.learned, now)

    def _probe(self, learned: Learned, now: float) -> None:
        step = _PROBE_WINDOW - 1.0 if learned.kind is Kind.WINDOW else self._probe_step
        self._go(Phase.PROBE, learned.rate * (1.0 + step), now)

    def _found_more(self, learned: Learned, now: float) -> None:
        """More was accepted than the estimate explains: climb, or look for the new limit."""
        if learned.kind is Kind.BUCKET:
            self.learned = Learned(kind=Kind.BUCKET, rate=self._rate)
            if self._rate == self._ceiling:
                self._cruise(self.learned, now)
                return
            self._climbed += 1
            self._probe_step = min(2 * self._probe_step, _LARGEST_STEP)
            self._probe(self.learned, now)
            return
        self._raising = True
        self._up_after = _UP_EVERY
        self._go(Phase.MEASURE, learned.rate * _UP, now)

    def _patience(self) -> float:
        """Return for how long a server may accept more than its limit: a window, or a burst."""
        if self.learned is None:
            return 0.0
        extra = max(self._rate - self.learned.rate, 1e-6)
        if self.learned.window is not None:
            return self.learned.window * min(max(1.1, 3.0 / extra / self.learned.window), 3.3)
        return min(max((1.2 * self._burst + 3.0) / extra, _UP_EVERY), _LONGEST_PROBE)

    def _full_for(self, now: float) -> float:
        """Return for how long a sliding window is full, as our replica of it says."""
        learned = self.learned
        if learned is None or self._resets.believed is not Model.SLIDING:
            return 0.0
        if self.phase is not Phase.CRUISE or not learned.window or not learned.budget:
            return 0.0
        over = len(self._log) - learned.budget
        return self._log[over] + learned.window - now if over >= 0 else 0.0

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self._since = phase, now
        self._rate = rate if self._ceiling is None else min(rate, self._ceiling)

    def _forget_stretch(self) -> None:
        self._empty_at = None
        self._sum_accepted, self._sum_seconds = 0, 0.0

    # Answers.

    def _was_accepted(self, sent_at: float, now: float) -> None:
        block = self._block
        self._round_trip += 0.1 * (now - sent_at - self._round_trip)
        if block is not None and block.is_canary(sent_at):
            self._unblock(block, sent_at, now)
        self._accepted += 1
        self._resets.accepted(sent_at)
        window = self._resets.window
        if window is not None:
            self._log.append(sent_at)
            while self._log[0] <= sent_at - window:
                self._log.popleft()

    def _refused(self, hint: float | None, sent_at: float, now: float) -> None:
        block = self._block
        if block is None:
            if sent_at >= self._ignore_before:
                self._begin_block(hint, sent_at, now)
        elif block.is_canary(sent_at):
            block.was_refused(sent_at)
            self._plan_canary(block, hint, now)

    def _begin_block(self, hint: float | None, sent_at: float, now: float) -> None:
        rate = self.learned.rate if self.learned else self._rate
        gap = FIRST_GAP if self.learned is None else min(1.0 / rate, LARGEST_GAP)
        self._block = Block(began=sent_at, rate=rate, gap=gap, last_refused=sent_at)
        self._plan_canary(self._block, hint, now)

    def _plan_canary(self, block: Block, hint: float | None, now: float) -> None:
        # A quarter of the round trip is more than the way there varies by.
        block.plan(now, hint, self._resets, 0.25 * self._round_trip)

    # Measuring.

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: what does that say of the limit?"""
        self._block = None
        self._ignore_before = sent_at
        self._next_at = sent_at + 1.0 / self._pace()
        rough = self._stretch(block)
        if self._start_ended is None:
            self._start_ended = (block.began - (self._began or 0.0), self._accepted)
        if self._first_empty is None or block.last_refused - block.began > 2 * self._longest + 1:
            self._first_empty = (block.last_refused, self._accepted)
        is_long = sent_at - block.began > self._long(rough)
        self._resets.ended(sent_at)
        long_run = self._long_run(block.began)
        if self._raising and self.learned and self.learned.window:
            self._raised(self.learned, self.learned.window, block.began, now)
        elif self.phase is Phase.MEASURE and long_run is not None:
            self._cruise(Learned(kind=Kind.BUCKET, rate=long_run), now)
        elif is_long:
            self._window_reset(block, sent_at, now)
        elif self.phase is Phase.PROBE and self.learned:
            self._probe_ended(self.learned, now)
        elif self.phase is Phase.CRUISE and self.learned and self._is_stray(now):
            self._cruise(self.learned, now)
        else:
            self._bucket(rough, now)

    def _raised(self, learned: Learned, window: float, full_at: float, now: float) -> None:
        """A known window was full again: it holds what was accepted in it."""
        held = self._resets.held(self._log, full_at)
        if held > (learned.budget or 0) * 1.02:
            learned = Learned(kind=Kind.WINDOW, rate=held / window, budget=held, window=window)
        self._cruise(learned, now)

    def _probe_ended(self, learned: Learned, now: float) -> None:
        """A probe found the limit where it was, or a climb found it at last."""
        climbed, self._climbed = self._climbed, 0
        if self._probe_step > _PROBE_BUCKET - 1.0:  # too coarse a climb to know where it is
            self._probe_step = _PROBE_BUCKET - 1.0
            self._go(Phase.MEASURE, learned.rate * _ABOVE, now)
            return
        if not climbed:
            self._probe_step = max(self._probe_step / 2, _SMALLEST_STEP)
        self._cruise(self._refined(learned), now)

    def _long_run(self, began: float) -> float | None:
        """Return what was accepted over so long a time that how the server counts is all one."""
        if self._first_empty is None:
            return None
        since, before = self._first_empty
        long = _LONG_RUN * max(self._longest, _LONG_RUN_FROM)
        if began - since < long or self._accepted - before < _ENOUGH:
            return None
        return (self._accepted - before) / (began - since)

    def _refined(self, learned: Learned) -> Learned:
        """Return the limit with what a sliding window was just seen to hold."""
        held, budget, window = len(self._log), learned.budget, learned.window
        if budget is None or window is None or self._resets.believed is not Model.SLIDING:
            return learned
        if not budget < held < budget * _PROBE_WINDOW:
            return learned
        return Learned(kind=Kind.WINDOW, rate=held / window, budget=held, window=window)

    def _cruise(self, learned: Learned, now: float) -> None:
        """Go on just below the limit, with a little in hand against jitter."""
        self.learned = learned
        self._forget_stretch()
        self._longest, self._first_empty = 0.0, None
        self._raising = False
        if learned.kind is Kind.BUCKET:
            self._resets.forget()
        in_hand = 3.0 if learned.kind is Kind.BUCKET else 1.0
        self._next_at = now + in_hand / learned.rate
        self._go(Phase.CRUISE, learned.rate * _CRUISE, now)

    def _long(self, rough: float | None) -> float:
        """Return how long a block must last to be a window's: no bucket takes so long to refill."""
        rate = rough or self._rate
        return 3.0 / rate + 2.0 * self._round_trip + 2.0 * FIRST_GAP

    def _note_burst(self, rate: float) -> None:
        """Estimate the burst: from the start, or because what looked like more was only that."""
        if self.learned is None and self._start_ended is not None:
            seconds, accepted = self._start_ended
            self._burst = max(0.0, accepted - rate * seconds)
        elif self.learned is not None and rate < 0.99 * self.learned.rate:
            self._burst = 2.0 * max(self._burst, 5.0)

    def _stretch(self, block: Block) -> float | None:
        """Add the stretch since the server was last exhausted; return its rough rate."""
        if self._empty_at is not None:
            self._sum_accepted += self._accepted - self._empty_count
            self._sum_seconds += block.began - self._empty_at
        self._empty_at, self._empty_count = block.began, self._accepted
        if self._sum_seconds <= 0 or self._sum_accepted < 3:
            return None
        return self._sum_accepted / self._sum_seconds

    def _is_stray(self, now: float) -> bool:
        """Say whether a 429 while cruising is the first for a while: jitter, perhaps."""
        window = self.learned.window if self.learned else None
        self._strays = [at for at in self._strays if now - at < max(60.0, 2.5 * (window or 0.0))]
        self._strays.append(now)
        return len(self._strays) < (2 if window is None else _STRAYS)

    def _bucket(self, rough: float | None, now: float) -> None:
        self._up_after = _UP_EVERY
        if rough is None:
            self._go(Phase.MEASURE, max(0.75 * self._pace(), 0.5), now)
        elif rough >= 0.9 * self._floor(now) and (
            self._sum_accepted >= _ENOUGH
            or (self._sum_seconds > _ENOUGH_SECONDS and self._sum_accepted > _ENOUGH_SLOW)
        ):
            self._note_burst(rough)
            self._cruise(Learned(kind=Kind.BUCKET, rate=rough), now)
        else:
            self._go(Phase.MEASURE, max(rough * _ABOVE, self._floor(now)), now)

    def _window_reset(self, block: Block, sent_at: float, now: float) -> None:
        """A long block ended: the second in a row tells what fits into a window, and its length."""
        before = (self._resets.earliest, self._resets.latest)
        self._resets.saw(block.last_refused, sent_at)
        is_second = self.phase is Phase.MEASURE and self._reset_count is not None
        count = self._accepted - (self._reset_count or 0)
        self._reset_count = self._accepted
        self._forget_stretch()
        if self.learned and self._confirms(self.learned, sent_at - block.began, now):
            self._cruise(self.learned, now)
            return
        self._longest = max(self._longest, block.last_refused - block.began)
        learned = self._window(block, sent_at, before, count) if is_second else None
        if learned is not None:
            self._resets.window = learned.window
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
        shortest = max(block.last_refused - latest, self._longest)
        window = snapped(shortest, sent_at - earliest)
        if window is None or count < max(_FEWEST, _PLAUSIBLE * self._floor(sent_at) * window):
            return None
        return Learned(kind=Kind.WINDOW, rate=count / window, budget=count, window=window)

    def _measure_window(
        self, block: Block, sent_at: float, since: float | None, count: int, now: float
    ) -> None:
        """Go on to the next reset at a pace that exhausts the window before it."""
        self._resets.window = None
        if self.learned is not None:  # it was wrong
            pace, since = self.learned.rate * _FALLEN, block.began
            self.learned = None
            self._new_horizon(sent_at)
        else:
            if since is None:
                since, count = self._horizon, self._accepted - self._horizon_count
            pace = max(count / max(sent_at - since, 0.1), self._floor(sent_at)) * _UP
        self._up_after = max(_UP_EVERY, (sent_at - since) / 2)
        self._go(Phase.MEASURE, max(pace, 0.5), now)

    def _new_horizon(self, now: float) -> None:
        self._horizon, self._horizon_count = now, self._accepted
        self._longest, self._first_empty = 0.0, None

    def _floor(self, now: float) -> float:
        """Return what was accepted on average since nothing is known, once a window was seen."""
        if self._reset_count is None or self.learned is not None:
            return 0.0
        return (self._accepted - self._horizon_count) / max(now - self._horizon, 1.0)
