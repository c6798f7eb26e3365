"""Stories of the model, carried out with the library's statements on SQLite step by step."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from incarts_pipeline.ledger.attempts import Outcome, Sent
from incarts_pipeline.ledger.claims import Operation
from incarts_pipeline.models import Answer, AnswerKind, Link, State
from tests.end_to_end.protocol.ledger import Lease, living
from tests.end_to_end.protocol.rows import At, Row, Task, call, stamp
from tests.end_to_end.protocol.rules import Bounds, Rules
from tests.end_to_end.protocol.worlds import World, Worlds
from tests.end_to_end.simulation.ledgers import Ledger

_STEPS = 60
_ANOTHER = -1  # an operation that is in use no more
_DULL = ("time passes", "stands still", "ends", "is killed")  # the ledger hears nothing of it


@dataclass(slots=True)
class _Held:
    """What a worker has in memory of the row's operation."""

    operation: Operation
    number: int  # of its last attempt


@dataclass(slots=True)
class Story:
    """One way through the `worlds` of all stories; `steps` counts what the ledger was told."""

    ledger: Ledger
    bounds: Bounds
    worlds: Worlds
    steps: int = 0
    _ticks: int = 0
    _held: dict[int, _Held] = field(default_factory=dict)

    def tell(self, seed: int) -> list[str]:
        """Go one way by chance; return the step after which the two ledgers differ."""
        dice = random.Random(seed)
        worlds, told = self.worlds, []
        world = worlds.first()
        for _ in range(_STEPS):
            ways = [one for one in worlds.after(world) if one.world is not None]
            if not ways:
                break
            weights = [1 if one.told.endswith(_DULL) else 6 for one in ways]
            [way] = dice.choices(ways, weights)
            assert way.world is not None
            told.append(way.told)
            before, after = worlds.row(world.rows[0]), worlds.row(way.world.rows[0])
            self._ticks += way.told.startswith("time passes")
            had_steps = self.steps
            for worker in (0, 1):
                if (lease := world.workers[worker]) is not None:
                    self._step(way.told, worker, lease, world, before, after)
            world = way.world
            if self.steps == had_steps:
                continue  # nothing was told, so that nothing can differ
            if (ours := self._known()) != (theirs := _known(after)):
                return [*told, f"SQLite has {ours}, the model {theirs}"]
        return []

    def _step(
        self, told: str, worker: int, lease: Lease, world: World, before: Row, after: Row
    ) -> None:
        if not told.startswith(f"{lease.run_id},"):
            return
        was, task = before.tasks[worker], after.tasks[worker]
        runs = living((*(one for one in world.workers if one), *world.dead), Rules())
        if "claims the doubt" in told:
            found = self.ledger.doubts(lease.run_id, runs)
            self._holds(worker, task, found[0] if found else None)
        elif "claims the call" in told:
            self._claims(worker, lease, runs, before, task)
        elif "is on disk" in told:
            self._writes(told, worker, lease, was, task)

    def _claims(
        self, worker: int, lease: Lease, runs: frozenset[str], before: Row, task: Task
    ) -> None:
        expected = before.tasks[worker].expected
        if expected is not None:
            expected = self.ledger.row("1").op_id if expected == before.used else _ANOTHER
        wanted = call(self.bounds.contents[worker], expected)
        now = stamp(worker, -self._ticks, self.bounds.clocks[worker])
        _, operation = self.ledger.claim(wanted, lease.run_id, runs, now)
        self._holds(worker, task, operation)

    def _holds(self, worker: int, task: Task, operation: Operation | None) -> None:
        assert (task.at is At.CLAIMED) == (operation is not None), (task, operation)
        self.steps += 1
        if operation is not None:
            self._held[worker] = _Held(operation, operation.operation_state.attempts)

    def _writes(self, told: str, worker: int, lease: Lease, was: Task, task: Task) -> None:
        held = self._held[worker]
        now = stamp(worker, -self._ticks, self.bounds.clocks[worker])
        for outcome in was.outcomes:
            made = Link(id=outcome.link) if outcome.link else None
            kind = AnswerKind.LINK if made else AnswerKind.UNKNOWN
            asked = outcome.state is not State.NEEDS_REVIEW
            self.steps += 1
            self.ledger.record(
                lease.run_id,
                Outcome(
                    operation=replace(held.operation, for_history=outcome.for_history),
                    state=outcome.state,
                    at=now,
                    number=held.number if asked else None,
                    answer=Answer(kind=kind, correlation_id="", made=made) if asked else None,
                ),
            )
        if "the mark" in told:
            held.number += 1
            self.steps += 1
            sent = Sent(
                operation=held.operation,
                number=held.number,
                correlation_id=f"{lease.run_id} {held.number}",
                api_key_fingerprint=None,
                at=now,
            )
            assert self.ledger.mark_sent(lease.run_id, sent) == (task.at is At.MARKED), told

    def _known(self) -> object:
        contents = {call(one, None).content_hash: one for one in self.bounds.contents}
        used = self.ledger.row("1").content_hash
        ops = sorted(
            (contents[one.content_hash], one.generation, one.state, sorted(one.links))
            for one in self.ledger.operations()
        )
        return ops, contents[used] if used else None


def _known(row: Row) -> object:
    ops = sorted((one.content, one.generation, one.state, sorted(one.links)) for one in row.ops)
    used = next((one.content for one in row.ops if one.op_id == row.used), None)
    return ops, used
