"""Exactly once under seeded schedules of faults, crashes, freezes and overlapping runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from incarts_pipeline.api.attribution import attribute
from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger import state_machine as states
from incarts_pipeline.ledger.state_machine import Replay, ReplayRule
from incarts_pipeline.models import AnswerKind, State
from tests.end_to_end.simulation.__main__ import tell
from tests.end_to_end.simulation.campaign import Careless, careless, on_sqlite, pure_on_all_cores
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.server import FAULTS, Fault
from tests.end_to_end.simulation.world import World

CARELESS = range(1_500)
MOVING = range(6_000)
SWAPS = (Fault.SWAPPED, Fault.SWAPPED_BODY, Fault.LOST_AFTER)

# Tracing would double their time, and they reach nothing that other tests don't.
pytestmark = pytest.mark.no_cover


def test_a_hundred_thousand_schedules() -> None:
    """Nothing is duplicated, lost, forgotten or undone, and a review settles what is left."""
    found = pure_on_all_cores(0, 100_000)
    assert not found.problems, str(found)
    assert found.schedules == 100_000
    befell = dict(found.counts)
    assert min(befell.values()) > 1_000, f"a fault hardly ever happens: {befell}"


def test_a_thousand_schedules_on_sqlite(tmp_path: Path) -> None:
    """The real statements pass the same schedules, and end where the model does."""
    found = on_sqlite(range(1_000), tmp_path / "simulated.db")
    assert not found.problems, str(found)
    assert found.schedules == 1_000


class Blind(ReplayRule):
    """Replays whatever its age."""

    __slots__ = ()

    def judge(self, first_sent: Stamp, now: Stamp, api_key_fingerprint: str | None) -> Replay:
        """Say yes."""
        return Replay.ALLOWED


def blind(world: World) -> None:
    """Replay a key that the server may have forgotten."""
    world.writer.rule = Blind


def marks_late(world: World) -> None:
    """Record an attempt only after it has left."""
    world.writer.marks_first = False


def new_keys(world: World) -> None:
    """Send every attempt under a key of its own."""
    world.writer.keys_per_attempt = True


def unwitnessed(world: World) -> None:
    """Take a ledger that was rolled back for the newest."""
    world.writer.witnessed = False


def believes_redirects(world: World) -> None:
    """Take a 303 for an answer before anything was done."""
    world.writer.see_other = AnswerKind.WRONG_ENDPOINT


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (blind, FAULTS),
        (marks_late, FAULTS),
        (new_keys, FAULTS),
        (unwitnessed, FAULTS),
        (believes_redirects, (Fault.REDIRECTED,)),
    ],
)
def test_the_simulation_notices_carelessness(change: Careless, kinds: Sequence[Fault]) -> None:
    """A writer that breaks one rule makes duplicates that the checks see, and loses links."""
    noticed = careless(CARELESS, change, kinds)
    assert noticed["duplicated"] > 5
    assert noticed["lost"] > 5


def believes_all(world: World) -> None:
    """Take every answer for the request's own."""
    world.writer.attribute = lambda answer, _: answer


def ignores_echoes(world: World) -> None:
    """Compare contents alone."""
    world.writer.attribute = lambda answer, request: attribute(
        replace(answer, echoed_id=None), request
    )


def ignores_content(world: World) -> None:
    """Compare correlation ids alone."""
    world.writer.attribute = lambda answer, request: attribute(answer, replace(request, body=b"{}"))


def keeps_connections(world: World) -> None:
    """Go on with a connection whose answers are out of step."""
    world.writer.is_in_step = lambda _: True


def sends_blindly(world: World) -> None:
    """Send on a connection on which an answer waits already."""
    world.writer.looks_first = False


def shares_links(world: World) -> None:
    """Give a row a link that another row has."""
    memory(world).owns_links = False


def memory(world: World) -> MemoryLedger:
    """Return the model that a world has."""
    assert isinstance(world.ledger, MemoryLedger)
    return world.ledger


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (believes_all, SWAPS),
        (ignores_echoes, SWAPS),
        (ignores_content, SWAPS),
        (keeps_connections, (Fault.LATE_ANSWER, Fault.NOT_SENT)),
        (sends_blindly, (Fault.DOUBLED,)),
        (shares_links, (Fault.LINK_OF_ANOTHER,)),
    ],
)
def test_the_simulation_notices_credulity(change: Careless, kinds: Sequence[Fault]) -> None:
    """A writer that doesn't ask whose an answer is has links of other content, and loses some."""
    noticed = careless(CARELESS, change, kinds)
    assert noticed["wrong"] > 5
    assert noticed["lost"] > 5


def moves_doubts(world: World) -> None:
    """Move a link to a row that may have one of its own."""
    memory(world).moves_doubts = True


def forgets_moves(world: World) -> None:
    """Tell the witness nothing of the keys to which links were moved."""
    memory(world).names_moves = False


def test_the_simulation_notices_careless_moves() -> None:
    """A re-keyed row whose own link was on its way loses it, and one that was lost gets another."""
    assert careless(MOVING, moves_doubts)["lost"] > 5
    assert careless(MOVING, forgets_moves)["duplicated"] > 5


def test_the_simulation_notices_a_doubt_that_is_not_sticky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believing a 429 or a 422 on a replay loses links, and duplicates some."""
    sticky = states.after_answer

    def believing(kind: AnswerKind, *, doubtful: bool, attempts_before: int) -> State:
        return sticky(kind, doubtful=False, attempts_before=attempts_before)

    monkeypatch.setattr(states, "after_answer", believing)
    noticed = careless(CARELESS, lambda _: None)
    assert noticed["duplicated"] > 5
    assert noticed["lost"] > 5


def test_a_seed_tells_the_same_story_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule can be replayed from its seed, step by step."""
    assert tell(7) == []
    first = capsys.readouterr().out
    tell(7)
    assert capsys.readouterr().out == first
    assert "run-1 starts" in first
