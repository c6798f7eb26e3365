"""A ledger in PostgreSQL for each test."""

from __future__ import annotations

import pytest

from incarts_pipeline.settings import DatabasePlace, LedgerPlace


@pytest.fixture
def place(database: DatabasePlace) -> LedgerPlace:
    """A database of its own."""
    return database
