"""Stores by their place: which database keeps a ledger."""

from __future__ import annotations

from functools import lru_cache

from incarts_pipeline.ledger.sqlite.store import SqliteStore
from incarts_pipeline.ledger.store import Store
from incarts_pipeline.settings import LedgerPlace


@lru_cache(maxsize=16)
def store_at(place: LedgerPlace) -> Store:
    """Return the store of the ledger at a place, which need not be there yet."""
    return SqliteStore(place)
