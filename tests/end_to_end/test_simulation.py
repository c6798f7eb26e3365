"""Exactly once under seeded schedules of faults, crashes, freezes and overlapping runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from incarts_pipeline.settings import DatabasePlace
from tests.end_to_end.simulation.__main__ import tell
from tests.end_to_end.simulation.campaign import (
    Careless,
    careless,
    on_postgres,
    on_sqlite,
    pure_on_all_cores,
)
from tests.end_to_end.simulation.carelessness import (
    ALL,
    believes_all,
    believes_earlier,
    believes_redirects,
    blind,
    careful,
    forgets_doubts,
    forgets_lost,
    forgets_moves,
    forgets_unsent,
    ignores_content,
    ignores_echoes,
    keeps_connections,
    line,
    marks_late,
    moves_doubts,
    new_keys,
    sends_blindly,
    shares_links,
    unwitnessed,
)
from tests.end_to_end.simulation.server import FAULTS, Fault

CARELESS = range(1_500)
SELDOM = range(6_000)
SWAPS = (Fault.SWAPPED, Fault.SWAPPED_BODY, Fault.LOST_AFTER)

# Tracing would double their time, and they reach nothing that other tests don't.
pytestmark = pytest.mark.no_cover


def test_twenty_thousand_schedules() -> None:
    """Nothing is duplicated, lost, forgotten or undone, and a review settles what is left."""
    found = pure_on_all_cores(0, 20_000)
    assert not found.problems, str(found)
    assert found.schedules == 20_000
    befell = dict(found.counts)
    assert min(befell.values()) > 200, f"a fault hardly ever happens: {befell}"


def test_a_thousand_schedules_on_sqlite(tmp_path: Path) -> None:
    """The real statements pass the same schedules, and end where the model does."""
    found = on_sqlite(range(1_000), tmp_path / "simulated.db")
    assert not found.problems, str(found)
    assert found.schedules == 1_000


def test_a_hundred_schedules_on_postgres(database: DatabasePlace) -> None:
    """Its statements, too: they end where the model does."""
    found = on_postgres(range(100), database)
    assert not found.problems, str(found)
    assert found.schedules == 100


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (blind, FAULTS),
        (marks_late, FAULTS),
        (new_keys, FAULTS),
        (forgets_doubts, FAULTS),
        (unwitnessed, FAULTS),
        (forgets_lost, FAULTS),
        (believes_redirects, (Fault.REDIRECTED,)),
        (believes_earlier, (Fault.PACED_TWICE,)),
    ],
)
def test_the_simulation_notices_carelessness(change: Careless, kinds: Sequence[Fault]) -> None:
    """A writer that breaks one rule makes duplicates that the checks see, and loses links."""
    noticed = careless(CARELESS, change, kinds)
    assert noticed["duplicated"] > 5
    assert noticed["lost"] > 5


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (believes_all, SWAPS),
        (ignores_echoes, SWAPS),
        (ignores_content, SWAPS),
        (keeps_connections, (Fault.LATE_ANSWER, Fault.NOT_SENT)),
        (sends_blindly, (Fault.DOUBLED,)),
        (shares_links, (Fault.LINK_OF_ANOTHER,)),
    ],
)
def test_the_simulation_notices_credulity(change: Careless, kinds: Sequence[Fault]) -> None:
    """A writer that doesn't ask whose an answer is has links of other content, and loses some."""
    noticed = careless(CARELESS, change, kinds)
    assert noticed["wrong"] > 5
    assert noticed["lost"] > 5


@pytest.mark.parametrize(
    ("change", "what"),
    [(moves_doubts, "lost"), (forgets_moves, "duplicated"), (forgets_unsent, "duplicated")],
)
def test_the_simulation_notices_what_seldom_matters(change: Careless, what: str) -> None:
    """A re-keyed row whose own link was on its way loses it, and one that was lost gets another."""
    assert careless(SELDOM, change)[what] > 5


def test_every_carelessness_has_a_line() -> None:
    """What is counted becomes a share, and a rule without one does no harm."""
    found = Counter(duplicated=3, lost=1)
    assert line(blind, found, 200) == "| replay a key whatever its age | 1.50 % | 0.50 % | 0 |"
    tested = Path(__file__).read_text()
    untold = [change.__name__ for change in ALL if f"({change.__name__}, " not in tested]
    assert untold == [careful.__name__]
    assert not careless(range(50), careful).total()


def test_a_seed_tells_the_same_story_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule can be replayed from its seed, step by step."""
    assert tell(7) == []
    first = capsys.readouterr().out
    tell(7)
    assert capsys.readouterr().out == first
    assert "run-1 starts" in first
