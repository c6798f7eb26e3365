"""Clocks as the ledger needs them: a wall clock, and a boot clock that nobody can set."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

# Seconds since the boot; asked for several times a request.
_boot_seconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    # Linux alone: `monotonic` stands still while a laptop sleeps, and a doubt ages all the same.
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """One instant: `wall` in seconds since 1970 UTC, `boot` in seconds since `boot_id`'s boot.

    `boot` goes on while a laptop sleeps, and can be compared only under the same `boot_id`.
    `micros` is the wall clock in whole microseconds, as the ledger stores it.
    """

    wall: float
    boot: float
    boot_id: str
    micros: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Written several times for each link, so it is worked out once.
        object.__setattr__(self, "micros", round(self.wall * 1e6))


class Clock:
    """The machine's clocks; tests pass their own."""

    def now(self) -> Stamp:
        """Return this instant on both clocks."""
        return Stamp(wall=time.time(), boot=_boot_seconds(), boot_id=machine_boot_id())

    def monotonic(self) -> float:
        """Return seconds on a clock that only moves forward, one for all processes of a boot."""
        return _boot_seconds()


@cache
def machine_boot_id() -> str:
    """Return an id that changes with each boot; where there is none, one for this process only."""
    try:
        # Without such an id the boot clocks of two processes can't be compared, and wall clocks
        # decide.
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"process-{os.getpid()}-{time.time_ns()}"


def from_micros(micros: int) -> dt.datetime:
    """Return the UTC time of `micros`, microseconds since 1970."""
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=micros)
