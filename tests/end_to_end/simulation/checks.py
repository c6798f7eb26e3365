"""What must be true of a world, whatever befell it; each check names what is wrong."""

from __future__ import annotations

from incarts_pipeline.models import State
from tests.end_to_end.simulation.process import content_hash
from tests.end_to_end.simulation.world import World

_FLAGGED = (State.SENT, State.IN_DOUBT, State.NEEDS_REVIEW)


def duplicates(world: World) -> list[str]:
    """Return the links that were made for a row and a content that had one already."""
    return world.duplicates


def lost(world: World) -> list[str]:
    """Return links that neither the ledger has nor a flagged row stands for.

    A restored ledger holds the keys that it doesn't know, and one that has yet to be restored is
    refused. A row that has another row's link of the same content misses nothing.
    """
    if world.is_refused:
        return []
    owner = {op.key: op for op in world.ledger.operations()}
    made = {link_id: (key, body) for key, body, link_id in world.server.links}
    held = world.ledger.held()
    found = []
    for key, body, link_id in world.server.links:
        op = owner.get(key) or owner.get(key.rpartition("-")[0])  # with an attempt's number
        if op is None and key.removeprefix("incarts1-") in held:
            continue
        if op is None:
            found.append(f"{link_id}: the ledger doesn't know its key {key}")
        elif op.state in _FLAGGED or link_id in op.links:
            continue
        elif not any(made[one][1] == body and made[one][0] != key for one in op.links):
            found.append(f"{link_id} of row {op.row_key}: {op.state}, without it")
    return found


def wrong(world: World) -> list[str]:
    """Return the operations that have a link of other content."""
    made = {link_id: content_hash(body) for _, body, link_id in world.server.links}
    return [
        f"row {op.row_key} has {link_id}, which is of other content"
        for op in world.ledger.operations()
        for link_id in op.links
        if made[link_id] != op.content_hash
    ]


def forgotten(world: World, *, reviewed: bool = False) -> list[str]:
    """Return the rows of the catalog that have no link, and nothing that says why.

    A flagged row says why, until a person has reviewed it.
    """
    found = []
    for row_key, body in world.catalog.items():
        row = world.ledger.row(row_key)
        if row.content_hash == content_hash(body):
            continue
        states = {op.state for op in row.operations if op.content_hash == content_hash(body)}
        flagged = any(op.state in _FLAGGED for op in row.operations)
        if State.REJECTED not in states and (reviewed or not flagged):
            found.append(f"row {row_key} has no link for {body!r}: {sorted(states)}")
    return found


def disputed(world: World) -> list[str]:
    """Return the rows of the catalog that use a disputed link, and nothing says so."""
    found = []
    for row_key in world.catalog:
        row = world.ledger.row(row_key)
        flagged = any(op.state in _FLAGGED for op in row.operations)
        used = [op.disputed for op in row.operations if op.op_id == row.op_id]
        if any(row.link_id in links for links in used) and not flagged:
            found.append(f"row {row_key} uses {row.link_id}, which is disputed")
    return found


def undone(world: World) -> list[str]:
    """Return what was done once and isn't any more.

    A link may be disputed, or have moved to another row: then it is that one's.
    """
    known = {op.op_id: op for op in world.ledger.operations()}
    return [
        f"operation {op_id} was done with {sorted(links)}"
        for op_id, links in world.settled.items()
        if op_id not in known
        or known[op_id].state not in (State.DONE, State.MOVED, State.NEEDS_REVIEW)
        or not links <= known[op_id].links
    ]


def rewritten(world: World) -> list[str]:
    """Return the keys under which different bytes were sent."""
    return [f"{key}: {bodies}" for key, bodies in world.server.bodies.items() if len(bodies) > 1]


def always(world: World) -> list[str]:
    """Return what is wrong at any moment."""
    return [*duplicates(world), *lost(world), *wrong(world), *undone(world), *rewritten(world)]
