"""Runs on a ledger in each database."""

from __future__ import annotations

import pytest

from incarts_pipeline.settings import LedgerPlace


@pytest.fixture
def ledger(place: LedgerPlace) -> LedgerPlace:
    """The place of the ledger, of each kind."""
    return place
