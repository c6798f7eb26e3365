"""Rate controller: finds an unknown limit, and rides it.

Pure: no I/O, and the time in seconds is an argument. Requests are paced evenly, because an even
pace at the sustained rate stays within fixed windows, sliding windows and token buckets alike.

    start ──refusals──► blocked ──canary──► measure ──enough──► cruise ◄──► probe
    10/s, × 2 a second     ▲                   │   ▲               │          │
                           └───────────────────┴───┼───────────────┴──────────┤
                                                   └────────────more──────────┘

What a block teaches is the meter's to say, or that of the cap, the ban and chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from incarts_pipeline.rate_limit.ban import Ban
from incarts_pipeline.rate_limit.block import FIRST_GAP, PATIENCE, TOLD, Block, Guess
from incarts_pipeline.rate_limit.cap import Cap
from incarts_pipeline.rate_limit.course import CRUISE, Course
from incarts_pipeline.rate_limit.lengths import SLACK, next_usual
from incarts_pipeline.rate_limit.limit import NO_TIME, Phase, Wait
from incarts_pipeline.rate_limit.meter import DOUBTED
from incarts_pipeline.rate_limit.share import Share
from incarts_pipeline.rate_limit.signals import Hints, Outcome, Signal
from incarts_pipeline.rate_limit.window import MISCOUNT, SURE, Edge

_CATCH_UP, _CATCH_UP_FIXED = 0.15, 0.05  # seconds that may be made up for after a late wake-up
_AT_ONCE = 2.0  # seconds that a window's end is waited for without a try before it
_LEAST_LONG = 1.0  # seconds; what gives again sooner gives evenly enough
_POLL = 0.005  # seconds between looks while as many are under way as may be
_GUESSED = 2.0  # acknowledgements that a rough rate counts for


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

    # What senders ask.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again.

        A permit that is given while `block` is set is the canary's.
        """
        if self.flights.is_full(self.cap.most, now):
            return _POLL
        wait = self.permit(now)
        if not wait:
            self.flights.leave(now)
        return wait

    def permit(self, now: float) -> float:
        """Do as `ask`, but leave it to the caller to keep to the cap."""
        if self.began is None:
            self.began = self.since = now
            self.next_at = max(self.next_at, now)
        if self.block is not None:
            return self.block.ask(now)
        self._keep_time(now)
        # One permit each 1/pace seconds. Who comes late may make up for a little of it; more would
        # be a burst, which no bucket that is nearly empty forgives.
        if self.next_at - now > NO_TIME:
            return self.next_at - now
        pace = self._pace(now)
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
            return max(wait, block.began + (self.meter.window.length or 0.0) - now)
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
            full = self.flights.arrive(now, refused=refused) >= (self.cap.most or 0)
        # Where slots are leased, the process that reports knows whether its slot was the canary's.
        if canary is None:
            canary = self.block is not None and self.block.is_canary(sent_at)
        self.under_way = max(0, self.under_way - 1)
        if signal.outcome is Outcome.ACCEPTED:
            self._is_capped(sent_at, now, full=full, refused=False)
            self._accepted(sent_at, now, canary=canary)
        elif signal.outcome is Outcome.REFUSED:
            self.refused += 1
            if not self._is_capped(sent_at, now, full=full, refused=True):
                self._refused(signal, sent_at, now, canary=canary)
        else:
            # Nobody knows whether it was counted; its permit is given back, so that what is
            # accepted is what is paced. Not all of them: else an outage would be hammered.
            if self.given_back < self.history.total:
                self.given_back = max(self.given_back + 1, self.history.total - 3)
                self.next_at -= 1.0 / self.speed
            if self.block is not None and canary:
                self.block.canary_sent = None  # lost: the next one may go at once

    def interrupted(self, now: float) -> None:
        """Note that nobody wanted to send for a while: what goes on since then proves nothing."""
        if self.began is None:
            return
        self.under_way = 0
        if self.block is not None:
            self.block.watched_from = now  # patience begins anew
            return
        if self.phase is Phase.MEASURE and not self.meter.by_window:
            self.meter.begin(self.meter.rate)
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
        self.history.add(sent_at)
        self.meter.window.started(sent_at)
        if self.share is not None:
            self.rate = self.share.accepted(self.ceiling)

    def _is_capped(self, sent_at: float, now: float, *, full: bool, refused: bool) -> bool:
        """Say whether a refusal speaks of too many in flight: that stops nobody else."""
        cap = self.cap
        if not self.learns:
            return False
        if cap.most is None:
            shown = cap.saw(sent_at, now, self.round_trip, refused=refused)
            # An even pace meets a cap only if it keeps about so many under way. Where it keeps
            # fewer, what left at once was refused, and a small bucket does that too.
            if shown is None or shown > 2.0 * self._pace(now) * self.round_trip:
                return False
            cap.begin(shown, now)
            self.block = None
            self.share = None
            self.meter.begin(None)
            self._go(Phase.START, self.rate, now)
            return True
        cap.follow(sent_at, now, full=full, refused=refused)
        if cap.is_wrong:
            self.cap = Cap()
            return False
        return self.block is None and not cap.is_used_up and full

    def _refused(self, signal: Signal, sent_at: float, now: float, *, canary: bool) -> None:
        block = self.block
        if self.share is not None:
            self.rate = self.share.refused(is_blocked=block is not None)
            if block is None and not self.share.is_all:
                return
        if block is None:
            # Refusals of requests that left before the last block ended are that block's.
            if sent_at < self.ignore_before:
                return
            if self._may_be_chance(sent_at):
                return
            gap = FIRST_GAP
            if self.phase is not Phase.START or self.chance.is_usual:
                gap = min(max(1.0 / self.speed, 0.02), 1.0)
            block = self.block = Block(
                began=sent_at,
                last_refused=sent_at,
                watched_from=sent_at,
                first_gap=gap,
            )
        elif canary:
            block.was_refused(sent_at)
        else:
            block.also_refused += 1
            return
        block.said, hints = signal.said, signal.hints
        guesses = self._guesses(block, hints, now)
        block.plan(now, guesses)
        block.was_told(self.told.believed(hints, now), sent_at)

    def _may_be_chance(self, sent_at: float) -> bool:
        """Say whether a refusal stops nobody: others before it meant nothing, and it is alone."""
        if self.phase is Phase.PROBE and not self._is_noise():
            return False
        return self.chance.stops_nobody(sent_at, self.history.total)

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: go on with what that says of the limit."""
        self.block = None
        self.ignore_before = now  # until here nobody knew that sending goes on
        self.next_at = sent_at + 1.0 / self.speed
        if not self.learns:
            return
        self._judge_told(block, sent_at)
        if self.share is not None:
            if sent_at - block.began > self._long():
                self.rate = self.share.was_blocked(sent_at, self.history.total)
            return
        if self.ban is not None:
            self.ban.ended(sent_at - block.last_refused, block.tries)
            pace = self.speed / CRUISE
            # One refusal at a pace that was fine is left to chance.
            if block.tries or pace > 1.001 * self.ban.fine:
                self._ride(self.ban.met(pace, self.history, sent_at))
                self._cruise(now)
            return
        # A canary that nobody heard of says nothing of how long the server was exhausted.
        lasted = sent_at - block.began - block.lost
        is_long = lasted > self._long()
        is_end = is_long or (
            self.meter.by_window
            and self.meter.window.foretold(block.began, block.last_refused, sent_at)
        )
        if not is_end and self.cap.most is None and self._do_models_fail():
            self.share = Share(self._average(now))
            self._go(Phase.CRUISE, self.share.pace, now)
            return
        if is_end or not self._is_stray(block):
            self._learn(block, sent_at, now, is_long=is_long)
        elif self.phase is Phase.PROBE and not self._is_noise():
            self._cruise(now, probed=True)  # more than by chance: it gives no more

    def _do_models_fail(self) -> bool:
        # Below a limit that is settled, a refusal says more than one on the way to it.
        return self.breaks.show(self.history.total, 2 if self.phase is Phase.CRUISE else 1)

    def _judge_told(self, block: Block, passed: float) -> None:
        for way, at in block.guesses.items():
            if way.startswith(TOLD):
                self.told.judge(way, at, block.began, block.last_refused, passed)

    def _learn(self, block: Block, sent_at: float, now: float, *, is_long: bool) -> None:
        meter, flow = self.meter, self.meter.flow
        if self.phase is Phase.CRUISE and (is_long or meter.by_window):
            flow.begin(meter.rate, DOUBTED)  # what was given meanwhile is less than it might be
        edge = Edge(block.last_refused, sent_at, self.history.total - block.accepted_after)
        meter.ended(self.history, block.began, edge, self.phase, is_long=is_long)
        if is_long:
            self.chance.strays = []  # of another window
        lasts = None
        if is_long and not meter.window.fits:
            first = self.history.first
            lasts = self.long_blocks.ban_of(block, sent_at, block.began if first is None else first)
        if lasts is not None:
            self.ban = Ban(lasts)
            self._ride(self.ban.met(self.speed, self.history, sent_at))
            self._cruise(now)
            return
        # What a window gave that blocks so long is a rough rate.
        blocked = block.last_refused - block.began
        span = meter.window.length or next_usual(blocked) or blocked
        given = max(self.history.since(block.last_refused - span), 1.0)
        if is_long:
            flow.empties = flow.empties[-1:]
            flow.assumed, flow.weight = given / span, DOUBTED
        elif self.phase is Phase.START or meter.rate is None:
            flow.assumed, flow.weight = given / span, _GUESSED
        if self.phase is Phase.PROBE and (meter.window.is_exact or not is_long):
            self._cruise(now, probed=True)
        elif meter.is_settled:
            self._cruise(now)
        elif is_long:
            known = min(given, meter.window.budget) if meter.by_window else given
            self._measure(meter.rate or given / span, known, now, span)
        else:
            known = flow.count + flow.weight
            self._measure(meter.rate or given / span, known, now, meter.length or 0.0)
        self.next_at = max(self.next_at, now)
        if self.phase is Phase.CRUISE and not meter.by_window:
            # A bucket that is nearly empty forgives no jitter: it gets a few in hand first.
            self.next_at += min(MISCOUNT / self.speed, _LEAST_LONG)

    def _is_stray(self, block: Block) -> bool:
        """Say whether a short block is no news as yet; several of them soon after another are."""
        is_full = self.meter.length is None or self.meter.window.is_full(self.history, block.began)
        if self.phase is Phase.MEASURE and is_full:
            return False
        count = self.history.total - block.accepted_after
        is_alone = block.tries < 2 and not block.is_mass
        if is_alone and self.chance.meant_nothing(block.began, count):
            return True
        self.chance.is_a_limit()
        return False

    def _guesses(self, block: Block, hints: Hints, now: float) -> list[Guess]:
        """Return when what is known, and each hint, says that a request passes again."""
        found = self._own_guesses(block, now)
        for way, at in self.told.times(hints, now).items():
            standing = self.told.standing(way)
            if standing >= 0:
                block.guesses.setdefault(way, at)
                at = max(at - 1.0, now + 0.5 * (at - now))  # servers round up
                found.append(Guess(way, at, standing, sure=standing >= SURE))
        edge = self.meter.window.edge
        first = edge.passed if edge else self.history.first
        is_told = any(one.name.startswith(TOLD) for one in found)
        if first is None or is_told or self.ban is not None:
            return found
        usual = next_usual(now - first)
        if usual is not None:
            found.append(Guess("usual", first + usual + SLACK, -1.0, sure=False))
        return found

    def _own_guesses(self, block: Block, now: float) -> list[Guess]:
        if self.ban is not None:
            return [Guess("ban", self.ban.over_at(block.last_refused, block.tries), 0.0, sure=True)]
        if self.share is not None:
            return []
        found, window = [], self.meter.window
        opens = window.opens(self.history, block.began, block.last_refused)
        if opens is not None:
            # One early try shows whether it was another limit.
            sure = block.tries > 0 or opens - now < _AT_ONCE
            sure &= window.is_sure(self.history, block.began)
            found.append(Guess("window", opens, window.standing, sure=sure))
        if not self.meter.by_window and self.meter.rate and block.tries < 3:
            at = block.last_refused + 1.0 / self.meter.rate
            found.append(Guess("flow", at, 0.0, sure=True))
        return found

    def _long(self) -> float:
        """Return how long a block must last to be a window's: no bucket takes so long to refill."""
        rate = self.meter.rate or self.speed
        return 3.0 / rate + 2.0 * self.round_trip + _LEAST_LONG
