"""Watch over a ledger: what all its runs are about at one moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from incarts_pipeline.clock import Clock, from_micros
from incarts_pipeline.ledger import (
    Activity,
    Failure,
    Process,
    RunActivity,
    activity_of,
    existing_ledger,
    known_rates,
    living_runs,
    replay_rule,
    review,
)
from incarts_pipeline.maintenance.case_groups import OpenCases
from incarts_pipeline.rate_limit import Learned, waiting_now
from incarts_pipeline.settings import LedgerPlace, Settings, load_settings
from incarts_pipeline.text import clock_time, counted, duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A ledger at one moment; `rates` and `waiting` are by the fingerprint of an API key."""

    ledger: LedgerPlace
    at: dt.datetime
    activity: Activity
    cases: OpenCases
    rates: Mapping[str, Learned]
    waiting: Mapping[str, str]

    @property
    def runs(self) -> Sequence[RunActivity]:
        """The living runs."""
        return self.activity.runs

    @property
    def failures(self) -> Sequence[Failure]:
        """The newest answers that were none."""
        return self.activity.failures

    def lines(self) -> Iterator[str]:
        """Yield what is to be known beside the runs' own figures."""
        yield from (f"rate limit for the API key {key}: {rate}" for key, rate in self.rates.items())
        yield from (f"waiting for the API key {key}: {said}" for key, said in self.waiting.items())
        yield f"{self.cases}"
        yield from self._minutes_left()
        for one in self.failures:
            row = f"row {one.row_key}, run {one.run_id}"
            yield f"{clock_time(from_micros(one.at), self.at)}  {one.said} ({row})"

    def _minutes_left(self) -> Iterator[str]:
        """Say for how long a run can still settle what is in doubt."""
        ends = [case.settles_until for case in self.cases.in_doubt if case.settles_until]
        left = sorted(max(end / 1e6 - self.at.timestamp(), 0.0) for end in ends)
        if left:
            first, last = duration(left[0]), duration(left[-1])
            span = (
                f"for {first}" if first == last else f"the first for {first}, the last for {last}"
            )
            yield f"a run settles {counted(len(left), 'doubt')} by itself still {span}"


def watch_ledger(settings: Settings | None = None, *, clock: Clock | None = None) -> Watched:
    """Look at what all runs on a ledger are about; nothing is changed by it.

    The settings are those of the environment and incarts.toml, unless others are given.

    Raises:
        LedgerError: there is no ledger, or it can't be read.
    """
    chosen, clock = settings or load_settings(), clock or Clock()
    view, now = existing_ledger(chosen), clock.now()
    ledger = chosen.ledger

    def look(connection: sa.Connection) -> Watched:
        living = living_runs(connection, Process.current(), now)
        found = review.cases(connection, replay_rule(chosen), now, list(living))
        return Watched(
            ledger=ledger,
            at=from_micros(now.micros),
            activity=activity_of(connection, living, now),
            cases=OpenCases(cases=found),
            rates=known_rates(connection),
            waiting={key: str(wait) for key, wait in waiting_now(ledger, clock).items()},
        )

    return view.read(look)
