"""How long a plan says that it will take."""

from __future__ import annotations

import math

import pytest

from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.estimate import ExpectedPace, expected_pace
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.settings import Settings, key_fingerprint
from tests.support.rates.answers import ACCEPTED
from tests.support.runs import Run, products

MET = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0)
OPEN = Learned(kind=LimitKind.OPEN, rate=8.0)


@pytest.mark.parametrize(
    ("ceiling", "learned", "expected"),
    [
        (100.0, None, ExpectedPace(100.0, 10.0)),
        (0.5, None, ExpectedPace(0.5, 0.5)),
        (100.0, MET, ExpectedPace(10.0, 10.0)),
        (5.0, MET, ExpectedPace(5.0, 5.0)),
        (None, MET, ExpectedPace(10.0, 10.0)),
        (100.0, OPEN, ExpectedPace(100.0, 16.0)),
        (None, OPEN, ExpectedPace(8.0, 8.0)),
        (None, None, None),
    ],
)
def test_what_is_known(
    ceiling: float | None, learned: Learned | None, expected: ExpectedPace | None
) -> None:
    """A limit that was met is where a run begins; from one that was not it climbs on."""
    assert expected_pace(ceiling, learned) == expected


def test_a_known_pace() -> None:
    """Requests divided by it."""
    assert ExpectedPace(50.0, 50.0).seconds(200) == 4.0


@pytest.mark.parametrize("requests", [1, 10, 63, 200, 5_000])
@pytest.mark.parametrize("learned", [None, OPEN])
def test_a_climb_takes_what_the_controller_takes(requests: int, learned: Learned | None) -> None:
    """Within a second or so of the controller, when every request is accepted at once."""
    controller, now, sent = RateController(100.0, learned), 0.0, 0
    while sent < requests:
        wait = controller.ask(now)
        now += wait
        if not wait:
            sent += 1
            controller.answered(ACCEPTED, sent_at=now, now=now)
    expected = expected_pace(100.0, learned)
    assert expected is not None
    assert math.isclose(expected.seconds(requests), now, abs_tol=1.6)


@pytest.mark.slow
def test_a_first_plan_reckons_with_the_climb(settings: Settings, run: Run) -> None:
    """A later one with what the first run has learned."""
    request = PlanRequest(catalog=products(200), link_set="test", unique_key=("sku",))
    climbing = settings.model_copy(update={"rate": "adaptive", "max_rps": 100.0})

    def seconds() -> float | None:
        with plan_catalog(request, climbing) as plan:
            return plan.figures.seconds

    assert seconds() == pytest.approx(math.log2(90 / 10 + 1) + 110 / 100)
    run(products(40), rate="adaptive", max_rps=100.0)
    learned = LedgerReader(settings.ledger, base_url=settings.base_url).learned(
        key_fingerprint(settings.for_client().api_key)
    )
    expected = expected_pace(100.0, learned)
    assert learned is not None
    assert expected is not None
    assert seconds() == pytest.approx(expected.seconds(160))
