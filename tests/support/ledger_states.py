"""Ledgers in any state: what was made, refused, disputed or left open of each row, as told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.tables import row_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One operation of a row; `uses` says that it is the row's link that this one made."""

    set_id: int
    row_key: str
    content_hash: bytes
    body: str = "{}"
    state: str = "done"
    uses: bool = False
    missing: bool = False
    disputed: bool = False


def fill(engine: sa.Engine, made: Sequence[Made]) -> None:
    """Replace all that a ledger knows of rows by some operations, numbered from 1."""
    with engine.begin() as connection:
        for table in ("row", "link", "body", "operation"):
            connection.exec_driver_sql(f'DELETE FROM "{table}"')
        for op_id, one in enumerate(made, 1):
            _add(connection, op_id, one)


def _add(connection: sa.Connection, op_id: int, one: Made) -> None:
    connection.execute(
        sa.insert(tables.operation).values(
            op_id=op_id,
            idempotency_key=f"key-{op_id}",
            set_id=one.set_id,
            row_key=one.row_key,
            generation=0,
            action="create",
            retailer="walmart",
            intent="custom_url",
            content_hash=one.content_hash,
            destination_hash=b"d" * 32,
            tracking_hash=b"t" * 32,
            label_hash=b"l" * 32,
            recipe=1,
            state=one.state,
            run_id="r1",
            epoch=1,
            attempts=1,
            first_sent_at=None if one.state == "intended" else 1_000,
            first_sent_boot=0.0,
            boot_id="boot",
            intended_at=1_000,
        )
    )
    if one.content_hash:
        body = json.dumps(json.loads(one.body)).encode()
        connection.execute(sa.insert(tables.body).values(op_id=op_id, body=body))
    if one.state == "done":
        proof = "disputed" if one.disputed else None
        connection.execute(
            sa.insert(tables.link).values(
                op_id=op_id, link_id=f"lnk-{op_id}", received_at=2_000, run_id="r1", proof=proof
            )
        )
    if one.uses:
        values = row_values(
            (one.set_id, one.row_key),
            op_id,
            one.content_hash,
            f"lnk-{op_id}",
            changed_at=2_000,
            run_id="r1",
            missing_since=3_000 if one.missing else None,
        )
        connection.execute(sa.insert(tables.row).values(values))
