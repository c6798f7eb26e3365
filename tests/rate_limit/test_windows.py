"""Windows: when one opens, and how its edge is found."""

from __future__ import annotations

import pytest

from incarts_pipeline.rate_limit.history import History
from incarts_pipeline.rate_limit.windows import Window, WindowKind


def test_an_edge_that_is_roughly_known_is_halved_by_each_try() -> None:
    """What was refused or let through at the middle leaves half; a sharp one isn't looked for."""
    history = History()
    window = Window(
        WindowKind.ALIGNED, shortest=59.0, longest=60.0, budget=600, began=104.0, earliest=100.0
    )
    assert window.opens(history, 130.0) == pytest.approx(162.0)
    assert window.opens(history, 130.0, refused=162.0) == pytest.approx(163.0)
    window.saw(history, 130.0, 162.0, 163.0, anew=False)
    assert window.opens(history, 190.0) == pytest.approx(222.5)
    window.began, window.earliest = 163.0, 162.95
    assert window.opens(history, 190.0) == pytest.approx(223.0)
