"""What a limit and a time make of a plan: tonight's calls, and the nights until all are made."""

from __future__ import annotations

import dataclasses

import pytest

from incarts_pipeline.display import figures_lines
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.rate_limit.estimate import ExpectedPace
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products

REQUEST = PlanRequest(catalog=products(100), link_set="test", unique_key=("sku",))


@pytest.mark.parametrize(
    ("limit", "seconds", "tonight", "nights"),
    [
        (None, None, 100, 1),
        (100, None, 100, 1),
        (1_000, None, 100, 1),
        (40, None, 40, 3),
        (50, None, 50, 2),
        (1, None, 1, 100),
        (0, None, 0, None),
        (None, 6.0, 30, 4),
        (40, 6.0, 30, 4),
        (20, 6.0, 20, 5),
        (None, 0.1, 0, None),
    ],
)
def test_nights(
    settings: Settings, limit: int | None, seconds: float | None, tonight: int, nights: int | None
) -> None:
    """The tighter of limit and time holds; nights are counted up, and none are foretold for 0."""
    with plan_catalog(REQUEST, settings) as plan:
        paced = dataclasses.replace(plan.options, pace=ExpectedPace(5.0, 5.0))
        whole = dataclasses.replace(plan, options=paced)
        held = whole.within(limit, seconds)
        assert (held.figures.to_make, held.figures.nights) == (tonight, nights)
        assert held.figures.seconds == tonight / 5.0
        assert held.figures.digest == plan.figures.digest


def test_doubts_take_their_part_of_the_time(settings: Settings) -> None:
    """They are settled first, so that less of the night is left for what is new."""
    with plan_catalog(REQUEST, settings) as plan:
        options = dataclasses.replace(plan.options, pace=ExpectedPace(5.0, 5.0))
        figures = dataclasses.replace(plan.figures, doubts=10)
        whole = dataclasses.replace(plan, options=options, figures=figures)
        assert whole.within(None, 6.0).figures.to_make == 20
        assert whole.within(30, None).figures.to_make == 30


def test_time_without_a_known_pace_foretells_nothing(settings: Settings) -> None:
    """Nobody knows how many a night makes: all, as far as the plan can say."""
    with plan_catalog(REQUEST, settings) as plan:
        options = dataclasses.replace(plan.options, pace=None)
        held = dataclasses.replace(plan, options=options).within(None, 6.0).figures
        assert (held.to_make, held.seconds) == (100, None)


def test_ceiling_is_no_pace(settings: Settings) -> None:
    """What nobody measured foretells no nights, unless a limit is what holds the run."""
    with plan_catalog(REQUEST, settings) as plan:
        guess = {"pace": ExpectedPace(5.0, 5.0), "is_pace_learned": False}
        whole = dataclasses.replace(plan, options=dataclasses.replace(plan.options, **guess))
        held = whole.within(None, 6.0).figures
        assert (held.to_make, held.nights) == (30, None)
        assert "30 of 100 links" in figures_lines(held)[0]
        assert "at the ceiling of 5 a second: no pace is known yet" in figures_lines(held)[0]
        assert not any("night" in line for line in figures_lines(held))
        assert whole.within(20, 6.0).figures.nights == 5
        assert whole.within(30, 6.0).figures.nights == 4
        assert whole.within(None, 60.0).figures.nights == 1


def test_a_plan_says_whether_its_pace_is_learned(settings: Settings, run: Run) -> None:
    """Before the first run nothing is; a fixed rate was said."""
    adaptive = settings.model_copy(update={"rate": "adaptive", "max_rps": 100.0})
    for used, expected in ((adaptive, False), (settings, True)):
        with plan_catalog(REQUEST, used) as plan:
            assert plan.options.is_pace_learned is expected
    run(products(40), rate="adaptive", max_rps=100.0)
    with plan_catalog(REQUEST, adaptive) as plan:
        assert plan.options.is_pace_learned


def test_nights_come_true(run: Run, settings: Settings) -> None:
    """As many runs as were foretold make all, each by priority, and none makes a link twice."""
    table = products(10, margin=[float(i) for i in range(10)])
    mapping = {
        "link_set": "test",
        "unique_key": ["sku"],
        "priority": {"column": "margin"},
        "link": {
            "name": {"column": "name"},
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "retailer_product_id"}},
        },
    }
    request = PlanRequest(catalog=table, mapping=mapping)
    left = []
    with plan_catalog(request, settings) as plan:
        nights = plan.within(4).figures.nights
    for _ in range(3):
        result = run(table, mapping=mapping, limit=4)
        left.append((result.written.remaining, result.nights_left))
    assert nights == 3
    assert left == [(6, 2), (2, 1), (0, None)]
    assert result.published.by_status[Status.PENDING] == 0
