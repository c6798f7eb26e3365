"""Tones: every action and status has one, and what an action comes to has the same."""

from __future__ import annotations

import pytest
from rich.style import Style

from incarts_pipeline.display import TONES, Tone
from incarts_pipeline.display.html.style import STYLE
from incarts_pipeline.models import Action, Status

DONE = {
    Action.CREATE: Status.CREATED,
    Action.REPLACE: Status.REPLACED,
    Action.REUSE: Status.REUSED,
    Action.UNCHANGED: Status.UNCHANGED,
    Action.REKEY: Status.REKEYED,
    Action.HOLD: Status.HELD,
    Action.REJECT: Status.REJECTED,
    Action.SKIP: Status.SKIPPED,
}


def test_actions_and_what_they_come_to_have_one_colour() -> None:
    """All members have a tone; a plan's word is in the colour that the result's will have."""
    assert set(TONES) == {*Action, *Status}
    assert all(TONES[action] is TONES[status] for action, status in DONE.items())


@pytest.mark.parametrize("tone", Tone)
def test_a_tone_is_known_to_terminals_and_pages(tone: Tone) -> None:
    """Its value is a style of Rich, its name a class of the stylesheet."""
    assert Style.parse(tone.value)
    assert f".ic-{tone.name.lower()}{{--tone:" in STYLE
