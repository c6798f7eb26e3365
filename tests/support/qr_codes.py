"""QR codes that a run has made, and one that somebody else made."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from incarts_pipeline.api import client_of
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings


def codes() -> list[dict[str, Any]]:
    """Return the rows of qr_codes.parquet."""
    found: list[dict[str, Any]] = pq.read_table("qr_codes.parquet").to_pylist()
    return found


def code() -> dict[str, Any]:
    """Return the only row of qr_codes.parquet."""
    [only] = codes()
    return only


def sent_to(box: Sandbox, path: str) -> list[str | None]:
    """Return the idempotency keys of the requests to paths that end so."""
    return [one.idempotency_key for one in box.requests() if one.path.endswith(path)]


async def take(settings: Settings, link_id: str, identifier: str) -> str:
    """Have somebody else make a code; return its id."""
    client = client_of(settings.for_client())
    async with client:
        made = await client.create_qr_code(
            link_id, {"identifier": identifier, "name": "Theirs"}, idempotency_key="somebody-else"
        )
    return made.id
