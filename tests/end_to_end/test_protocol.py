"""Exactly once in every order of the steps of two workers, and what comes of each broken rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger import ensure_sets, prepare_file
from tests.end_to_end.protocol.__main__ import table
from tests.end_to_end.protocol.explore import explore
from tests.end_to_end.protocol.on_sqlite import Story
from tests.end_to_end.protocol.rules import Bounds, Rules
from tests.end_to_end.protocol.variants import ALL_BOUNDS, VARIANTS, Variant
from tests.end_to_end.simulation.campaign import without_fsync
from tests.end_to_end.simulation.sqlite_ledger import SqliteLedger

# Tracing would double their time, and they reach nothing that other tests don't.
pytestmark = pytest.mark.no_cover

_DOC = Path(__file__).parents[2] / "docs" / "exactly-once.md"


@pytest.mark.parametrize("bounds", ALL_BOUNDS, ids=str)
def test_every_order_of_steps(bounds: Bounds) -> None:
    """Nothing is made twice, lost, falsely doubted or stuck in any world that can be reached."""
    found = explore(Rules(), bounds)
    assert not found.wrong, str(found)
    assert found.worlds > 10_000


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
    steps = 0
    for seed in range(200):
        ledger = SqliteLedger(engine, tmp_path / "protocol.db")
        story = Story(ledger, bounds)
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
