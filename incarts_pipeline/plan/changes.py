"""Changes: which fields differ from a row's link, by group, and between rows that share a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from incarts_pipeline.identity import changed_fields, group_hashes
from incarts_pipeline.ledger import GroupHashes, group_hashes_of, open_engine
from incarts_pipeline.models import Policy
from incarts_pipeline.plan import queries
from incarts_pipeline.plan.workspace import Workspace

GROUPS = ("destination", "tracking", "label")
_BATCH = 20_000
_NAMED = 5  # fields that a message names

_SCHEMA = pa.schema(
    [
        ("link_set", pa.string()),
        ("catalog_row", pa.int64()),
        ("groups", pa.list_(pa.string())),
        ("policy", pa.string()),
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


def compare(workspace: Workspace, ledger: Path | None, on_change: Mapping[str, Policy]) -> None:
    """Fill the table `changed`: the groups that differ, and the policy, of each differing row."""
    workspace.fill("changed", _SCHEMA, [])
    if ledger is None:
        return
    reader = workspace.stream(queries.DIFFERING, _BATCH)
    engine = open_engine(ledger, read_only=True)
    try:
        for batch in reader:
            with engine.begin() as connection:
                old = group_hashes_of(connection, batch.column("current_op").to_pylist())
            rows = [_compare_row(row, old, on_change) for row in batch.to_pylist()]
            workspace.db.register("incoming", pa.Table.from_pylist(rows, schema=_SCHEMA))
            workspace.db.execute("INSERT INTO changed SELECT * FROM incoming")
            workspace.db.unregister("incoming")
    finally:
        engine.dispose()


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


def _compare_row(
    row: dict[str, object], old: Mapping[int, GroupHashes], on_change: Mapping[str, Policy]
) -> dict[str, object]:
    body, op_id = row["body"], row["current_op"]
    if not isinstance(body, str) or not isinstance(op_id, int):
        raise TypeError(f"not a differing row: {row!r}")
    new = group_hashes(body.encode())
    groups = [name for name, was, now in zip(GROUPS, old[op_id], new, strict=True) if was != now]
    return {
        "link_set": row["link_set"],
        "catalog_row": row["catalog_row"],
        "groups": groups,
        "policy": policy_for(groups, on_change).value,
    }
