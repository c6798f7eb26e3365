"""Rate controller: finds an unknown limit, and rides it.

Pure: no I/O, and the time in seconds is an argument. Requests are paced evenly, because an even
pace at the sustained rate stays within fixed windows, sliding windows and token buckets alike.

    start ──refusals──► blocked ──canary──► measure ──enough──► cruise ◄──► probe
    10/s, × 2 a second     ▲                   │   ▲               │          │
                           └───────────────────┴───┼───────────────┴──────────┤
                                                   └────────────more──────────┘

What a block teaches, and who is believed, is the models' to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from incarts_pipeline.rate_limit.ban import Ban
from incarts_pipeline.rate_limit.block import FIRST_GAP, PATIENCE, Block
from incarts_pipeline.rate_limit.cap import Cap
from incarts_pipeline.rate_limit.course import CRUISE, LONG_WAIT, Course
from incarts_pipeline.rate_limit.flow import Flow
from incarts_pipeline.rate_limit.limit import NO_TIME, Learned, LimitKind, Phase, Wait
from incarts_pipeline.rate_limit.models import MARGIN
from incarts_pipeline.rate_limit.signals import Outcome, Signal
from incarts_pipeline.rate_limit.windows import Window

_CATCH_UP, _CATCH_UP_FIXED = 0.15, 0.05  # seconds that may be made up for after a late wake-up
_LEAST_LONG = 1.0  # seconds; what gives again sooner gives evenly enough
_TRIAL_REFUSED = 3  # of them, that show a limit that gives one at a time
_TRIAL, _TRIAL_PACE = 4, 5.0  # requests that a reset window lets through at once; so many a second
_POLL = 0.005  # seconds between looks while as many are under way as may be
_FEW = 20  # acknowledgements of which a rate says less than the one before
_PARTIAL = 0.05  # share of requests that servers which count by themselves refuse at most
_SURELY_MIXED = 3  # blocks that showed such servers


@dataclass(slots=True)
class RateController(Course):
    """Says when to send, and learns from the answers; one for each limit.

    All of its state is in its fields, plain enough to be written as JSON between two calls.

    Args:
        ceiling: requests a second that are never exceeded, None for none.
        known: what an earlier controller measured; then nothing is provoked anew.
        learns: False keeps to the ceiling, and only waits a refusal out.
    """

    # A state that was written when it had other fields means something else: it is made anew.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def learned(self) -> Learned | None:
        """What a later controller may begin with: the limit, or what was below it."""
        most = self.models.cap.most
        if most is not None:
            # A machine that is busy makes less of a cap than it allows: what was reached counts.
            rate = most / max(self.round_trip, 1e-3)
            rate = min(rate, self.proven or rate)
            return Learned(kind=LimitKind.IN_FLIGHT, rate=rate, budget=most)
        if self.phase is Phase.START:
            return Learned(kind=LimitKind.OPEN, rate=self.proven) if self.proven else None
        return self.models.learned(self.proven or None) or self.known

    # What senders ask.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again.

        A permit that is given while `block` is set is the canary's.
        """
        if self.flights.is_full(self.models.cap.most, now):
            return _POLL
        wait = self.permit(now)
        if not wait:
            self.flights.leave(now)
        return wait

    def permit(self, now: float) -> float:
        """Do as `ask`, but leave it to the caller to keep to the cap."""
        if self.began is None:
            self.began = self.since = self.steady_from = now
            self.next_at = max(self.next_at, now)
        if self.block is not None:
            return self.block.ask(now)
        self._keep_time(now)
        # One permit each 1/pace seconds. Who comes late may make up for a little of it; more would
        # be a burst, which no bucket that is nearly empty forgives.
        if self.next_at - now > NO_TIME:
            return self.next_at - now
        pace = self._pace(now) if self.trial is None else min(self.speed, _TRIAL_PACE)
        late = _CATCH_UP if self.learns else max(_CATCH_UP_FIXED - 1.0 / pace, 0.0)
        self.next_at = max(self.next_at, now - late) + 1.0 / pace
        self.under_way += 1
        return 0.0

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the next try after a refusal, 0.0 when nothing is blocked."""
        return max(0.0, self.block.canary_at - now) if self.block else 0.0

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when that is more than most runs would wait for.

        That is when the server named the same instant, more than 15 minutes ahead, for half a
        minute, refused everything for so long, or is exhausted for so long by what is known.
        """
        block = self.block
        if block is None or not block.tries:
            return None
        lasts = now - block.watched_from
        told = (block.hinted or 0.0) - now
        wait = max(0.0, block.canary_at - now)
        if told > PATIENCE and (lasts > PATIENCE or block.is_told_again):
            return told
        if lasts > PATIENCE:
            return max(wait, self.models.open_by(block) - now)
        return wait if wait > PATIENCE else None

    def waiting_for(self, now: float) -> Wait | None:
        """Say what is being waited for, None when nothing is."""
        if self.block is None:
            return None
        return Wait(self.block.said, self.blocked_for(now))

    def answered(
        self,
        signal: Signal,
        *,
        sent_at: float,
        now: float,
        canary: bool | None = None,
        full: bool | None = None,
    ) -> None:
        """Learn from an answer; `canary` None: tell by the time at which it was sent.

        `full` says whether its sender had as many under way as it may; None: as counted here.
        """
        if full is None:
            refused = signal.outcome is Outcome.REFUSED
            full = self.flights.arrive(now, refused=refused) >= (self.models.cap.most or 0)
        # Where slots are leased, the process that reports knows whether its slot was the canary's.
        if canary is None:
            canary = self.block is not None and self.block.is_canary(sent_at)
        self.under_way = max(0, self.under_way - 1)
        if signal.outcome is Outcome.ACCEPTED:
            self._is_capped(sent_at, now, full=full, refused=False)
            self._accepted(sent_at, now, canary=canary)
            self._look_at_trial(now, refused=False)
        elif signal.outcome is Outcome.REFUSED:
            self.refused += 1
            if not self._is_capped(sent_at, now, full=full, refused=True):
                self._refused(signal, sent_at, now, canary=canary)
        else:
            # Nobody knows whether it was counted; its permit is given back, so that what is
            # accepted is what is paced. Not all of them: else an outage would be hammered.
            if self.given_back < self.models.history.total:
                self.given_back = max(self.given_back + 1, self.models.history.total - 3)
                self.next_at -= 1.0 / self.speed
            if self.block is not None and canary:
                self.block.canary_sent = None  # lost: the next one may go at once

    def interrupted(self, now: float) -> None:
        """Note that nobody wanted to send for a while: what goes on since then proves nothing."""
        if self.began is None:
            return
        self.under_way, self.steady_from = 0, now
        if self.block is not None:
            self.block.watched_from = now  # patience begins anew
            return
        if self.phase is Phase.MEASURE:
            self.models.flow.restart(rate=self.models.flow.rate)
        if self.phase is Phase.PROBE:
            self._cruise(now)
        self._go(self.phase, self.rate, now)

    # Answers.

    def _accepted(self, sent_at: float, now: float, *, canary: bool) -> None:
        # An exponential average: one slow answer is no new distance.
        self.round_trip += 0.1 * (now - sent_at - self.round_trip)
        if self.block is not None and canary:
            self._unblock(self.block, sent_at, now)
        elif self.block is not None and sent_at > self.block.began:
            # Left before the refusal was known, and passed: it is no part of what led to it.
            self.block.accepted_after += 1
        self.models.accepted(sent_at)

    def _is_capped(self, sent_at: float, now: float, *, full: bool, refused: bool) -> bool:
        """Say whether a refusal speaks of too many in flight: that stops nobody else."""
        cap = self.models.cap
        if not self.learns:
            return False
        if cap.most is None:
            shown = cap.saw(sent_at, now, self.round_trip, refused=refused)
            # An even pace meets a cap only if it keeps about so many under way. Where it keeps
            # fewer, what left at once was refused, and a small bucket does that too.
            if shown is None or shown > 2.0 * self._pace(now) * self.round_trip:
                return False
            cap.begin(shown, now)
            self.block = self.trial = None
            self.models.flow.restart()
            self._go(Phase.START, self.rate, now)
            return True
        cap.follow(sent_at, now, full=full, refused=refused)
        if cap.is_wrong:
            self.models.cap = Cap()
            return False
        return self.block is None and not cap.is_used_up and full

    def _refused(self, signal: Signal, sent_at: float, now: float, *, canary: bool) -> None:
        block = self.block
        if block is None:
            # Refusals of requests that left before the last block ended are that block's.
            if sent_at < self.ignore_before:
                return
            self._look_at_trial(now, refused=True)
            if self._may_be_chance(sent_at):
                return
            gap = FIRST_GAP
            if self.phase is not Phase.START or self.chance.is_usual:
                gap = min(max(1.0 / self.speed, 0.02), 1.0)
            block = self.block = Block(
                began=sent_at,
                last_refused=sent_at,
                watched_from=sent_at,
                stopped=now,
                first_gap=gap,
            )
        elif canary:
            block.was_refused(sent_at)
            self._look_at_trial(now, refused=True)
        else:
            block.also_refused += 1
            return
        block.said, hints = signal.said, signal.hints
        guesses = self.models.guesses(block, hints, now)
        block.plan(now, guesses)
        block.was_told(self.models.told.believed(hints, now), sent_at)

    def _may_be_chance(self, sent_at: float) -> bool:
        """Say whether a refusal stops nobody: others before it meant nothing, and it is alone."""
        if self.trial is not None or (self.phase is Phase.PROBE and not self._is_noise()):
            return False
        return self.chance.stops_nobody(sent_at, self.models.history.total)

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: go on with what that says of the limit."""
        self.block = None
        self.ignore_before = now  # until here nobody knew that sending goes on
        self.next_at = sent_at + 1.0 / self.speed
        if sent_at - block.began > LONG_WAIT:
            self.steady_from = now
        if not self.learns:
            return
        if self.models.ban is not None:
            self._learn_ban(self.models.ban, block, sent_at, now)
            return
        # A canary that nobody heard of says nothing of how long the server was exhausted.
        is_long = sent_at - block.began - block.lost > self._long()
        if self.trial is not None or self._is_partial(block, sent_at, now, is_long=is_long):
            return
        if is_long:
            # A window that was reset has room for more than one: that is looked at first.
            self.trial, self.trial_from = block, sent_at
            self.trial_count, self.trial_refused = self.models.history.total, 0
            self.next_at = sent_at + 1.0 / min(self.speed, _TRIAL_PACE)
            self.models.keep()
            self.chance.strays = []  # of another window
        elif self._is_stray(block):
            if self.phase is Phase.PROBE and not self._is_noise():
                # More than by chance: it gives no more.
                self._cruise(now, self.rest)
            return
        self._learn(block, sent_at, now, is_long=is_long)

    def _learn_ban(self, ban: Ban, block: Block, sent_at: float, now: float) -> None:
        self.models.judge_told(block, sent_at)
        ban.ended(sent_at - block.last_refused, block.tries)
        pace = self.speed / CRUISE
        # One refusal at a pace that was fine is left to chance.
        if block.tries or pace > 1.001 * ban.fine:
            self.models.ride(ban.met(pace, self.models.history, sent_at))
            self._cruise(now)

    def _look_at_trial(self, now: float, *, refused: bool) -> None:
        """See whether a long block's end was a window's, or let only a few through."""
        block = self.trial
        if block is None:
            return
        self.trial_refused += refused
        if self.trial_refused >= _TRIAL_REFUSED:
            self.trial = None
            self.chance.is_a_limit()
            self.models.undo()
            self._learn(block, self.trial_from, now, is_long=False)
        elif self.models.history.total - self.trial_count > _TRIAL:
            self.trial = self.models.kept = None
            if self.trial_refused:
                self.models.mixed = max(self.models.mixed, 1)  # some are full still, or again

    def _learn(self, block: Block, sent_at: float, now: float, *, is_long: bool) -> None:
        is_full = isinstance(self.models.best(), Window) and self.models.explains(block)
        rode = block.began - self.since if self.phase is Phase.CRUISE else 0.0
        self.models.unblocked(block, sent_at, now, is_long=is_long, rate=self.speed, rode=rode)
        is_alone = not block.tries and not is_long and not is_full
        if self.phase is Phase.PROBE and is_alone and self._is_noise():
            return
        self._settle(is_long, now)

    def _is_partial(self, block: Block, passed: float, now: float, *, is_long: bool) -> bool:
        """Say whether some of a window's servers are full, and others not: each counts by itself.

        A window that is full as a whole lets none through until its end.
        """
        models = self.models
        if self.phase not in (Phase.CRUISE, Phase.PROBE) or (is_long and not models.mixed):
            return False
        if not models.is_nearly_full(block, passed) and models.mixed < _SURELY_MIXED:
            return False
        if self._hits() > _FEW + _PARTIAL * (models.history.total - self.since_count):
            models.mixed = 0
            return False
        models.mixed = min(models.mixed + 1, _SURELY_MIXED)
        self.chance.meant_nothing(block.began, models.history.total - block.accepted_after)
        if self.phase is Phase.PROBE:
            self._cruise(now, self.rest)
        return True

    def _is_stray(self, block: Block) -> bool:
        """Say whether a short block is no news as yet; several of them soon after another are."""
        count = self.models.history.total - block.accepted_after
        steady = self.phase is Phase.CRUISE and isinstance(self.models.best(), Flow)
        if self.phase is not Phase.START and not steady and self.models.explains(block):
            return False
        if block.tries < 2 and not block.is_mass:
            if self.chance.meant_nothing(block.began, count):
                return True
            first_at, first = self.chance.strays[0]
            self.models.flow.restart(first_at, first, self.models.flow.rate)
        self.chance.is_a_limit()
        return False

    def _settle(self, is_long: bool, now: float) -> None:
        models = self.models
        best = models.best()
        if best is not models.pacing():
            if is_long or self.phase is not Phase.MEASURE:
                self._cruise(now, self.rest if self.phase is Phase.PROBE else None)
            else:
                # The first limit was met on the way to the second one.
                inner = models.inner()
                self._go(Phase.MEASURE, inner * CRUISE if inner else self.rate, now)
        elif isinstance(best, Flow) and models.ban is None and not best.is_settled:
            rides = is_long or self.phase is Phase.CRUISE
            if rides and best.assumed is not None and best.count < _FEW:
                self._cruise(now)
            else:
                self._measure(best, now)
        elif self.phase is Phase.CRUISE and not is_long:
            self.rate = (models.rate() or self.rate) * CRUISE * self.chance.margin
        else:
            self._cruise(now, self.rest if self.phase is Phase.PROBE else None)
        self.next_at = max(self.next_at, now)
        if self.phase is Phase.CRUISE and isinstance(models.best(), Flow):
            # A bucket that is nearly empty forgives no jitter: it gets a few in hand first.
            self.next_at += min(MARGIN / self.speed, _LEAST_LONG)

    def _long(self) -> float:
        """Return how long a block must last to be a window's: no bucket takes so long to refill."""
        rate = self.models.flow.rate or self.speed
        return 3.0 / rate + 2.0 * self.round_trip + _LEAST_LONG
