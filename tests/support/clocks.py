"""Clocks that tests set."""

from __future__ import annotations

from incarts_pipeline.clock import Clock, Stamp


class LaterClock(Clock):
    """A clock that runs ahead by some seconds, on the wall and since boot."""

    def __init__(self, wall: float, boot: float | None = None) -> None:
        self._wall = wall
        self._boot = wall if boot is None else boot

    def now(self) -> Stamp:
        """Return the shifted instant."""
        real = super().now()
        return Stamp(wall=real.wall + self._wall, boot=real.boot + self._boot, boot_id=real.boot_id)
