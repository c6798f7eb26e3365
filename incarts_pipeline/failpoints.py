"""Failpoints: where a test can kill or stop the process, to show that running again is safe.

`INCARTS_FAILPOINT=marked:3` sends SIGKILL the third time that the place `marked` is passed,
`marked:3:stop` sends SIGSTOP. Without the variable a place costs one comparison. After fail(9) of
FreeBSD.
"""

from __future__ import annotations

import asyncio
import os
import signal
from enum import StrEnum


class Place(StrEnum):
    """Where a process may die, in the order in which it passes."""

    BEFORE_INTENT = "before_intent"  # nothing of the calls is on disk
    INTENDED = "intended"  # on disk, and never sent
    MARKED = "marked"  # `sent` is on disk, the request hasn't left
    IN_FLIGHT = "in_flight"  # the request has left
    ANSWERED = "answered"  # the answer is there, but not on disk
    RECORDED = "recorded"  # the answer is on disk, and nobody knows
    BEFORE_PUBLISH = "before_publish"  # everything is on disk, links.parquet is the old one
    MID_PUBLISH = "mid_publish"  # the new table is written beside the old one


_IN_FLIGHT_SECONDS = 0.01

_name, _, _rest = os.environ.get("INCARTS_FAILPOINT", "").partition(":")
_number, _, _what = _rest.partition(":")
_place = Place(_name) if _name else None
_passes_left = int(_number or 1)


def passing(place: Place) -> None:
    """Die or stop here, when a test asked for it."""
    global _passes_left
    if place is not _place:
        return
    _passes_left -= 1
    if _passes_left == 0:
        _strike()


def passing_soon(place: Place) -> None:
    """Die or stop a moment later, while what was started now is under way."""
    if place is _place:
        asyncio.get_running_loop().call_later(_IN_FLIGHT_SECONDS, passing, place)


def _strike() -> None:
    os.kill(os.getpid(), signal.SIGSTOP if _what == "stop" else signal.SIGKILL)
