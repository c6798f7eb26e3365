"""Stores by their place: which database keeps a ledger."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from incarts_pipeline.errors import MissingExtraError
from incarts_pipeline.installation import install_line
from incarts_pipeline.ledger.sqlite.store import SqliteStore
from incarts_pipeline.ledger.store import Store
from incarts_pipeline.settings import DatabasePlace, LedgerPlace


@lru_cache(maxsize=16)
def store_at(place: LedgerPlace) -> Store:
    """Return the store of the ledger at a place, which need not be there yet.

    Raises:
        MissingExtraError: its driver isn't installed.
    """
    return SqliteStore(place) if isinstance(place, Path) else _postgres(place)


def _postgres(place: DatabasePlace) -> Store:
    try:
        from incarts_pipeline.ledger.postgres.store import PostgresStore
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise MissingExtraError(
            "A ledger in PostgreSQL needs the package psycopg.",
            fix=install_line("postgres"),
        ) from error
    return PostgresStore(place)
