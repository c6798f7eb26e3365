"""Survey: what a server's limit is, from what it accepted between two blocks.

Pure: times in seconds, rates in requests a second. Between two instants at which the server is
known to be exhausted, what it accepted *is* its budget: for a bucket accepted / time, for a window
the number that fits into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.block import FIRST_GAP, Block
from incarts_pipeline.rate_limit.confidence import Hints, Trust
from incarts_pipeline.rate_limit.headroom import MARGIN, Headroom
from incarts_pipeline.rate_limit.limit import Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.meter import Meter
from incarts_pipeline.rate_limit.reset_times import SHORT, Model, Resets, snapped
from incarts_pipeline.rate_limit.sliding_log import Replica

UP = 1.25  # times the pace, when measuring goes faster
UP_EVERY = 5.0  # seconds without a 429 after which it does
_ABOVE = 1.1  # times the rough rate, to find the limit again
_BELOW = 0.75  # of the pace that met a limit, when nothing else is known of it
_FALLEN = 0.8  # of the old rate, from which a fallen limit is measured
_SLOWEST = 0.5  # requests a second, to measure with
_CLOSE = 0.02  # of a rate, within which a longer measurement refines it
_SURELY = 1.01  # times a budget, from which a count shows that it was raised
_MORE = 1.05  # times a budget that a window may turn out to hold without being another one
_FEWEST = 5  # requests in a window, from which its budget is believed
_PLAUSIBLE = 0.5  # of the average so far, or of what was learned: less is no window's budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a block taught: `pace` to measure on with, None when `learned` is to be ridden."""

    learned: Learned | None
    pace: float | None = None
    up_after: float = UP_EVERY  # seconds without a 429 after which that pace is too slow


@dataclass(slots=True)
class Survey:
    """All that was seen of a server's limit."""

    meter: Meter = field(default_factory=Meter)
    resets: Resets = field(default_factory=Resets)
    log: Replica = field(default_factory=Replica)  # accepted in the last window
    headroom: Headroom = field(default_factory=Headroom)
    trust: Trust = field(default_factory=Trust)
    hints: Hints = field(default_factory=Hints)
    sustained: float | None = None  # pace on the way up, when what was learned is too low

    def begin(self, now: float) -> None:
        """Look on from here: what was accepted until now is no measure of what may be."""
        self.meter.begin(now)

    def pause(self) -> None:
        """Forget what is being measured: nobody wanted to send for a while."""
        self.meter.forget_stretch()
        self.meter.reset_count = None

    def accepted(self, sent_at: float) -> None:
        """Count a request."""
        self.meter.accepted += 1
        self.resets.accepted(sent_at)
        self.log.add(sent_at, self.resets.window)

    def one_more(self, now: float, usually: float) -> float:
        """Return the seconds until the oldest request is out of a sliding window."""
        window = self.resets.window
        if window is None:
            return usually
        return max(usually, self.log.full_for(now, window, self.log.total))

    def settle(self, learned: Learned) -> None:
        """Ride this from now on."""
        self.meter.settled()
        self.sustained = None
        if learned.kind is LimitKind.BUCKET:
            self.resets.forget()
        else:
            self.resets.window = learned.window

    def probe(self, learned: Learned, now: float) -> float:
        """Begin to look for more; return the rate to try."""
        slides = self.resets.believed is Model.SLIDING
        return self.headroom.probe(learned, self.meter, now, even=slides or learned.window is None)

    def climb(self, sustained: float) -> None:
        """Look for a limit that was raised, above a pace at which nothing was refused.

        What is accepted on the way up measures nothing.
        """
        self.sustained = sustained
        self.meter.forget_stretch()

    def proves_more(self, learned: Learned, now: float) -> bool:
        """Say whether the window under way holds more than was learned, if its reset is known."""
        budget, model = learned.budget, self.resets.believed
        if budget is None or model not in (Model.ALIGNED, Model.ANCHORED):
            return False
        return self.resets.held(self.log, now) > budget * _SURELY + MARGIN

    def unblocked(
        self,
        learned: Learned | None,
        block: Block,
        *,
        phase: Phase,
        pace: float,
        round_trip: float,
        sent_at: float,
        now: float,
    ) -> Finding:
        """Take in a block that a canary which left at `sent_at` ended: what does it teach?"""
        meter = self.meter
        cruising = phase in (Phase.CRUISE, Phase.PROBE)
        rough = meter.stretch(
            block.began,
            meter.accepted - block.accepted_after,
            self.headroom.most if cruising else None,
        )
        # The start runs into the limit with the burst that a bucket had saved; how large that is
        # shows once the rate is known.
        if phase is Phase.START:
            self.headroom.ramp.append((block.began, meter.accepted))
        meter.was_empty(block.last_refused, block.last_refused - block.began)
        # The length of a block tells the kinds apart: a bucket lets the next one in after 1/rate, a
        # window only once it is reset.
        is_long = sent_at - block.began > _long(rough or pace, round_trip)
        expected = self.resets.ended(block.last_refused, sent_at)
        long_run = meter.long_run(block.began)
        sustained, self.sustained = self.sustained, None
        if now < self.trust.plain_until:
            return Finding(learned=self.trust.average(now, meter.accepted))
        if sustained is not None and learned and learned.window:
            return Finding(learned=self._raised(learned, learned.window, block.began))
        if phase is Phase.MEASURE and long_run is not None:
            return Finding(learned=Learned(kind=LimitKind.BUCKET, rate=long_run))
        if is_long:
            held = self.resets.held(self.log, block.began) if expected and cruising else 0
            return self._window_reset(learned, block, phase, held, sent_at, now)
        return self._short(learned, block, phase, pace, sustained, rough, now)

    def _short(
        self,
        learned: Learned | None,
        block: Block,
        phase: Phase,
        pace: float,
        sustained: float | None,
        rough: float | None,
        now: float,
    ) -> Finding:
        """A block ended that was no window's."""
        cruising = phase in (Phase.CRUISE, Phase.PROBE)
        if learned and sustained is not None and _is_close(pace, sustained, learned):
            return Finding(learned=Learned(kind=LimitKind.BUCKET, rate=sustained))
        # The cruise ran into the limit again, after many requests: the same one, known better.
        if cruising and rough is not None and _agree(self.meter.newest(), learned):
            self.meter.believed()
            return Finding(learned=Learned(kind=LimitKind.BUCKET, rate=rough))
        # A probe that is refused found what it looked for: the limit is still there.
        if phase is Phase.PROBE and learned:
            return Finding(learned=self._refined(learned, block.began))
        if phase is Phase.CRUISE and learned and self.trust.is_stray(now, learned.window):
            return Finding(learned=self._refined(learned, block.began))
        return self._bucket(learned, rough, pace, now)

    def _raised(self, learned: Learned, window: float, full_at: float) -> Learned:
        """A known window was full again: it holds what was accepted in it."""
        held = self.hints.snapped(self.resets.held(self.log, full_at))
        if held <= (learned.budget or 0) * 1.02:
            return learned
        return _window_of(held, window)

    def _refined(self, learned: Learned, full_at: float) -> Learned:
        """Return the limit with what a sliding window was just seen to hold."""
        budget, window = learned.budget, learned.window
        if budget is None or window is None or self.resets.believed is not Model.SLIDING:
            return learned
        held = self.resets.held(self.log, full_at)
        if not budget / _MORE < held < budget * _MORE:
            return learned
        return _window_of(held, window)

    def _bucket(
        self, learned: Learned | None, rough: float | None, pace: float, now: float
    ) -> Finding:
        """A short block ended: the rate between many of them is the limit's."""
        if rough is None:
            # The first block: nothing is measured yet but that this pace is too fast.
            return Finding(learned=learned, pace=max(_BELOW * pace, _SLOWEST))
        floor = self._floor(learned, now)
        if rough >= 0.9 * floor and self.meter.is_enough():
            self.headroom.note_burst(learned, rough)
            self.meter.believed()
            return Finding(learned=Learned(kind=LimitKind.BUCKET, rate=rough))
        # A little above the rough rate, so that the next block comes soon, and with it an instant.
        return Finding(learned=learned, pace=max(rough * _ABOVE, floor))

    def _window_reset(
        self,
        learned: Learned | None,
        block: Block,
        phase: Phase,
        held: int,
        sent_at: float,
        now: float,
    ) -> Finding:
        """A long block ended: the second in a row tells what fits into a window, and its length.

        `held` is what a known window held when it was full, if it was reset when it was expected.
        """
        meter, before = self.meter, (self.resets.earliest, self.resets.latest)
        self.resets.saw(block.last_refused, sent_at)
        if learned and learned.window and _holds_less(learned, block, sent_at, held):
            return Finding(learned=_window_of(held, learned.window))
        # The first reset only begins a window: what was accepted before it may be any part of one.
        is_second = phase is Phase.MEASURE and meter.reset_count is not None
        count = meter.accepted - (meter.reset_count or 0)
        meter.reset_count = meter.accepted
        meter.forget_stretch()
        if learned and self._confirms(learned, phase, sent_at - block.began, now):
            return Finding(learned=learned)
        meter.longest = max(meter.longest, block.last_refused - block.began)
        found = self._window(learned, block, sent_at, before, count) if is_second else None
        if found is not None:
            return Finding(learned=found)
        return self._measure_window(
            learned, block, sent_at, before[1] if is_second else None, count, now
        )

    def _confirms(self, learned: Learned, phase: Phase, length: float, now: float) -> bool:
        """Say whether a long block is what was expected of a window that is known."""
        if learned.window is None or length >= SHORT * learned.window:
            return False
        if phase is Phase.PROBE:
            return True
        return phase is Phase.CRUISE and self.trust.is_stray(now, learned.window)

    def _window(
        self,
        learned: Learned | None,
        block: Block,
        sent_at: float,
        before: tuple[float | None, float | None],
        count: int,
    ) -> Learned | None:
        """Return the window between two resets, None when there is no believable one."""
        earliest, latest = before
        if earliest is None or latest is None:
            return None
        # Neither reset is known to the instant, only between a refusal and the request that passed.
        # Windows have usual lengths, so the one that fits between the bounds is it.
        shortest = max(block.last_refused - latest, self.meter.longest)
        window = snapped(shortest, sent_at - earliest)
        floor = self._floor(learned, sent_at)
        if window is None or count < max(_FEWEST, _PLAUSIBLE * floor * window):
            return None
        return _window_of(self.hints.snapped(count), window)

    def _measure_window(
        self,
        learned: Learned | None,
        block: Block,
        sent_at: float,
        since: float | None,
        count: int,
        now: float,
    ) -> Finding:
        """Go on to the next reset at a pace that exhausts the window before it."""
        meter = self.meter
        self.resets.window = self.resets.believed = None
        if learned is not None:
            if self.trust.is_wrong_again(block.began, meter.accepted):
                return Finding(learned=self.trust.average(now, meter.accepted))
            # Less than was learned, or reset at other times: what was known is given up, and the
            # new limit is looked for below the old one.
            pace, since = learned.rate * _FALLEN, block.began
            meter.begin(block.began)
        else:
            if since is None:
                since, count = meter.horizon, meter.accepted - meter.horizon_count
            floor = self._floor(None, sent_at)
            pace = max(count / max(block.last_refused - since, 0.1), floor) * UP
        self.sustained = None
        return Finding(
            learned=None,
            pace=max(pace, _SLOWEST),
            up_after=max(UP_EVERY, (sent_at - since) / 2),
        )

    def _floor(self, learned: Learned | None, now: float) -> float:
        return 0.0 if learned is not None else self.meter.floor(now)


def _holds_less(learned: Learned, block: Block, sent_at: float, held: int) -> bool:
    """Say whether a window that was reset when it was expected to be holds so many now."""
    if learned.window is None or sent_at - block.began < SHORT * learned.window:
        return False
    budget = learned.budget or 0
    return max(_FEWEST, _PLAUSIBLE * budget) <= held < budget


def _window_of(budget: int, window: float) -> Learned:
    return Learned(kind=LimitKind.WINDOW, rate=budget / window, budget=budget, window=window)


def _long(rate: float, round_trip: float) -> float:
    """Return how long a block must last to be a window's: no bucket takes so long to refill."""
    return 3.0 / rate + 2.0 * round_trip + 2.0 * FIRST_GAP


def _is_close(pace: float, sustained: float, learned: Learned) -> bool:
    """Say whether a climb ended in its first steps, so that the pace before is near the limit."""
    return pace < sustained * _ABOVE and sustained < learned.rate * UP


def _agree(exact: float | None, learned: Learned | None) -> bool:
    """Say whether what a bucket gave since it was last exhausted only makes it known better."""
    if exact is None or learned is None or learned.kind is not LimitKind.BUCKET:
        return False
    return abs(exact / learned.rate - 1.0) < _CLOSE
