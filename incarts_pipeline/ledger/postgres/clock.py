"""Clock of the database: the one by which all hosts of a ledger tell how old something is."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.clock import Clock, Stamp

_DRIFT = 5e-4  # of two clocks at most, the one of which is being set right by NTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How far the database's clock is before this machine's boot clock, in seconds.

    `error` is half of the round trip: when within it the database looked at its clock isn't known.
    """

    offset: float
    error: float
    at: float  # on the boot clock


class Offset:
    """The best that is known of the offset: a measure is less exact by what clocks drift since.

    One that can't be true beside the last says that the database's clock was set.
    """

    def __init__(self) -> None:
        self.measure: Measure | None = None

    def heard(self, asked_at: float, answered_at: float, database: float) -> None:
        """Take in that the database's clock said `database` between two readings of ours."""
        error = (answered_at - asked_at) / 2
        found = Measure(offset=database - asked_at - error, error=error, at=answered_at)
        old = self.measure
        if old is not None:
            old_error = old.error + _DRIFT * (found.at - old.at)
            if abs(found.offset - old.offset) <= error + old_error and old_error < error:
                return
        self.measure = found


class DatabaseClock(Clock):
    """A clock that says the database's time.

    Of `own` only the boot clock counts: this machine's wall clock may be wrong, or be set.
    """

    def __init__(self, own: Clock, offset: Offset) -> None:
        self._own, self._offset = own, offset
        self._latest = float("-inf")

    @property
    def _measure(self) -> Measure:
        found = self._offset.measure
        assert found is not None  # noqa: S101 - `PostgresStore.clock` measures first
        return found

    @property
    def error(self) -> float:
        """The seconds by which it may be wrong."""
        return self._measure.error

    def now(self) -> Stamp:
        """Return this instant: the database's wall clock, and this machine's boot clock."""
        own = self._own.now()
        return Stamp(wall=own.boot + self._measure.offset, boot=own.boot, boot_id=own.boot_id)

    def monotonic(self) -> float:
        """Return seconds on a clock that only moves forward, one for all hosts of the ledger."""
        self._latest = max(self._latest, self._own.monotonic() + self._measure.offset)
        return self._latest
