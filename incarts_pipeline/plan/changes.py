"""Changes: what differs from a row's link, by policy and value, and between rows of one key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from incarts_pipeline.differences import Difference, changed_fields, differences, snake
from incarts_pipeline.identity import GROUPS as _MEMBERS, group_hashes
from incarts_pipeline.ledger import GroupHashes, bodies_of, group_hashes_of, open_engine
from incarts_pipeline.models import Policy
from incarts_pipeline.plan import queries
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.settings import LedgerPlace

GROUPS = tuple(_MEMBERS)
_GROUP_OF = {snake(name): group for group, names in _MEMBERS.items() for name in names}
_BATCH = 4_096  # rows; each has two bodies
_NAMED = 5  # fields that a message names
_KEPT = 20  # differences of one row; a basket of 200 products may have 400

# `fields` are all that differ, sorted; null where nobody knows what the link was made with.
_SCHEMA = pa.schema(
    [
        ("link_set", pa.string()),
        ("catalog_row", pa.int64()),
        ("policy", pa.string()),
        ("fields", pa.list_(pa.string())),
        ("differences", pa.int32()),
    ]
)
_DIFFERENCE_SCHEMA = pa.schema(
    [
        ("link_set", pa.string()),
        ("catalog_row", pa.int64()),
        ("place", pa.int32()),
        ("field", pa.string()),
        ("path", pa.string()),
        ("old", pa.string()),
        ("new", pa.string()),
    ]
)
_CLASH_SCHEMA = pa.schema(
    [("link_set", pa.string()), ("row_key", pa.string()), ("fields", pa.string())]
)


def policy_for(groups: list[str], on_change: Mapping[str, Policy]) -> Policy:
    """Return what the changed groups ask for together: hold wins, then replace."""
    asked = {on_change[group] for group in groups}
    for policy in (Policy.HOLD, Policy.REPLACE):
        if policy in asked:
            return policy
    return Policy.IGNORE


def compare(
    workspace: Workspace, ledger: LedgerPlace | None, on_change: Mapping[str, Policy]
) -> None:
    """Fill the tables `changed`, a row for each differing one, and `difference`, one for a value.

    `changed` has the policy and the fields, `difference` the first values of each row as they were
    and as they are.
    """
    workspace.fill("changed", _SCHEMA, [])
    workspace.fill("difference", _DIFFERENCE_SCHEMA, [])
    if ledger is None:
        return
    reader = workspace.stream(queries.DIFFERING, _BATCH)
    engine = open_engine(ledger, read_only=True)
    try:
        for batch in reader:
            with engine.begin() as connection:
                op_ids = batch.column("current_op").to_pylist()
                bodies = bodies_of(connection, op_ids)
                same = [op_id for op_id, body in _pairs(batch) if bodies.get(op_id) in (None, body)]
                hashes = group_hashes_of(connection, same) if same else {}
            _store(workspace, batch, bodies, hashes, on_change)
    finally:
        engine.dispose()


def _pairs(batch: pa.RecordBatch) -> list[tuple[int, bytes]]:
    bodies = batch.column("body").cast(pa.binary()).to_pylist()
    return list(zip(batch.column("current_op").to_pylist(), bodies, strict=True))


def _store(
    workspace: Workspace,
    batch: pa.RecordBatch,
    bodies: Mapping[int, bytes],
    hashes: Mapping[int, GroupHashes],
    on_change: Mapping[str, Policy],
) -> None:
    rows: list[dict[str, Any]] = []
    values: list[tuple[Any, ...]] = []
    places = batch.select(["link_set", "catalog_row"]).to_pylist()
    for place, (op_id, body) in zip(places, _pairs(batch), strict=True):
        old = bodies.get(op_id)
        found = differences(old, body) if old is not None else None
        # A code has the body that it had, and another link.
        groups = _groups(found) if found else _hashed_groups(hashes[op_id], body)
        fields = None if found is None else sorted({one.field for one in found})
        told = {"policy": policy_for(groups, on_change).value, "fields": fields}
        rows.append({**place, **told, "differences": len(found or ())})
        where = tuple(place.values())
        values += [
            (*where, at, one.field, one.path, one.old, one.new)
            for at, one in enumerate((found or ())[:_KEPT])
        ]
    workspace.add("changed", pa.Table.from_pylist(rows, schema=_SCHEMA))
    if values:
        columns = zip(*values, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _DIFFERENCE_SCHEMA, strict=True)]
        workspace.add("difference", pa.Table.from_arrays(arrays, schema=_DIFFERENCE_SCHEMA))


def _groups(found: Sequence[Difference]) -> list[str]:
    members = {one.field.partition(".")[0] for one in found}
    return sorted({_GROUP_OF[name] for name in members if name in _GROUP_OF})


def _hashed_groups(old: GroupHashes, body: bytes) -> list[str]:
    return [
        name for name, was, now in zip(GROUPS, old, group_hashes(body), strict=True) if was != now
    ]


def tell_clashes(workspace: Workspace) -> None:
    """Note in the table `shared` which fields differ between rows that share a key."""
    found = [
        {"link_set": link_set, "row_key": row_key, "fields": _listed(*bodies)}
        for link_set, row_key, bodies in workspace.db.execute(queries.CLASHING).fetchall()
    ]
    if found:
        workspace.fill("clash", _CLASH_SCHEMA, found)
        workspace.db.execute(queries.CLASHES)


def _listed(one: str, other: str) -> str:
    names = changed_fields(one.encode(), other.encode())
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
