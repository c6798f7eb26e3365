"""Worker: a process that shares a rate sends at leased times, and collects what it hears. Pure.

Nothing leaves without a slot: when whoever leases them is slow or gone, sending pauses.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from incarts_pipeline.rate_limit.block import LEASE as CANARY_LEASE
from incarts_pipeline.rate_limit.cap import Flights
from incarts_pipeline.rate_limit.leases import HORIZON, Heard, Lease, Report
from incarts_pipeline.rate_limit.limit import NEVER, Learned, Wait
from incarts_pipeline.rate_limit.signals import Outcome, Signal

_LATE, _LATE_CAPPED = 0.1, 0.5  # seconds after which a slot is let go of; a cap forbids bursts
_WAIT = 0.005  # seconds between looks while slots are on their way
_SPACING = 0.04  # seconds between two exchanges that aren't urgent
_TELL = 0.1  # seconds after which what was heard is told
_FEWEST, _MOST = 4, 512  # slots wanted at once


class Slots:
    """The leased slots of one worker; times are seconds on the clock that all workers share."""

    def __init__(self, worker: str, ceiling: float | None, learned: Learned | None) -> None:
        self.learned = learned
        self.left: int | None = None  # requests that are still to be sent
        self._worker, self._ceiling = worker, ceiling
        self._slots: deque[float] = deque()
        self._leased = 0
        self._heard: list[Heard] = []
        self._urgent = False
        self._hungry = False  # somebody asked, and there was no slot
        self._used: deque[float] = deque(maxlen=_MOST)
        self._canary_from: float | None = None  # when the canary got its permit, while it is out
        self._canary_slot = False
        self._exchanged_at = NEVER
        self._wanted = False  # slots, in the last exchange
        self._ask_at = NEVER  # no sooner is there anything to be had
        self._lease: Lease | None = None
        self._flights = Flights()

    # What the sender asks.

    def ask(self, now: float) -> float:
        """Take a permit and return 0.0, or return the seconds to wait before asking again."""
        # A slot that nobody used in time is lost. Used late, with those that follow it, it would be
        # a burst that the pace is there to prevent. A canary's has none that follow.
        most = self._lease.most if self._lease else None
        late = _LATE if most is None else _LATE_CAPPED
        if self._canary_slot:
            late = CANARY_LEASE
        while self._slots and self._slots[0] < now - late:
            self._slots.popleft()
            self._canary_slot = False
        if not self._slots:
            self._hungry = True
            return max(_WAIT, min(self._ask_at - now, HORIZON))
        if self._slots[0] > now:
            return self._slots[0] - now
        if self._flights.is_full(most, now):
            return _WAIT
        self._slots.popleft()
        self._flights.leave(now)
        self._used.append(now)
        if self._canary_slot:
            self._canary_slot, self._canary_from = False, now
        return 0.0

    def answered(self, signal: Signal, *, sent_at: float, now: float) -> bool:
        """Remember an answer until it is told; say whether that may be due sooner now."""
        canary = self._canary_from is not None and sent_at >= self._canary_from
        most = self._lease.most if self._lease else None
        refused = signal.outcome is Outcome.REFUSED
        full = self._flights.arrive(now, refused=refused) >= (most or 0)
        self._heard.append(Heard(signal, sent_at, now, canary, full))
        if canary:
            self._canary_from = None
        # The slots in hand were leased before anybody knew of the limit: let go of at once, without
        # waiting for the next lease.
        stops = refused and not most
        if stops and not self._canary_slot:
            self._slots.clear()
        self._urgent |= canary or stops
        return self._urgent or len(self._heard) == 1

    @property
    def pace(self) -> float | None:
        """Requests a second that this worker may count on, None before the first lease."""
        return self._lease.pace if self._lease else None

    def hopeless_for(self, _now: float) -> float | None:
        """Return the seconds until the next try when waiting for it is no use in this run."""
        return self._lease.hopeless if self._lease else None

    def waiting_for(self, _now: float) -> Wait | None:
        """Say what is being waited for, None when nothing is."""
        return self._lease.waiting if self._lease else None

    # What the exchange asks.

    def due(self, now: float) -> float | None:
        """Return the seconds until an exchange is due, None when there is no need of one."""
        since = self._exchanged_at
        when = []
        if self._urgent:
            when.append(now)
        elif self._heard:
            when.append(since + _TELL)
        if self._hungry:
            when.append(max(self._ask_at, since + _WAIT))
        elif self._used and self._used[-1] > since and self.are_low:
            when.append(max(self._ask_at, since + _SPACING))
        return max(0.0, min(when) - now) if when else None

    @property
    def are_low(self) -> bool:
        """Whether more than half of the leased slots are gone."""
        return len(self._slots) < self._leased / 2

    def report(self, now: float, *, last: bool = False) -> Report:
        """Return what is to be told; it counts as told unless it is given back."""
        wants = 0
        if last:
            pass  # nobody will send any more
        elif self._hungry or (self._used and self._used[-1] > now - HORIZON):
            # As many as were used in the last horizon, and as many again in case it gets faster.
            recent = self._used_since(now - HORIZON)
            wants = min(max(_FEWEST, 2 * recent), _MOST) - len(self._slots)
        heard, self._heard = self._heard, []
        self._urgent = self._hungry = False
        self._exchanged_at = now
        if self._canary_slot or now < (self._canary_from or NEVER) + CANARY_LEASE:
            wants = 0  # this worker's canary is out
        self._wanted = wants > 0
        return Report(self._worker, self._ceiling, heard, max(0, wants), self.left)

    def _used_since(self, when: float) -> int:
        """Return how many permits were taken since; the newest stand last."""
        return sum(1 for _ in takewhile(lambda at: at > when, reversed(self._used)))

    def give_back(self, report: Report) -> None:
        """Keep what could not be told."""
        self._heard[:0] = report.heard

    def take(self, lease: Lease, now: float) -> None:
        """Take a lease's slots; a canary's stands alone."""
        self._lease = lease
        self.learned = lease.learned
        if self._wanted:
            self._ask_at = now + lease.wait
        if lease.canary or (lease.waiting and not self._canary_slot):
            self._slots.clear()
        self._canary_slot |= lease.canary
        self._slots.extend(lease.slots)
        self._leased = len(self._slots)
