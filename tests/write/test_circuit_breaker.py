"""Circuits: which answers end a run, close a kind of link, or make everybody pause."""

from __future__ import annotations

import pytest

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.write.circuit_breaker import Circuits, EndKind


def tell(
    circuits: Circuits,
    kind: AnswerKind,
    now: float = 0.0,
    status: int | None = None,
    *,
    is_own: bool = True,
) -> None:
    """Let a circuit see one answer for a Walmart cart."""
    answer = Answer(kind=kind, correlation_id="c", status=status, is_own=is_own)
    circuits.answered(answer, "walmart", "add_to_cart", now)


def test_unauthorized_ends_the_run() -> None:
    """A 401 ends the run at once, even after successes."""
    circuits = Circuits()
    tell(circuits, AnswerKind.LINK)
    tell(circuits, AnswerKind.UNAUTHORIZED, status=401)
    assert circuits.end is not None
    assert circuits.end.kind is EndKind.UNAUTHORIZED


def test_forbidden_closes_its_kind_only() -> None:
    """A 403 stops one (retailer, intent) and nothing else."""
    circuits = Circuits()
    tell(circuits, AnswerKind.FORBIDDEN, status=403)
    assert circuits.is_open("walmart", "add_to_cart")
    assert not circuits.is_open("instacart", "recipe")
    assert circuits.end is None


def test_wrong_endpoint_before_the_first_link() -> None:
    """A 404 on the first call means a wrong base URL; a lone one later does not."""
    circuits = Circuits()
    tell(circuits, AnswerKind.WRONG_ENDPOINT, status=404)
    assert circuits.end is not None
    assert circuits.end.kind is EndKind.WRONG_ENDPOINT
    later = Circuits()
    tell(later, AnswerKind.LINK)
    tell(later, AnswerKind.WRONG_ENDPOINT, status=404)
    assert later.end is None


def test_successes_that_are_not_the_api() -> None:
    """Three web pages with status 200 before any link are a wrong base URL, one is not."""
    circuits = Circuits()
    for _ in range(2):
        tell(circuits, AnswerKind.UNKNOWN, status=200)
    assert circuits.end is None
    tell(circuits, AnswerKind.UNKNOWN, status=200)
    assert circuits.end is not None


@pytest.mark.parametrize(
    ("status", "is_own", "ends"),
    [(501, False, True), (303, False, True), (501, True, False)]
    + [(status, False, False) for status in (500, 502, 503, 504)],
)
def test_pages_of_another_server_and_of_an_outage(status: int, is_own: bool, ends: bool) -> None:
    """Three pages that no outage gives are a wrong base URL; a proxy's 502 pages are an outage."""
    circuits = Circuits()
    for _ in range(3):
        tell(circuits, AnswerKind.UNKNOWN, status=status, is_own=is_own)
    assert (circuits.end is not None) is ends
    later = Circuits()
    tell(later, AnswerKind.LINK)
    for _ in range(3):
        tell(later, AnswerKind.UNKNOWN, status=status, is_own=is_own)
    assert later.end is None


def test_unreachable_from_the_start() -> None:
    """A host that never answers is given up after three seconds."""
    circuits = Circuits()
    tell(circuits, AnswerKind.NOT_SENT, now=0.0)
    assert circuits.end is None
    tell(circuits, AnswerKind.NOT_SENT, now=3.0)
    assert circuits.end is not None
    assert circuits.end.kind is EndKind.UNREACHABLE


def test_storm_pauses_longer_each_time_and_then_ends() -> None:
    """Trouble in a row pauses, 2, 4, 8 … 60 seconds, and ends the run after three minutes."""
    circuits = Circuits()
    tell(circuits, AnswerKind.LINK)
    now, pauses = 0.0, []
    while circuits.end is None:
        tell(circuits, AnswerKind.UNKNOWN, now=now, status=503)
        if wait := circuits.wait(now):
            pauses.append(wait)
            now += wait
    assert pauses[:5] == pytest.approx([2, 4, 8, 16, 32])
    assert circuits.end.kind is EndKind.STORM
    assert now >= 180


def test_one_success_ends_a_pause() -> None:
    """The half-open circuit closes with the first good answer."""
    circuits = Circuits()
    for _ in range(12):
        tell(circuits, AnswerKind.UNKNOWN, now=1.0, status=500)
    assert circuits.wait(1.0) > 0
    tell(circuits, AnswerKind.LINK, now=1.5)
    assert circuits.wait(1.5) == 0
