"""Course: the pace from one moment to the next; how a limit is looked for, ridden and probed. Pure.

Times in seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.block import Block
from incarts_pipeline.rate_limit.cap import Flights
from incarts_pipeline.rate_limit.chance import Chance
from incarts_pipeline.rate_limit.flow import Flow
from incarts_pipeline.rate_limit.limit import NEVER, Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.models import MARGIN, Models
from incarts_pipeline.rate_limit.standing import PROVEN
from incarts_pipeline.rate_limit.windows import Window

FIRST, STEP_UP = 10.0, 2.0  # requests a second, and times the pace, each second of the start
CRUISE = 0.997  # of the rate
_FITS = 0.97  # of what is left of a window: a job of no more goes at once
_FASTEST, _UNPACED = 2.0**20, 1e12  # requests a second
_USED = 0.4  # of a pace that must have been made use of before it is raised
_STEP, _LARGEST = 0.05, 0.25  # of the pace, by which more is tried: at first, and at most
_UP_AFTER = 3.0  # seconds of a step up
_SOON = 15.0  # seconds in which a probe is to tell
_COST = 0.002  # share of requests that probing may have refused
_REST, _LONGEST_REST = 90.0, 14_400.0  # seconds; or 1.5 windows
_SLOW, _DOUBTED = 0.1, 8  # requests a second; so many accepted ones in a row speak against it
_AVERAGED, _TELLING, _LIKELY = 180.0, 60.0, 2.5  # seconds, at least so many; times the average
_FEW_ACCEPTED = 60  # requests in that time, of which an average says nothing
LONG_WAIT = 65.0  # seconds blocked, after which it begins anew
_DEAREST = 3  # refusals that a probe counts for


@dataclass(slots=True)
class Course:
    """All of a controller's state, and the pace that follows from it."""

    ceiling: float | None
    known: Learned | None = None  # what it began with
    learns: bool = True
    left: int | None = None  # requests that are still to be sent, None when nobody knows
    phase: Phase = Phase.START
    rate: float = FIRST
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
    flights: Flights = field(default_factory=Flights)  # of a sender that shares no rate
    models: Models = field(default_factory=Models)
    trial: Block | None = None  # a long block that ended just now
    trial_from: float = 0.0  # when
    trial_count: int = 0  # accepted until then
    trial_refused: int = 0  # since
    chance: Chance = field(default_factory=Chance)
    steady_from: float = 0.0  # since when it was sent without a long wait
    slack: float = 0.0  # requests above the estimate that prove nothing in this probe
    rest: float = 0.0  # seconds until the next probe
    given_back: int = 0  # permits of requests of which nobody knows; no more than were accepted
    proven: float = 0.0  # requests a second that were accepted in the start

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
            if self.models.cap.most is None:
                self._cruise(0.0)
            else:
                self.rate = max(self.known.rate, FIRST)

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

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed = now - self.since
        if not self.learns:
            return
        if self.phase is Phase.START:
            if elapsed >= 1.0:
                self._start_on(elapsed, now)
            if self.rate == self.ceiling and self.models.cap.most is None:
                self._watch(self.rate)
        elif self.phase is Phase.MEASURE:
            if elapsed > _UP_AFTER and self._used(elapsed):
                self._rise(_LARGEST, now)
        elif self.phase is Phase.CRUISE:
            self._watch((self.models.rate() or self.rate) * CRUISE)
            if elapsed > self.rest:
                self._probe(now)
            elif self._is_guess():
                self._climb(now)
        else:
            self._look_at_probe(elapsed, now)

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

    def _is_guess(self) -> bool:
        """Say whether a pace is so slow that no probe would end, and only a few answers say why.

        Requests that came minutes apart teach such a pace, whatever the limit is.
        """
        best = self.models.best()
        if self.rate >= _SLOW or self._hits() or (best is not None and best.standing >= PROVEN):
            return False
        return self.models.history.total - self.since_count >= _DOUBTED

    def _is_noise(self) -> bool:
        """Say whether no more was refused in this phase than by chance."""
        accepted = self.models.history.total - self.since_count
        # Where no window was ever met, what comes alone is chance; else it may be one of several
        # servers that is full.
        met = any(one.rate is not None for one in self.models.windows)
        usual = 0.0 if met else self.chance.usual
        return self._hits() <= 1 + 3.0 * max(self.chance.noise, usual) * accepted

    def _hits(self) -> int:
        return self.refused - self.since_refused

    def _measure(self, flow: Flow, now: float) -> None:
        """Send a little faster than the rough rate, so that the limit is met again."""
        lift = min(max(max(flow.count, 1) ** -0.5, _STEP), _LARGEST)
        self.chance.margin = 1.0  # of the rate before
        rate = self._credible(flow.rate or 0.5, now)
        self._go(Phase.MEASURE, max(rate, 0.001) * (1.0 + lift), now)

    def _cruise(self, now: float, last: float | None = None) -> None:
        """Go on just below the limit; after a probe the rest grows with what the probe cost."""
        rate, best = self.models.rate() or self.rate, self.models.pacing()
        length = best.length if isinstance(best, Window) else None
        longest = 1.5 * max(length or 0.0, _REST / 1.5)
        if self.models.ban is not None:
            self.rest = self.models.ban.rest
        elif last is None:
            settled = best is not None and best.standing >= PROVEN
            self.rest = longest if length and settled else (0.5 * length if length else _SOON)
        else:
            cost = min(max(self._hits(), 1), _DEAREST) / _COST / rate
            self.rest = max(cost, longest) if length else max(2.0 * cost, min(2.0 * last, longest))
            self.rest = min(self.rest, max(longest, _LONGEST_REST))
        if self.models.ban is None:
            rate = self._credible(rate, now)
        self._go(Phase.CRUISE, rate * CRUISE * self.chance.margin, now)

    def _ridden(self) -> float:
        """Return the rate that is ridden: what is believed, less what made refusals fewer."""
        rate = self.models.rate() or self.rate
        return rate * self.chance.margin if self.models.mixed else rate

    def _probe(self, now: float) -> None:
        """Try whether there is more, if more could be used."""
        rate, best = self._ridden(), self.models.pacing()
        if self.ceiling is not None and rate >= self.ceiling:
            self.since = now
            return
        if self.models.ban is not None:
            if not self._hits() and self._used(now - self.since):
                self.models.ride(self.models.ban.survived(rate))
            self._cruise(now)
            return
        step = rate * _STEP
        if isinstance(best, Flow):
            # What it can have in hand was measured roughly, so more than that proves nothing.
            unused = best.unused(now, self.models.history.total)
            self.slack = max(0.0, min(unused, max(best.burst, step * _SOON)))
            step = min(max(step, (self.slack + MARGIN) / _SOON), rate * _LARGEST)
        elif best is not None and best.length:
            step = max(step, (MARGIN + 1.0) / best.length)
        self._go(Phase.PROBE, rate + step, now)

    def _look_at_probe(self, elapsed: float, now: float) -> None:
        """Climb when the server gives more than is explained; give up after a while."""
        best, rate = self.models.pacing(), self._ridden()
        accepted = self.models.history.total - self.since_count
        lasts = 2.0 * _SOON
        if isinstance(best, Window) and best.length is not None:
            # While it isn't clear when windows begin, only a whole one at this pace proves it.
            is_clear = best.standing > PROVEN
            lasts = 2.0 * best.length
            more = is_clear and self.models.excess(now)
            more |= (
                elapsed > lasts
                and self._is_noise()
                and accepted > (1.0 + _STEP / 2) * rate * elapsed
            )
        else:
            more = accepted - rate * elapsed > self.slack + MARGIN
        if not more:
            is_clean = isinstance(best, Flow) and not self._hits() and self._used(elapsed)
            if elapsed > lasts and is_clean:
                # It met nothing: then it goes on until it tells.
                self.slack -= accepted - rate * elapsed
                self._go(Phase.PROBE, self.rate * (1.0 + _LARGEST), now)
            elif elapsed > lasts:
                self._cruise(now, self.rest)
        elif self.rate == self.ceiling and isinstance(best, Flow):
            best.restart(rate=self.rate)
            self._cruise(now)
        else:
            self._climb(now)

    def _climb(self, now: float) -> None:
        """Look for a limit that is higher than what is believed, in small steps at first."""
        if isinstance(self.models.pacing(), Flow):
            self.models.flow.restart(rate=self.speed)
        self._rise(_STEP, now)

    def _rise(self, step: float, now: float) -> None:
        """Go faster; a second limit is looked for below the first one, once that is measured."""
        rate, inner = self.rate * (1.0 + step), self.models.inner()
        if inner is not None:
            rate = max(min(rate, inner * CRUISE), self.rate)
        self._go(Phase.MEASURE, self._credible(rate, now), now)

    def _credible(self, rate: float, now: float) -> float:
        """Return a rate, or what is closest to it of what the last minutes make likely."""
        since, best = max(self.steady_from, now - _AVERAGED), self.models.best()
        is_proven = isinstance(best, Window) and best.standing >= PROVEN
        accepted = self.models.history.since(since)
        if is_proven or now - since < _TELLING or accepted < _FEW_ACCEPTED:
            return rate
        average = accepted / (now - since)
        return max(min(rate, _LIKELY * average), average / _LIKELY)

    def _watch(self, rate: float) -> None:
        """Go slower while that makes refusals fewer, whatever it is that they come from."""
        if self.chance.watch(self.models.history.total, self.refused):
            self.rate = rate * self.chance.margin

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self.since, self.since_count = phase, now, self.models.history.total
        self.since_refused = self.refused
        self.rate = rate if self.ceiling is None else min(rate, self.ceiling)
        self.chance.watch_from(
            self.models.history.total, self.refused, cruises=phase is Phase.CRUISE
        )
