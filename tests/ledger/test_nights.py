"""What the runs over a link set made night by night."""

from __future__ import annotations

import dataclasses
import datetime as dt

import sqlalchemy as sa

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.runs import (
    FINISHED,
    Night,
    Process,
    Progress,
    end_run,
    nights_of,
    start_run,
)
from tests.support.ledgers import NOW

_DAY, _HOUR = 86_400.0, 3_600.0


def at(days: int, hours: int = 0) -> Stamp:
    """Return a moment so long after the first midnight."""
    return dataclasses.replace(NOW, wall=NOW.wall - NOW.wall % _DAY + days * _DAY + hours * _HOUR)


def ended(
    engine: sa.Engine, run_id: str, began: Stamp, progress: Progress | None, *sets: str
) -> None:
    """Record a run that is over nine hours after it began."""
    with engine.begin() as connection:
        start_run(connection, run_id, sets or ("s",), Process.current(), began)
        over = dataclasses.replace(began, wall=began.wall + 9 * _HOUR)
        end_run(connection, run_id, FINISHED, over, progress)


def test_nights_of_a_set(engine: sa.Engine) -> None:
    """Runs add up by the day on which they began; those of other sets and of codes are left out."""
    ended(engine, "a", at(0, hours=20), Progress(made=5, remaining=20))
    ended(engine, "b", at(2), Progress(made=3, remaining=17))
    ended(engine, "c", at(2, hours=12), Progress(made=4, remaining=13))
    ended(engine, "codes", at(2), None)
    ended(engine, "others", at(2), Progress(made=9, remaining=9), "s", "t")
    day = dt.datetime.fromtimestamp(at(0).wall, dt.UTC).date()
    with engine.connect() as connection:
        assert nights_of(connection, ["s"]) == [
            Night(day=day, made=5, remaining=20),
            Night(day=day + dt.timedelta(days=2), made=7, remaining=13),
        ]
        assert nights_of(connection, ["t"]) == []
