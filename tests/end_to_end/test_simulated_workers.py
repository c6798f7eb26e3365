"""Exactly once with workers, under seeded schedules of faults, crashes, freezes and newer plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.simulation.workers import (
    WorkersWorld,
    enqueues_on,
    keeps_claims,
    keeps_queue,
    marks_late,
    on_sqlite,
    pure,
)

CARELESS = range(1_000)
SELDOM = range(6_000)

pytestmark = pytest.mark.no_cover  # as in `test_simulation`


def test_five_thousand_schedules() -> None:
    """Nothing is duplicated, lost or forgotten, and no worker sends what was withdrawn."""
    found = pure(range(5_000))
    assert not found.problems, str(found)
    befell = dict(found.counts)
    assert min(befell[what] for what in ("apply", "enqueue", "work", "crash", "freeze")) > 2_500
    assert befell["planned meanwhile"] > 500


def test_three_hundred_schedules_on_sqlite(tmp_path: Path) -> None:
    """The real statements pass the same schedules, and end where the model does."""
    found = on_sqlite(range(300), tmp_path / "simulated.db")
    assert not found.problems, str(found)


@pytest.mark.parametrize(
    ("change", "seeds"),
    [(keeps_queue, CARELESS), (keeps_claims, CARELESS), (enqueues_on, SELDOM)],
)
def test_outdated_plans_are_noticed(change: Callable[[WorkersWorld], None], seeds: range) -> None:
    """Where a newer plan doesn't end the older one's, workers send what nobody wants any more."""
    found = pure(seeds, change)
    outdated = [said for said in found.problems.values() if said[-1].startswith("row ")]
    assert len(outdated) > 5


def test_late_marks_are_noticed() -> None:
    """A worker that marks an attempt only once it was sent makes duplicates, and loses links."""
    found = pure(CARELESS, marks_late)
    said = [one for world in found.problems.values() for one in world]
    assert sum("is one more for row" in one for one in said) > 5
    assert sum("without it" in one or "doesn't know" in one for one in said) > 5
