"""Search of a graph of worlds, breadth first: the first thing that is wrong is told shortest."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from tests.end_to_end.protocol.rows import Row
from tests.end_to_end.protocol.rules import Bounds, Rules
from tests.end_to_end.protocol.steps import Play
from tests.end_to_end.protocol.worlds import World, Worlds


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What a search saw; `trace` is how it came to what is `wrong`."""

    worlds: int
    transitions: int
    depth: int
    rows: frozenset[Row]
    wrong: str = ""
    trace: Sequence[str] = ()

    def __str__(self) -> str:
        steps = [f"{number:3}. {told}" for number, told in enumerate(self.trace, 1)]
        return "\n".join([*steps, f"     {self.wrong or 'nothing is wrong'}"])


def explore(rules: Rules, bounds: Bounds, *, most: int | None = None) -> Explored:
    """Visit every world that can be reached, or `most`; stop at the first that is wrong."""
    worlds = Worlds(Play(rules, bounds), sorts_rows=rules == Rules())
    first = worlds.first()
    numbers: dict[World, int] = {first: 0}
    found, parents, depths = [first], array("l", [-1]), array("h", [0])
    transitions = number = 0

    def explored(wrong: str = "", last: Sequence[str] = ()) -> Explored:
        trace = [*_trace(worlds, found, parents, number), *last] if wrong else []
        return Explored(
            worlds=len(found),
            transitions=transitions,
            depth=len(trace) or depths[-1],
            rows=frozenset(worlds.row(one) for world in found for one in world.rows),
            wrong=wrong,
            trace=trace,
        )

    while number < len(found) and (most is None or number < most):
        if wrong := worlds.wrong(found[number]):
            return explored(wrong)
        for told, after, wrong in worlds.after(found[number]):
            transitions += 1
            if after is None:
                return explored(wrong, [told])
            if after not in numbers:
                numbers[after] = len(found)
                found.append(after)
                parents.append(number)
                depths.append(depths[number] + 1)
        number += 1
    return explored()


def _trace(worlds: Worlds, found: list[World], parents: array[int], number: int) -> list[str]:
    """Return what was told on the way to a world."""
    way = [number]
    while parents[way[-1]] >= 0:
        way.append(parents[way[-1]])
    told = []
    for before, after in zip(reversed(way[1:]), reversed(way[:-1]), strict=True):
        told.append(
            next(one.told for one in worlds.after(found[before]) if one.world == found[after])
        )
    return told
