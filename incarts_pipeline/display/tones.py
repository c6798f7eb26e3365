"""Tones: the colour of each action and status, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from incarts_pipeline.models import Action, Status


class Tone(Enum):
    """What a colour says of rows; its value is the style of a terminal."""

    GOOD = "green"  # a new link
    INFO = "cyan"  # another link than before
    CALM = "dim"  # nothing happens
    WARN = "yellow"  # waits for something or somebody
    BAD = "red"  # has no link that can be used, or nobody knows


# Colour repeats what the word says, and never says it alone. What an action comes to has its tone.
TONES: Mapping[Action | Status, Tone] = {
    Action.CREATE: Tone.GOOD,
    Action.REPLACE: Tone.INFO,
    Action.REUSE: Tone.INFO,
    Action.REKEY: Tone.INFO,
    Action.UNCHANGED: Tone.CALM,
    Action.SETTLE: Tone.WARN,
    Action.HOLD: Tone.WARN,
    Action.REJECT: Tone.BAD,
    Action.SKIP: Tone.CALM,
    Status.CREATED: Tone.GOOD,
    Status.REPLACED: Tone.INFO,
    Status.REUSED: Tone.INFO,
    Status.REKEYED: Tone.INFO,
    Status.UNCHANGED: Tone.CALM,
    Status.HELD: Tone.WARN,
    Status.IN_DOUBT: Tone.BAD,
    Status.REJECTED: Tone.BAD,
    Status.PENDING: Tone.WARN,
    Status.SKIPPED: Tone.CALM,
}
