"""Window: when it opens, and what two of its ends say."""

from __future__ import annotations

import pytest

from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.limit import Phase
from incarts_pipeline.rate_limit.window import Edge, Window


def sent(rate: float, since: float, until: float) -> History:
    """Return a history of even requests."""
    history = History()
    for i in range(round((until - since) * rate)):
        history.add(since + i / rate)
    return history


def test_an_end_that_is_roughly_known_is_halved_by_each_try() -> None:
    """What was refused or let through at the middle leaves half; a sharp one isn't looked for."""
    history = sent(10.0, 104.0, 164.0)
    window = Window(shortest=59.9, longest=60.0, budget=600, edge=Edge(100.0, 104.0, 0))
    assert window.opens(history, 130.0, 130.0) == pytest.approx(162.0, abs=0.1)
    assert window.opens(history, 130.0, 162.0) == pytest.approx(163.0, abs=0.1)
    assert window.opens(history, 130.0, 164.1) is None  # it should be over
    window.ended(history, 130.0, Edge(162.0, 163.0, 600), Phase.PROBE, is_long=False)
    assert window.opens(history, 190.0, 190.0) == pytest.approx(223.0, abs=0.1)


def test_two_ends_in_a_row_tell_length_and_budget() -> None:
    """Whatever the length is, usual or not, and whenever windows begin."""
    history, window = sent(10.0, 0.0, 61.0), Window()
    window.ended(history, 10.0, Edge(44.0, 44.2, 100), Phase.START, is_long=True)
    window.ended(history, 60.0, Edge(69.2, 69.4, 350), Phase.MEASURE, is_long=True)
    assert window.length == pytest.approx(25.0, abs=0.5)
    assert window.budget == 250
    assert window.is_exact


def test_a_longer_block_is_another_window() -> None:
    """A minute's window says nothing of a block that takes most of an hour."""
    history = sent(1.0, 0.0, 600.0)
    window = Window(shortest=59.9, longest=60.0, budget=100, edge=Edge(60.0, 60.1, 100))
    window.is_eased = True
    window.ended(history, 600.0, Edge(3_590.0, 3_605.0, 600), Phase.CRUISE, is_long=True)
    assert window.length == 3_600.0
    assert window.budget == 600
    assert not window.is_exact


def test_what_refuses_amid_its_window_slides() -> None:
    """It is the last so many seconds then, and opens when the oldest request is out."""
    history = sent(10.0, 0.0, 90.0)
    window = Window(shortest=59.9, longest=60.0, budget=600, edge=Edge(60.0, 60.1, 0))
    window.refused_amid(history, 90.0, rises=False)
    assert window.slides
    opens = window.opens(history, 90.0, 89.0)
    assert opens == pytest.approx(90.0, abs=0.2)
