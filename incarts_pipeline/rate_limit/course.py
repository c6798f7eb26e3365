"""Course: the pace from one moment to the next; how a limit is looked for, ridden and probed. Pure.

Times in seconds, rates in requests a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from incarts_pipeline.rate_limit.ban import Ban, LongBlocks
from incarts_pipeline.rate_limit.block import Block
from incarts_pipeline.rate_limit.cap import Cap, Flights
from incarts_pipeline.rate_limit.chance import Chance
from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import NEVER, Learned, LimitKind, Phase
from incarts_pipeline.rate_limit.meter import Meter
from incarts_pipeline.rate_limit.share import Breaks, Share
from incarts_pipeline.rate_limit.told import Told
from incarts_pipeline.rate_limit.window import MISCOUNT, SURE

FIRST, STEP_UP = 10.0, 2.0  # requests a second, and times the pace, each second of the start
CRUISE = 0.997  # of the rate
_FITS = 0.97  # of what is left of a window: a job of no more goes at once
_FASTEST, _UNPACED = 2.0**20, 1e12  # requests a second
_STEP, _LARGEST = 0.05, 0.25  # of the pace, by which more is tried: at first, and at most
_STEP_WINDOW = 0.03  # the same, of a window's
_UP_AFTER = 3.0  # seconds of a step up
_FEW_GIVEN, _FEW_COUNTED = 40.0, 10  # acknowledgements of which a rate is no more than a guess
_AVERAGED, _LEAST_AVERAGED = 180.0, 60.0  # seconds of which an average is taken
_WELL = 400.0  # acknowledgements that a rate counts for which was kept for long
_LEAST_SENT = 20.0  # requests of a step up
_GUESSED, _MEASURED = 10.0, 30.0  # seconds that it takes at most, of a guess, and otherwise
_SOON = 15.0  # seconds in which a probe is to tell
_COST = 0.002  # share of requests that probing may have refused
_REST, _MOST_REST = 90.0, 20.0  # seconds, or a window; times that, at most


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
    history: History = field(default_factory=History)
    meter: Meter = field(default_factory=Meter)
    cap: Cap = field(default_factory=Cap)
    told: Told = field(default_factory=Told)
    ban: Ban | None = None
    long_blocks: LongBlocks = field(default_factory=LongBlocks)
    chance: Chance = field(default_factory=Chance)
    breaks: Breaks = field(default_factory=Breaks)
    share: Share | None = None
    slack: float = 0.0  # requests above the estimate that prove nothing in this probe
    hold: float = 0.0  # seconds until more is tried while measuring
    raise_by: float = 1.0 + _LARGEST  # times the pace, each time
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
            self.proven = self.known.burst or 0.0
            if self.known.kind is LimitKind.IN_FLIGHT:
                self.cap.begin(self.known.budget or 1, 0.0)
                self.rate = max(self.known.rate, FIRST)
            else:
                self.meter.flow.assumed = self.known.rate
                if self.known.window is None:
                    self.meter.flow.burst = float(self.known.budget or 0)
                else:
                    self.meter.window.begin(self.known.window, self.known.budget or 1)
                    self.meter.by_window = self.meter.was_long = True
                if self.known.kind is LimitKind.SEVERAL:
                    self.share = Share(self.known.rate)
                self._cruise(0.0)

    @property
    def learned(self) -> Learned | None:
        """What a later controller may begin with: the limit, or what was below it."""
        most = self.cap.most
        if most is not None:
            # A machine that is busy makes less of a cap than it allows: what was reached counts.
            rate = most / max(self.round_trip, 1e-3)
            rate = min(rate, self.proven or rate)
            return Learned(kind=LimitKind.IN_FLIGHT, rate=rate, budget=most)
        if self.phase is Phase.START:
            return Learned(kind=LimitKind.OPEN, rate=self.proven) if self.proven else None
        meter, burst = self.meter, self.proven or None
        if self.share is not None:
            return Learned(kind=LimitKind.SEVERAL, rate=self.share.pace)
        if meter.rate is None:
            return self.known
        if meter.length is None or meter.window.rate is None:
            held = int(meter.flow.burst) or None
            return Learned(kind=LimitKind.BUCKET, rate=meter.rate, budget=held, burst=burst)
        return Learned(
            kind=LimitKind.WINDOW,
            rate=meter.rate,
            budget=meter.window.budget,
            window=meter.length,
            burst=burst,
        )

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
        if self.phase is not Phase.CRUISE or self.share is not None or not self.proven:
            return self.speed
        if self.left is None:
            return self.speed
        if self.left > _FITS * (self.meter.room(self.history, now) - self.under_way):
            return self.speed
        fast = max(self.proven, self.rate)
        return min(fast, self.ceiling) if self.ceiling is not None else fast

    def _keep_time(self, now: float) -> None:
        """Change pace or phase when their time has come."""
        elapsed = now - self.since
        if not self.learns:
            return
        if self.share is not None:
            if self.share.is_single:
                self._measure_anew(now)
            return
        if self.phase is Phase.START:
            if elapsed >= 1.0:
                self._start_on(elapsed, now)
        elif self.phase is Phase.MEASURE:
            if elapsed > self.hold and self._used(elapsed):
                self._go(Phase.MEASURE, self.rate * self.raise_by, now)
        elif self.phase is Phase.CRUISE:
            if elapsed > self.rest:
                self._probe(now)
        else:
            self._look_at_probe(elapsed, now)

    def _used(self, elapsed: float, share: float = 0.7) -> bool:
        """Say whether enough of the pace was made use of; what is under way doesn't count yet."""
        accepted = self.history.total - self.since_count
        return accepted >= share * self.speed * (elapsed - 2.0 * self.round_trip)

    def _start_on(self, elapsed: float, now: float) -> None:
        accepted = self.history.total - self.since_count
        self.proven = max(self.proven, accepted / elapsed)
        if self._used(elapsed):
            # The next second may have begun a little before somebody asked.
            began = max(self.since + 1.0, now - 0.5)
            self._go(Phase.START, min(self.rate * STEP_UP, _FASTEST), began)

    def _is_noise(self) -> bool:
        """Say whether no more was refused in this phase than by chance."""
        accepted = self.history.total - self.since_count
        usual = 0.0 if self.meter.window.longest else self.chance.usual
        return self._hits() <= 1 + 3.0 * usual * accepted

    def _hits(self) -> int:
        return self.refused - self.since_refused

    def _measure(self, rate: float, known: float, now: float, window: float) -> None:
        """Send a little faster than a rough rate, so that the limit is met again.

        `known` is how many acknowledgements the rate stands on, `window` the length of the one that
        is measured, in seconds, 0 for none.
        """
        lift = min(max(max(known, 1.0) ** -0.5, _STEP), _LARGEST)
        # What is no more than a guess is doubled, as long as nothing is refused.
        is_guess = known < _FEW_GIVEN if window else self.meter.flow.count < _FEW_COUNTED
        hold = min(_LEAST_SENT / rate, _GUESSED if is_guess else _MEASURED)
        if window:
            hold = 0.0 if is_guess else window / 4.0
        self.hold, self.raise_by = max(hold, _UP_AFTER), 2.0 if is_guess else 1.0 + _LARGEST
        self._go(Phase.MEASURE, max(rate, 0.001) * (1.0 + lift), now)

    def _average(self, now: float) -> float:
        """Return what was accepted a second, all waits included."""
        since = max(self.history.first or 0.0, now - _AVERAGED)
        return self.history.since(since) / max(now - since, _LEAST_AVERAGED)

    def _measure_anew(self, now: float) -> None:
        """Let models try again: the rate is known well, and how it is limited isn't."""
        self.share, self.breaks = None, Breaks()
        self.chance.is_a_limit()
        rate = self._average(now)
        self.meter.begin(rate)
        self._measure(rate, _WELL, now, 0.0)

    def _cruise(self, now: float, *, probed: bool = False) -> None:
        """Go on just below the limit; after a probe the rest grows with what the probe cost."""
        self.meter.window.is_eased = True
        rate = self.meter.rate or self.rate
        length = self.meter.length
        longest = length or _REST
        if self.ban is not None:
            self.rest = self.ban.rest
        elif not probed:
            settled = self.meter.window.standing >= SURE and self.meter.was_long
            self.rest = longest if length and settled else (0.5 * length if length else _SOON)
        else:
            cost = max(self._hits(), 1) / _COST / rate
            self.rest = min(max(cost, longest), _MOST_REST * longest)
        self._go(Phase.CRUISE, rate * CRUISE, now)

    def _probe(self, now: float) -> None:
        """Try whether there is more, if more could be used."""
        rate = self.meter.rate or self.rate
        if self.ceiling is not None and rate >= self.ceiling:
            self.since = now
            return
        if self.ban is not None:
            if not self._hits() and self._used(now - self.since):
                self._ride(self.ban.survived(rate))
            self._cruise(now)
            return
        step, length = rate * _STEP, self.meter.length
        if length:
            step = max(rate * _STEP_WINDOW, (MISCOUNT + 1.0) / length)
        else:
            # What it can have in hand was measured roughly, so more than that proves nothing.
            unused = self.meter.flow.unused(now, self.history.total)
            self.slack = max(0.0, min(unused, max(self.meter.flow.burst, step * _SOON)))
            step = min(max(step, (self.slack + MISCOUNT) / _SOON), rate * _LARGEST)
        self._go(Phase.PROBE, rate + step, now)

    def _look_at_probe(self, elapsed: float, now: float) -> None:
        """Climb when the server gives more than is explained; give up after a while."""
        meter, rate = self.meter, self.meter.rate or self.rate
        accepted = self.history.total - self.since_count
        length = meter.length
        lasts = 2.0 * (length or _SOON)
        if length:
            # While it isn't clear when windows begin, only a whole one at this pace proves it.
            more = elapsed > lasts and self._is_noise() and self._used(elapsed, 0.97)
            more |= meter.window.is_exceeded(self.history, now)
        else:
            more = accepted - rate * elapsed > self.slack + MISCOUNT
        if more:
            if self.rate == self.ceiling and not meter.by_window:
                meter.begin(self.rate)
                self._cruise(now)
            else:
                if length:
                    meter.window.let_through(self.rate)
                self._climb(now)
            return
        if elapsed <= lasts:
            return
        if meter.by_window or self._hits() or not self._used(elapsed):
            self._cruise(now, probed=True)
        else:
            # It met nothing: then it goes on until it tells.
            self.slack -= accepted - rate * elapsed
            self._go(Phase.PROBE, self.rate * (1.0 + _LARGEST), now)

    def _climb(self, now: float) -> None:
        """Look for a limit that is higher than what is believed, in small steps at first."""
        self.hold = max((self.meter.length or 0.0) / 10.0, _UP_AFTER)
        self.raise_by = 1.0 + _LARGEST
        self.meter.begin(self.speed)
        self.meter.window.standing = 0.0  # so much can't be explained
        self._go(Phase.MEASURE, self.rate * (1.0 + _STEP), now)

    def _ride(self, rate: float) -> None:
        """Go on at a rate that follows from bans; one that is doubted is believed no more."""
        self.meter.begin(rate)
        if self.ban is not None and self.ban.is_doubted:
            self.ban = None

    def _go(self, phase: Phase, rate: float, now: float) -> None:
        self.phase, self.since, self.since_count = phase, now, self.history.total
        self.since_refused = self.refused
        self.rate = rate if self.ceiling is None else min(rate, self.ceiling)
