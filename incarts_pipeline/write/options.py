"""Options: how far a run goes, and what it does about other runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SAMPLE_PER = ("retailer", "intent", "link_set")  # what a limit may be spread over


class IfRunning(StrEnum):
    """What to do about rows that another run is sending."""

    WAIT = "wait"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How far a run goes.

    `max_duration` is in seconds; `sample_per` spreads `limit` over kinds; `max_in_flight` None
    leaves it to the settings, and they to the pace.
    """

    limit: int | None = None
    sample_per: Sequence[str] = ()
    max_duration: float | None = None
    if_running: IfRunning = IfRunning.WAIT
    max_in_flight: int | None = None
    approved: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """How far a worker goes.

    `link_sets` names those that it works on, none for all of its project; `limit` is a number of
    links, `max_duration` in seconds; `wait_for_work` is for how many seconds it waits when nothing
    is enqueued.
    """

    link_sets: Sequence[str] = ()
    limit: int | None = None
    max_duration: float | None = None
    wait_for_work: float | None = None
    max_in_flight: int | None = None
