"""A ledger that is moved between two nights: the next one goes on, and the old place is no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from incarts_pipeline.errors import LedgerMovedError, RefusedError
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.maintenance.ledger_files import (
    backup_ledger,
    check_ledger,
    restore_ledger,
)
from incarts_pipeline.maintenance.ledger_moves import cancel_move, move_ledger
from incarts_pipeline.maintenance.review import open_cases
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace, Settings
from tests.support.runs import Run, products


def test_the_next_night(
    run: Run, box: Sandbox, settings: Settings, database: DatabasePlace
) -> None:
    """It makes what is new, by the same ledger in another place, over the same table."""
    run(products(3))
    ledger_id = LedgerReader(settings.ledger).ledger_id
    moved = move_ledger(str(settings.ledger), database.uri)
    assert (moved.links, moved.place) == (3, str(database))
    night = run(products(5), ledger=database)
    assert night.published.by_status[Status.UNCHANGED] == 3
    assert night.published.by_status[Status.CREATED] == 2
    assert LedgerReader(database).ledger_id == ledger_id
    assert move_ledger(database.uri, settings.ledger).links == 5
    assert run(products(6)).published.by_status[Status.CREATED] == 1
    assert (box.audit().links, box.audit().repeated_bodies) == (6, 0)


def test_a_current_table_stays_current(
    run: Run, settings: Settings, database: DatabasePlace, tmp_path: Path
) -> None:
    """What was noted of a published file is as true of the moved ledger."""
    run(products(3))
    run(products(3))  # from now on nothing of it changes
    before = (tmp_path / "links.parquet").read_bytes()
    move_ledger(settings.ledger, database.uri)
    run(products(3), ledger=database)
    assert (tmp_path / "links.parquet").read_bytes() == before


def test_the_old_place_does_nothing(
    run: Run, box: Sandbox, settings: Settings, database: DatabasePlace
) -> None:
    """No run, no backup and no restore: or else there would be two ledgers at work."""
    run(products(3))
    backup_ledger("before.db", settings)
    move_ledger(settings.ledger, database.uri)
    for way in (
        lambda: run(products(4)),
        lambda: backup_ledger("after.db", settings),
        lambda: restore_ledger("before.db", settings),
        lambda: check_ledger(settings),
        lambda: open_cases(settings),
    ):
        with pytest.raises(LedgerMovedError, match="was moved to") as raised:
            way()
        assert "pass-word-1" not in str(raised.value)
    assert box.audit().links == 3
    with pytest.raises(RefusedError, match="already"):
        cancel_move(settings.ledger, database.uri)


def test_a_plan_of_before(
    run: Run, box: Sandbox, settings: Settings, database: DatabasePlace, tmp_path: Path
) -> None:
    """What was planned before the ledger was moved isn't carried out."""
    run(products(3))
    request = PlanRequest(catalog=products(4), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        move_ledger(settings.ledger, database.uri)
        with pytest.raises(LedgerMovedError):
            asyncio.run(apply_plan(plan, settings, tmp_path / "links.parquet"))
    assert box.audit().links == 3


def test_backup_after_the_way_back(
    run: Run, box: Sandbox, settings: Settings, database: DatabasePlace
) -> None:
    """An old backup of the file holds what was sent while the ledger was in a database."""
    run(products(2))
    backup_ledger("old.db", settings)
    move_ledger(settings.ledger, database.uri)
    run(products(4), ledger=database)
    move_ledger(database.uri, settings.ledger)
    assert restore_ledger("old.db", settings).held == 2
    assert run(products(4), output="other.parquet").published.by_status[Status.IN_DOUBT] == 2
    assert len(open_cases(settings)) == 2
    assert box.audit().links == 4
