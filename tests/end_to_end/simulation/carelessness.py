"""Carelessness: each rule of the library, broken in a simulated world by a function of its own.

    python -m tests.end_to_end.simulation.carelessness --schedules 20000

prints the table of docs/exactly-once.md: what the checks find in the same schedules, with all
faults, when one rule is broken.
"""

from __future__ import annotations

import argparse
import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from incarts_pipeline.api.attribution import attribute
from incarts_pipeline.clock import Stamp
from incarts_pipeline.ledger.state_machine import Replay, ReplayRule
from incarts_pipeline.models import AnswerKind
from tests.end_to_end.simulation.campaign import Careless, careless
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.world import World

_FOUND = ("duplicated", "lost", "wrong")


class _Blind(ReplayRule):
    """Replays whatever its age."""

    __slots__ = ()

    def judge(self, first_sent: Stamp, now: Stamp, api_key_fingerprint: str | None) -> Replay:
        """Say yes."""
        return Replay.ALLOWED


def new_keys(world: World) -> None:
    """Use a new key for each attempt."""
    world.writer.keys_per_attempt = True


def blind(world: World) -> None:
    """Replay a key whatever its age."""
    world.writer.rule = _Blind


def marks_late(world: World) -> None:
    """Record an attempt only once it was sent."""
    world.writer.marks_first = False


def forgets_doubts(world: World) -> None:
    """Believe a 429 or a 422 on a replay."""
    world.writer.answered = lambda state, kind: replace(state, doubtful=False).answered(kind)


def believes_redirects(world: World) -> None:
    """Believe that a 303 made nothing."""
    world.writer.see_other = AnswerKind.WRONG_ENDPOINT


def unwitnessed(world: World) -> None:
    """Take a ledger that was rolled back for the newest."""
    world.writer.witnessed = False


def forgets_lost(world: World) -> None:
    """Restore a backup without the keys of which it knows nothing."""
    memory(world).holds_lost = False


def forgets_unsent(world: World) -> None:
    """Restore a backup without the keys that were not yet sent in it."""
    memory(world).holds_unsent = False


def forgets_moves(world: World) -> None:
    """Witness nothing of the keys to which links moved."""
    memory(world).names_moves = False


def moves_doubts(world: World) -> None:
    """Move a link to a row that is in doubt."""
    memory(world).moves_doubts = True


def believes_all(world: World) -> None:
    """Believe every answer."""
    world.writer.attribute = lambda answer, _: answer


def ignores_echoes(world: World) -> None:
    """Compare contents, and no correlation ids."""
    world.writer.attribute = lambda answer, request: attribute(
        replace(answer, echoed_id=None), request
    )


def believes_earlier(world: World) -> None:
    """Believe a 429 that is an earlier attempt's."""
    world.writer.attribute = lambda answer, request: attribute(
        replace(answer, echoed_id=None) if answer.echoed_id in request.earlier else answer, request
    )


def ignores_content(world: World) -> None:
    """Compare correlation ids, and no contents."""
    world.writer.attribute = lambda answer, request: attribute(answer, replace(request, body=b"{}"))


def shares_links(world: World) -> None:
    """Give a row a link that another row has."""
    memory(world).owns_links = False


def keeps_connections(world: World) -> None:
    """Keep a connection after another's answer or a 5xx."""
    world.writer.is_in_step = lambda _: True


def sends_blindly(world: World) -> None:
    """Send on a connection on which bytes wait."""
    world.writer.looks_first = False


def careful(world: World) -> None:
    """Keep all the rules."""


ALL: Sequence[Careless] = (
    new_keys,
    blind,
    marks_late,
    forgets_doubts,
    believes_redirects,
    unwitnessed,
    forgets_lost,
    forgets_unsent,
    forgets_moves,
    moves_doubts,
    believes_all,
    ignores_echoes,
    believes_earlier,
    ignores_content,
    shares_links,
    keeps_connections,
    sends_blindly,
    careful,
)


def memory(world: World) -> MemoryLedger:
    """Return the model that a world has."""
    assert isinstance(world.ledger, MemoryLedger)
    return world.ledger


def line(change: Careless, found: Counter[str], schedules: int) -> str:
    """Return a carelessness and the share of schedules in which it did harm as a table's line."""
    told = (inspect.getdoc(change) or "").removesuffix(".")
    words = told[:1].lower() + told[1:]
    shares = [f"{found[what] / schedules:.2%}" if found[what] else "0" for what in _FOUND]
    return f"| {' | '.join([words, *shares])} |".replace("%", " %")


def main() -> None:
    """Play the schedules once with each carelessness, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=20_000)
    schedules = parser.parse_args().schedules
    say(
        "| a writer that would | makes a duplicate in | loses a link in | takes another's link in |"
    )
    say("|---|---|---|---|")
    for change in ALL:
        say(line(change, careless(range(schedules), change), schedules))


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
