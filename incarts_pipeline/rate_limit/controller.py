"""Rate controller: finds an unknown limit, and rides it.

Pure: no I/O, and the time in seconds is an argument. Requests are paced evenly, because an even
pace at the sustained rate stays within fixed windows, sliding windows and token buckets alike.

    start ──refusals──► blocked ──canary──► measure ──enough──► cruise ◄──► probe ──more──► climb
    10/s, × 2 a second     ▲                   │                   │          │               │
                           └───────────────────┴───────────────────┴──────────┴───────────────┘

What a block teaches, and who is believed, is the models' to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from incarts_pipeline.rate_limit.block import Block
from incarts_pipeline.rate_limit.flow import Flow
from incarts_pipeline.rate_limit.limit import NEVER, NO_TIME, Learned, LimitKind, Phase, Wait
from incarts_pipeline.rate_limit.models import MARGIN, PROVEN, Models, is_told
from incarts_pipeline.rate_limit.signals import Outcome, Signal
from incarts_pipeline.rate_limit.windows import Window

FIRST, STEP_UP = 10.0, 2.0  # requests a second, and times the pace, each second of the start
CRUISE = 0.997  # of the rate
_FITS = 0.97  # of what is left of a window: a job of no more goes at once
_CATCH_UP, _CATCH_UP_FIXED = 0.15, 0.05  # seconds that may be made up for after a late wake-up
_FASTEST, _UNPACED = 2.0**20, 1e12  # requests a second
_USED = 0.4  # of a pace that must have been made use of before it is raised
_HITS, _HITS_IN = 4, 40  # refusals that nobody foretold in so many requests are a limit
_CHANCE, _MOST_CHANCE = 3, 6  # fewer and rarer ones, after which one alone stops nobody
_LEAST_LONG = 1.0  # seconds; what gives again sooner gives evenly enough
_TRIAL, _TRIAL_PACE = 4, 5.0  # requests that a reset window lets through at once; so many a second
_AGAIN = 10  # requests in which a second one does
_UP = 1.25  # times the pace, in the last step of a climb
_FIRST_UP = 0.05  # of the pace, in its first
_UP_AFTER, _UP_WINDOWS = 3.0, 20  # seconds of a step, or so many in a window
_WHOLE = 1.2  # windows that a probe takes, once it is known when they begin
_LIFT, _LEAST_LIFT = 0.25, 0.05  # of the pace, by which a rate is exceeded to measure it
_PROBE, _LARGEST_PROBE, _SOON = 0.05, 0.25, 15.0  # of the rate; seconds in which it is to tell
_COST, _REST = (
    0.002,
    90.0,
)  # share of requests that probing may have refused; seconds, or 1.5 windows
_TOO_MANY, _FEW, _WATCHED = 0.004, 0.001, 400  # share of refusals in so many that is lowered
_TELLING = 8  # refusals that tell a share
_DEAREST = 3  # refusals that a probe counts for
_LOWER, _HIGHER, _LOWEST = 0.97, 1.004, 0.8  # times the pace
_SPENT = "no requests left in this window, as a header says"
PATIENCE = 900.0  # seconds of nothing but refusals


@dataclass(slots=True)
class RateController:
    """Says when to send, and learns from the answers; one for each limit.

    All of its state is in its fields, plain enough to be written as JSON between two calls.

    Args:
        ceiling: requests a second that are never exceeded, None for none.
        learned: what an earlier controller measured; then nothing is provoked anew.
        learns: False keeps to the ceiling, and only waits a refusal out.
    """

    # A state that was written when it had other fields means something else: it is made anew.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ceiling: float | None
    known: Learned | None = None  # what it began with
    learns: bool = True
    left: int | None = None  # requests that are still to be sent, None when nobody knows
    phase: Phase = Phase.START
    rate: float = FIRST
    margin: float = 1.0  # of the cruise
    began: float | None = None
    next_at: float = NEVER
    block: Block | None = None
    ignore_before: float = NEVER
    round_trip: float = 0.05
    since: float = 0.0  # when the phase, or its pace, began
    since_count: int = 0  # accepted until then
    since_refused: int = 0
    refused: int = 0
    under_way: int = 0
    models: Models = field(default_factory=Models)
    up: float = 1.0  # times the pace, in the last step of a climb
    sustained: float | None = None  # pace before it
    trial: Block | None = None  # a long block that ended just now
    trial_from: float = 0.0  # when
    trial_count: int = 0  # accepted until then
    strays: list[tuple[float, int]] = field(default_factory=list)  # when, and accepted until then
    chance: int = 0  # how many of the last refusals nobody foretold, and meant nothing
    doubt: int | None = None  # accepted until the last refusal that stopped nobody
    slack: float = 0.0  # requests above the estimate that prove nothing in this probe
    rest: float = 0.0  # seconds until the next probe
    given_back: int = 0  # permits of requests of which nobody knows; no more than were accepted
    proven: float = 0.0  # requests a second that were accepted in the start
    watch: tuple[int, int] = (0, 0)  # accepted and refused, since when the share is watched
    share_before: float | None = None  # of refusals, before the pace was lowered
    noise: float = 0.0  # share of refusals that no pace makes fewer

    def __post_init__(self) -> None:
        """Begin with what is known; refuse a ceiling that would never send."""
        if self.ceiling is not None and self.ceiling <= 0:
            raise ValueError(f"ceiling must be above 0, not {self.ceiling}")
        if self.began is not None:
            return
        if not self.learns:
            self.rate = self.ceiling or _UNPACED
        elif self.known is not None and self.known.kind is LimitKind.OPEN:
            self.rate = STEP_UP * self.known.rate
        elif self.known is not None:
            self.models.begin(self.known)
            self.proven = self.known.burst or 0.0
            self._cruise(0.0)

    @property
    def learned(self) -> Learned | None:
        """What a later controller may begin with: the limit, or what was below it."""
        if self.phase is Phase.START:
            return Learned(kind=LimitKind.OPEN, rate=self.proven) if self.proven else None
        return self.models.learned(self.proven or None) or self.known

    # What senders ask.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again.

        A permit that is given while `block` is set is the canary's.
        """
        if self.began is None:
            self.began = self.since = now
            self.next_at = max(self.next_at, now)
        if self.block is not None:
            return self.block.ask(now)
        self._keep_time(now)
        spent = self.models.told.spent(self.models.history.total, self.under_way, now)
        if spent and self.learns:
            return self._hold(spent, now)
        # One permit each 1/pace seconds. Who comes late may make up for a little of it; more would
        # be a burst, which no bucket that is nearly empty forgives.
        wait = max(self.next_at - now, self._full_for(now))
        if wait > NO_TIME:
            return wait
        pace = self._pace(now) if self.trial is None else min(self.speed, _TRIAL_PACE)
        late = _CATCH_UP if self.learns else max(_CATCH_UP_FIXED - 1.0 / pace, 0.0)
        self.next_at = max(self.next_at, now - late) + 1.0 / pace
        self.under_way += 1
        return 0.0

    def _hold(self, spent: str, now: float) -> float:
        """Nothing is left as a header says: have one request look whether that is so."""
        quota = self.models.told.quotas[spent]
        self.block = Block(began=now, last_refused=now, watched_from=now, quota=spent)
        self.block.hinted = quota.reset_at
        sure = quota.standing >= PROVEN and quota.reset_at is not None
        self.block.canary_at = (quota.reset_at or now) if sure else now
        return self.block.ask(now)

    @property
    def pace(self) -> float | None:
        """Requests a second, while nothing is blocked; None for as many as there are."""
        return self.speed if self.learns or self.ceiling is not None else None

    @property
    def speed(self) -> float:
        """Requests a second, while nothing is blocked, as a number."""
        return min(self.rate, self.ceiling) if self.ceiling is not None else self.rate

    def _pace(self, now: float) -> float:
        """Return the pace of the next request: a job that fits into what is left goes at once."""
        if self.phase is not Phase.CRUISE or self.left is None or not self.proven:
            return self.speed
        if self.left > _FITS * self.models.room(now, self.under_way):
            return self.speed
        fast = max(self.proven, self.rate)
        return min(fast, self.ceiling) if self.ceiling is not None else fast

    def blocked_for(self, now: float) -> float:
        """Return the seconds until the next try after a refusal, 0.0 when nothing is blocked."""
        return max(0.0, self.block.canary_at - now) if self.block else 0.0

    def hopeless_for(self, now: float) -> float | None:
        """Return the seconds until the next try when that is more than most runs would wait for.

        That is when the server asked for more than 15 minutes and was asked again meanwhile, or
        refused everything for so long.
        """
        block = self.block
        if block is None or not block.tries:
            return None
        lasts = now - block.watched_from
        told = (block.hinted or 0.0) - now
        wait = max(0.0, block.canary_at - now)
        if told > PATIENCE and lasts > 30.0:
            return told
        return wait if wait > PATIENCE or lasts > PATIENCE else None

    def waiting_for(self, now: float) -> Wait | None:
        """Say what is being waited for, None when nothing is."""
        if self.block is None:
            return None
        return Wait(self.block.said or _SPENT, self.blocked_for(now))

    def answered(
        self, signal: Signal, *, sent_at: float, now: float, canary: bool | None = None
    ) -> None:
        """Learn from an answer; `canary` None: tell by the time at which it was sent."""
        # Where slots are leased, the process that reports knows whether its slot was the canary's.
        if canary is None:
            canary = self.block is not None and self.block.is_canary(sent_at)
        self.under_way = max(0, self.under_way - 1)
        if signal.outcome is Outcome.ACCEPTED:
            self._accepted(sent_at, now, canary=canary)
            self._look_at_trial(now, refused=False)
        elif signal.outcome is Outcome.REFUSED:
            self.refused += 1
            self._refused(signal, sent_at, now, canary=canary)
        else:
            # Nobody knows whether it was counted; its permit is given back, so that what is
            # accepted is what is paced. Not all of them: else an outage would be hammered.
            if self.given_back < self.models.history.total:
                self.given_back = max(self.given_back + 1, self.models.history.total - 3)
                self.next_at -= 1.0 / self.speed
            if self.block is not None and canary:
                self.block.canary_sent = None  # lost: the next one may go at once
        self.models.told.heard(signal.hints, now, self.models.history.total)

    def interrupted(self, now: float) -> None:
        """Note that nobody wanted to send for a while: what goes on since then proves nothing."""
        if self.began is None:
            return
        self.under_way = 0
        if self.block is not None:
            self.block.watched_from = now  # patience begins anew
            return
        if self.phase is Phase.MEASURE:
            self.models.flow.restart(rate=self.models.flow.rate)
        if self.phase in (Phase.PROBE, Phase.CLIMB):
            self._cruise(now)
        self._go(self.phase, self.rate, now)

    # Pacing.

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed = now - self.since
        if not self.learns:
            return
        if self.phase is Phase.START:
            if elapsed >= 1.0:
                self._start_on(elapsed, now)
            if self.rate == self.ceiling:
                self._watch(self.rate)
        elif self.phase is Phase.MEASURE:
            if elapsed > _UP_AFTER and self._used(elapsed):
                self._go(Phase.MEASURE, self.rate * _UP, now)
        elif self.phase is Phase.CRUISE:
            self._watch((self.models.rate() or self.rate) * CRUISE)
            if elapsed > self.rest:
                self._probe(now)
        elif self.phase is Phase.PROBE:
            self._look_at_probe(elapsed, now)
        elif elapsed > self._step_seconds() and self._used(elapsed):
            self._climb(now)

    def _used(self, elapsed: float, share: float = 0.7) -> bool:
        """Say whether enough of the pace was made use of; what is under way doesn't count yet."""
        accepted = self.models.history.total - self.since_count
        return accepted >= share * self.speed * (elapsed - 2.0 * self.round_trip)

    def _start_on(self, elapsed: float, now: float) -> None:
        accepted = self.models.history.total - self.since_count
        if self._used(elapsed, _USED):
            self.proven = max(self.proven, accepted / elapsed)
            # The next second may have begun a little before somebody asked.
            began = max(self.since + 1.0, now - 0.5)
            self._go(Phase.START, min(self.rate * STEP_UP, _FASTEST), began)

    def _is_noise(self) -> bool:
        """Say whether no more was refused in this phase than by chance."""
        accepted = self.models.history.total - self.since_count
        return self._hits() <= 1 + 3.0 * self.noise * accepted

    def _hits(self) -> int:
        return self.refused - self.since_refused

    def _measure(self, flow: Flow, now: float) -> None:
        """Send a little faster than the rough rate, so that the limit is met again."""
        lift = min(max(max(flow.count, 1) ** -0.5, _LEAST_LIFT), _LIFT)
        self._go(Phase.MEASURE, max(flow.rate or 0.5, 0.001) * (1.0 + lift), now)

    def _cruise(self, now: float, last: float | None = None) -> None:
        """Go on just below the limit; after a probe the rest grows with what the probe cost."""
        rate, best = self.models.rate() or self.rate, self.models.best()
        length = best.length if isinstance(best, Window) else None
        longest = 1.5 * max(length or 0.0, _REST / 1.5)
        if self.models.quiet is not None:
            longest = max(longest, 50.0 * self.models.quiet)
        if last is None:
            settled = best is not None and best.standing >= PROVEN
            self.rest = longest if length and settled else (0.5 * length if length else _SOON)
            if self.models.quiet is not None:
                self.rest = longest
        else:
            cost = min(max(self._hits(), 1), _DEAREST) / _COST / rate
            self.rest = max(cost, longest if length else min(2.0 * last, longest))
        self._go(Phase.CRUISE, rate * CRUISE * self.margin, now)

    def _probe(self, now: float) -> None:
        """Try whether there is more, if more could be used."""
        rate, best = self.models.rate() or self.rate, self.models.best()
        if self.ceiling is not None and rate >= self.ceiling:
            self.since = now
            return
        step = rate * _PROBE
        if isinstance(best, Flow):
            self.slack = best.saved(now, self.models.history.total)
            step = min(max(step, (self.slack + MARGIN) / _SOON), rate * _LARGEST_PROBE)
        elif best is not None and best.length:
            step = max(step, (MARGIN + 1.0) / best.length)
        self._go(Phase.PROBE, rate + step, now)

    def _look_at_probe(self, elapsed: float, now: float) -> None:
        """Climb when the server gives more than is explained; give up after a while."""
        best, rate = self.models.best(), self.models.rate() or self.rate
        accepted = self.models.history.total - self.since_count
        lasts = 2.0 * _SOON
        if isinstance(best, Window) and best.length is not None:
            # While it isn't clear when windows begin, only a whole one at this pace proves it.
            is_clear = best.standing > PROVEN
            lasts = (_WHOLE if is_clear else 2.0) * best.length
            more = is_clear and self.models.excess(now)
            more |= (
                elapsed > lasts
                and self._is_noise()
                and accepted > (1.0 + _PROBE / 2) * rate * elapsed
            )
        else:
            more = accepted - rate * elapsed > self.slack + MARGIN
        if not more:
            if elapsed > lasts:
                self._cruise(now, self.rest)
        elif self.rate == self.ceiling and isinstance(best, Flow):
            best.restart(rate=self.rate)
            self._cruise(now)
        else:
            # Small steps at first, because the new limit is most likely near.
            self.up = 1.0
            self._climb(now)

    def _climb(self, now: float) -> None:
        """Take a step up, each twice as high as the last one."""
        self.sustained = self.speed
        self.up = min(1.0 + max(2.0 * (self.up - 1.0), _FIRST_UP), _UP)
        self._go(Phase.CLIMB, self.rate * self.up, now)

    def _step_seconds(self) -> float:
        best = self.models.best()
        length = best.length if isinstance(best, Window) else None
        return max(length / _UP_WINDOWS, 1.0) if length else _UP_AFTER

    def _watch(self, rate: float) -> None:
        """Go slower while that makes refusals fewer, whatever it is that they come from."""
        accepted = self.models.history.total - self.watch[0]
        refused = self.refused - self.watch[1]
        if accepted < _WATCHED or (refused < _TELLING and accepted < 5 * _WATCHED):
            return
        share = refused / (accepted + refused)
        before, self.share_before = self.share_before, None
        if before is not None and share > 0.6 * before:
            self.noise, self.margin = max(share, before), min(1.0, self.margin / _LOWER)  # no help
        elif share > max(_TOO_MANY, 1.5 * self.noise) and self.margin > _LOWEST:
            self.share_before, self.margin = share, self.margin * _LOWER
        elif share < max(_FEW, self.noise):
            self.margin = min(1.0, self.margin * _HIGHER)
        self.watch = (self.models.history.total, self.refused)
        self.rate = rate * self.margin

    def _full_for(self, now: float) -> float:
        if self.phase is not Phase.CRUISE or not self.learns:
            return 0.0
        return self.models.full_for(now, 0)

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

    def _refused(self, signal: Signal, sent_at: float, now: float, *, canary: bool) -> None:
        block = self.block
        if block is None:
            # Refusals of requests that left before the last block ended are that block's.
            if sent_at < self.ignore_before:
                return
            self._look_at_trial(now, refused=True)
            if self._may_be_chance(sent_at):
                return
            gap = 0.1
            if self.phase is not Phase.START:
                gap = min(max(1.0 / self.speed, 0.02), 1.0)
            block = self.block = Block(
                began=sent_at, last_refused=sent_at, watched_from=sent_at, first_gap=gap
            )
        elif canary:
            self.models.told.judge_quota(block.quota, right=True)
            block.was_refused(sent_at)
        else:
            block.also_refused += 1
            return
        block.said, hints = signal.said, signal.hints
        guesses = self.models.guesses(block, hints, now)
        block.plan(now, guesses, told=is_told(guesses))
        told = self.models.told.times(hints, now)
        block.hinted = max(told.values(), default=None)

    def _may_be_chance(self, sent_at: float) -> bool:
        """Say whether a refusal stops nobody: others before it meant nothing, and it is alone."""
        count = self.models.history.total
        if self.chance < _CHANCE or self.trial is not None:
            return False
        if self.phase in (Phase.PROBE, Phase.CLIMB) and not self._is_noise():
            return False
        last, self.doubt = self.doubt, count
        if last is not None and count - last <= _AGAIN:
            return False
        self.strays = [*self.strays[1 - _HITS :], (sent_at, count)]
        return len(self.strays) < _HITS or count - self.strays[0][1] > _HITS_IN

    def _unblock(self, block: Block, sent_at: float, now: float) -> None:
        """The canary was accepted: go on with what that says of the limit."""
        self.block = None
        self.ignore_before = now  # until here nobody knew that sending goes on
        self.next_at = sent_at + 1.0 / self.speed
        if block.quota and not block.tries and not block.also_refused:
            # Nothing was refused, so this teaches only how far to believe the header.
            early = block.hinted is None or sent_at < block.hinted - 1.0
            self.models.told.judge_quota(block.quota, right=not early)
            return
        if not self.learns:
            return
        is_long = sent_at - block.began > self._long()
        if is_long:
            # A window that was reset has room for more than one: that is looked at first.
            self.trial, self.trial_from = block, sent_at
            self.trial_count = self.models.history.total
            self.next_at = sent_at + 1.0 / min(self.speed, _TRIAL_PACE)
            self.models.keep()
        elif self._is_stray(block):
            return
        self._learn(block, sent_at, now, is_long=is_long)

    def _look_at_trial(self, now: float, *, refused: bool) -> None:
        """See whether a long block's end was a window's, or let only a few through."""
        block = self.trial
        if block is None:
            return
        if refused:
            self.trial, self.strays, self.chance = None, [], 0
            self.models.undo()
            self._learn(block, self.trial_from, now, is_long=False)
        elif self.models.history.total - self.trial_count > _TRIAL:
            self.trial = None
            self.models.kept = None

    def _learn(self, block: Block, sent_at: float, now: float, *, is_long: bool) -> None:
        is_full = isinstance(self.models.best(), Window) and self.models.explains(block)
        self.models.unblocked(block, sent_at, is_long=is_long, rate=self.speed)
        is_alone = not block.tries and not is_long and not is_full
        if self.phase in (Phase.PROBE, Phase.CLIMB) and is_alone and self._is_noise():
            return
        self._settle(is_long, block, now)

    def _is_stray(self, block: Block) -> bool:
        """Say whether a short block is no news as yet; several of them soon after another are."""
        count = self.models.history.total - block.accepted_after
        steady = self.phase is Phase.CRUISE and isinstance(self.models.best(), Flow)
        if self.phase is not Phase.START and not steady and self.models.explains(block):
            self.chance = max(self.chance - 1, 0)
            return False
        if block.tries < 2:
            self.strays = [*self.strays[1 - _HITS :], (block.began, count)]
            first_at, first = self.strays[0]
            if len(self.strays) < _HITS or count - first > _HITS_IN:
                self.chance = min(self.chance + 1, _MOST_CHANCE)
                return True
            self.models.flow.restart(first_at, first, self.models.flow.rate)
        self.strays, self.chance = [], 0
        return False

    def _settle(self, is_long: bool, block: Block, now: float) -> None:
        models = self.models
        if self.phase is Phase.CLIMB and isinstance(models.best(), Flow) and not is_long:
            models.flow.restart(block.began, models.history.total, self.sustained)
        best = models.best()
        if isinstance(best, Flow) and models.quiet is None and not best.is_settled:
            if self.phase is Phase.CRUISE and best.assumed is not None and best.count < 20:
                self._cruise(now)
            else:
                self._measure(best, now)
        elif self.phase is Phase.CRUISE and not is_long:
            self.rate = (models.rate() or self.rate) * CRUISE * self.margin
        else:
            self._cruise(now, self.rest if self.phase is Phase.PROBE else None)
        self.next_at = max(self.next_at, now)

    def _long(self) -> float:
        """Return how long a block must last to be a window's: no bucket takes so long to refill."""
        rate = self.models.flow.rate or self.speed
        return 3.0 / rate + 2.0 * self.round_trip + _LEAST_LONG

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self.since, self.since_count = phase, now, self.models.history.total
        self.since_refused = self.refused
        self.rate = rate if self.ceiling is None else min(rate, self.ceiling)
        if phase is not Phase.CRUISE:
            self.share_before = None
        self.watch = (self.models.history.total, self.refused)
