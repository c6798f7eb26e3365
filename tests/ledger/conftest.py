"""A ledger for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.settings import LedgerPlace
from tests.support.ledgers import HOST


@pytest.fixture
def engine(place: LedgerPlace) -> Iterator[sa.Engine]:
    """A fresh ledger with one link set, in each database."""
    engine = prepare_file(place, HOST)
    with engine.begin() as connection:
        assert ensure_sets(connection, "demo", ["s"], ["sku"]) == {"s": 1}
    yield engine
    engine.dispose()
