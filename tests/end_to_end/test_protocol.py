"""Exactly once in every order of the steps of two workers, and what comes of each broken rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger import ensure_sets, prepare_file
from tests.end_to_end.protocol.__main__ import table
from tests.end_to_end.protocol.explore import explore
from tests.end_to_end.protocol.on_sqlite import Story
from tests.end_to_end.protocol.rules import Bounds, Rules
from tests.end_to_end.protocol.steps import Play
from tests.end_to_end.protocol.variants import ALL_BOUNDS, TWO_ROWS, VARIANTS, Variant
from tests.end_to_end.protocol.worlds import Worlds
from tests.end_to_end.simulation.campaign import without_fsync
from tests.end_to_end.simulation.sqlite_ledger import SqliteLedger

# Tracing would double their time, and they reach nothing that other tests don't.
pytestmark = pytest.mark.no_cover

_DOC = Path(__file__).parents[2] / "docs" / "exactly-once.md"


@pytest.mark.parametrize("bounds", [one for one in ALL_BOUNDS if one != TWO_ROWS], ids=str)
def test_every_order_of_steps(bounds: Bounds) -> None:
    """Nothing is made twice, lost, falsely doubted or stuck in any world that can be reached."""
    found = explore(Rules(), bounds)
    assert not found.wrong, str(found)
    assert found.worlds > 10_000


def test_two_rows_come_to_what_one_does() -> None:
    """In the first worlds of two, breadth first, no row is one that isn't found alone, too."""
    found = explore(Rules(), TWO_ROWS, most=60_000)
    assert not found.wrong, str(found)
    alone = explore(Rules(), replace(TWO_ROWS, rows=1))
    assert not alone.wrong, str(alone)
    assert len(found.rows) > 1_000
    assert found.rows <= alone.rows


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: one.told)
def test_the_search_notices_a_broken_rule(variant: Variant) -> None:
    """Without any one rule there is a way to harm, and it is told step by step."""
    found = explore(variant.rules, variant.bounds)
    assert found.wrong.startswith(variant.wrong), str(found)
    assert found.trace
    # The same bounds do no harm to who keeps all the rules: it is the rule that is missed.
    kept = explore(Rules(), variant.bounds, most=found.worlds)
    assert not kept.wrong, str(kept)


@pytest.mark.parametrize("contents", [("A", "A"), ("A", "B")])
def test_stories_of_the_model_on_sqlite(tmp_path: Path, contents: tuple[str, str]) -> None:
    """The library's statements do in each step what the model's do."""
    engine = prepare_file(tmp_path / "protocol.db", "https://api.incarts.example")
    sa.event.listen(engine, "connect", without_fsync)
    engine.dispose()
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    bounds = Bounds(rows=1, starts=3, troubles=4, contents=contents)
    worlds = Worlds(Play(Rules(), bounds), sorts_rows=False)
    steps = 0
    for seed in range(200):
        ledger = SqliteLedger(engine, tmp_path / "protocol.db")
        story = Story(ledger, bounds, worlds)
        differs = story.tell(seed)
        ledger.close()
        assert not differs, "\n".join(differs)
        steps += story.steps
    engine.dispose()
    assert steps > 1_000


def test_the_page_has_the_table() -> None:
    """Each broken rule stands in the docs with what comes of it."""
    text = _DOC.read_text()
    missing = [line for line in table() if line not in text]
    assert not missing
