"""`python -m tests.end_to_end.simulation SEED` tells the story of one schedule, step by step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tests.end_to_end.simulation.campaign import play
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.world import World


def tell(seed: int) -> list[str]:
    """Print what happens in a schedule and return what is wrong at its end."""
    world = World(seed, MemoryLedger())
    began = world.t

    def say(what: str) -> None:
        print(f"{world.t - began:10.1f}  {what}")  # noqa: T201

    def telling(name: str, words: Callable[[Any, Any], str]) -> None:
        plain = getattr(world, name)

        def told(*arguments: Any) -> Any:
            result = plain(*arguments)
            say(words(arguments, result))
            return result

        setattr(world, name, told)

    server = world.server
    say(f"server: window {server.window:.0f} s, stores errors {server.stores_errors}")
    telling("start", lambda _, p: f"{p.run_id} starts on {p.host}, catalog {world.catalog}")
    telling("send", lambda a, reply: f"  {a[1].correlation_id} → {reply[0]} {reply[1] or ''}")
    telling("rekey", lambda a, _: f"  {a[0].run_id}: moves {a[1].old_key} to {a[1].row_key}")
    telling("roll_back", lambda _, __: "the ledger is rolled back")
    telling("restore", lambda _, __: "a person restores the ledger")
    telling("record", lambda a, _: f"  {a[0].run_id}: {a[1].operation.op_id} is {a[1].state}")
    telling("crash", lambda a, _: f"{a[0].run_id} crashes")
    telling("freeze", lambda a, _: f"{a[0].run_id} is frozen until {a[0].frozen_until - began:.1f}")
    wrong = play(world)
    say("; ".join(wrong) or "nothing is wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(tell(int(sys.argv[1]))))
