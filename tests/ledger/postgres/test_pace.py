"""A pace that processes on many hosts share, as a row of the ledger's database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.ledger import clock_of, paces_at, waits_at
from incarts_pipeline.ledger.postgres.pace import PaceRow
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Report, Shared
from incarts_pipeline.settings import DatabasePlace
from tests.support.clocks import LaterClock

RATE = 20.0


def fresh() -> Shared:
    """Return a pace that nobody has leased of."""
    return Shared(RateController(RATE, learns=False))


def pace_of(place: DatabasePlace, own: Clock) -> PaceRow:
    """Open the pace of one key as a host does."""
    found = paces_at(place, clock_of(place, own))("key fixed 3", fresh)
    assert isinstance(found, PaceRow)
    return found


def test_hosts_share_one_pace(engine: sa.Engine, place: DatabasePlace) -> None:
    """Hosts whose clocks are twenty minutes apart lease side by side, at one pace for all."""
    shifts = (0.0, 1_200.0, -1_200.0, 0.0)

    def lease(shift: float) -> list[float]:
        pace = pace_of(place, LaterClock(shift, boot=0))
        slots = [
            slot
            for n in range(15)
            for slot in pace.exchange(Report(f"{shift} {n % 2}", RATE, (), 5)).slots
        ]
        pace.close()
        return slots

    with ThreadPoolExecutor(4) as threads:
        slots = sorted(slot for leased in threads.map(lease, shifts) for slot in leased)
    # What is leased ahead at most, and what may be caught up with, are within a second in all; four
    # hosts that didn't know of each other would have four times as much.
    assert 1 <= len(slots) <= 1 + (slots[-1] - slots[0] + 0.2) * RATE


def test_pace_that_is_gone_begins_anew(engine: sa.Engine, place: DatabasePlace) -> None:
    """A crash of the server empties the table, which is not logged; so does another layout."""
    pace = pace_of(place, Clock())
    assert pace.exchange(Report("a", RATE, (), 5)).slots
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute("DELETE FROM incarts.pace")
        assert pace.exchange(Report("a", RATE, (), 5)) is not None
        connection.execute("UPDATE incarts.pace SET state = 'of another version', version = 99")
        assert pace.exchange(Report("a", RATE, (), 5)) is not None
        kind = connection.execute(
            "SELECT relpersistence FROM pg_class WHERE oid = 'incarts.pace'::regclass"
        ).fetchone()
    pace.close()
    assert kind == ("u",)
    assert waits_at(place, clock_of(place, Clock())) == {}


def test_pace_without_a_database_says_so(engine: sa.Engine, place: DatabasePlace) -> None:
    """What can't be exchanged is a LedgerError, after which the next exchange connects anew."""
    pace = pace_of(place, Clock())
    pace.exchange(Report("a", RATE, (), 5))
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(LedgerError):
        pace.exchange(Report("a", RATE, (), 5))
    assert pace.exchange(Report("a", RATE, (), 5)) is not None
    pace.close()
