"""Locks of a ledger in PostgreSQL: numbers that stand for what is locked, for a transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import sqlalchemy as sa

from incarts_pipeline.ledger.postgres.engine import connection_of

LEDGER = "ledger"  # its making, and its lifting to a new version
PUBLISHED = "published"  # what is published


def key_of(schema: str, what: str | int) -> int:
    """Return the number of a lock: one database has those of all its ledgers."""
    digest = hashlib.blake2b(f"incarts {schema} {what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def lock(connection: sa.Connection, schema: str, what: Iterable[str | int]) -> None:
    """Wait for locks before the next statement, and keep them to the transaction's end.

    Whoever needs several takes them in one order, so that no two wait for each other.
    """
    keys = sorted({key_of(schema, one) for one in what})
    connection_of(connection).later(_LOCK, [keys])


_LOCK = "SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(%s AS bigint[])) AS key"
