"""One operation's life: every arrow of the state diagram."""

from __future__ import annotations

import pytest

from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.state_machine import Replay, ReplayRule, after_answer
from incarts_pipeline.models import AnswerKind, State

RULE = ReplayRule(window=1500, api_key_fingerprint="k1")
SENT = Stamp(wall=1_000_000.0, boot=500.0, boot_id="b1")


def later(wall: float, boot: float | None = None, boot_id: str = "b1") -> Stamp:
    """Return a time after SENT: by the wall clock, and by the boot clock when it differs."""
    boot = wall if boot is None else boot
    return Stamp(wall=SENT.wall + wall, boot=SENT.boot + boot, boot_id=boot_id)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (AnswerKind.LINK, State.DONE),
        (AnswerKind.RATE_LIMITED, State.INTENDED),
        (AnswerKind.UNAUTHORIZED, State.INTENDED),
        (AnswerKind.FORBIDDEN, State.INTENDED),
        (AnswerKind.WRONG_ENDPOINT, State.INTENDED),
        (AnswerKind.NOT_SENT, State.INTENDED),
        (AnswerKind.REFUSED, State.REJECTED),
        (AnswerKind.CONFLICT, State.NEEDS_REVIEW),
        (AnswerKind.UNKNOWN, State.IN_DOUBT),
    ],
)
def test_first_answer(kind: AnswerKind, state: State) -> None:
    """The first attempt's answer decides as the diagram says."""
    assert after_answer(kind, doubtful=False, attempts_before=0) is state


@pytest.mark.parametrize("kind", [kind for kind in AnswerKind if kind is not AnswerKind.LINK])
def test_doubt_is_sticky(kind: AnswerKind) -> None:
    """Once in doubt, no answer but a link id settles anything."""
    assert after_answer(kind, doubtful=True, attempts_before=1) is State.IN_DOUBT


def test_link_clears_doubt() -> None:
    """A link id on a replay settles the doubt."""
    assert after_answer(AnswerKind.LINK, doubtful=True, attempts_before=3) is State.DONE


def test_conflict_on_a_key_that_was_tried() -> None:
    """A 409 after an earlier attempt may be our own earlier request still at work."""
    assert after_answer(AnswerKind.CONFLICT, doubtful=False, attempts_before=1) is State.IN_DOUBT


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (later(0), Replay.ALLOWED),
        (later(899), Replay.ALLOWED),
        (later(901), Replay.TOO_OLD),
        (later(5, 1201), Replay.CLOCK_JUMPED),
        (later(700, 950), Replay.TOO_OLD),
        (later(3600, 10), Replay.CLOCK_JUMPED),
        (later(-3600, 10), Replay.CLOCK_JUMPED),
        (later(-200, 10), Replay.ALLOWED),
        (later(-200, boot=-400, boot_id="b2"), Replay.ALLOWED),
        (later(-400, boot_id="b2"), Replay.CLOCK_JUMPED),
        (later(800, boot=1e6, boot_id="b2"), Replay.ALLOWED),
    ],
)
def test_replay_by_age(now: Stamp, verdict: Replay) -> None:
    """A key is trusted by the older of both clocks, and not at all when they disagree."""
    assert RULE.judge(SENT, now, "k1") is verdict


def test_replay_under_another_key() -> None:
    """A rotated API key is not trusted with an old idempotency key."""
    assert RULE.judge(SENT, later(1), "k2") is Replay.KEY_ROTATED


def test_margin_of_a_short_window() -> None:
    """A short window keeps fifths as margins instead of five minutes each."""
    rule = ReplayRule(window=60, api_key_fingerprint=None)
    assert (rule.margin, rule.deadline) == (12, 36)
