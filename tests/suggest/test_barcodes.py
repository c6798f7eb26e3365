"""Barcodes among item ids: held where they are ones, let through where they are so by chance."""

from __future__ import annotations

import pyarrow as pa
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.suggest import suggestion_for

BARCODES = ["4006381333931", "0012345678905", "036000291452", "5901234123457"]
IDS = [f"60001960{n:05}" for n in range(990, 1090, 3)]


def accepted(ids: list[str]) -> object:
    """Return the suspicions that are accepted for a table of Walmart's items."""
    table = pa.table({"walmart_item_id": ids, "name": [f"Item {n}" for n in range(len(ids))]})
    found = suggestion_for(open_catalog(table)).finding("accept")
    return None if found is None else found.value


def test_ids_that_look_like_barcodes_by_chance() -> None:
    """One in ten of any ids has the last digit of a barcode: those rows need not be held."""
    assert accepted(IDS) == ["looks_like_gtin"]


@pytest.mark.parametrize(
    "ids",
    [BARCODES * 4, IDS[:4], ["550098461", "550098462"], IDS[:12] + BARCODES * 4],
    ids=["barcodes", "few", "short", "mixed"],
)
def test_barcodes_stay_suspicious(ids: list[str]) -> None:
    """Where many last digits are right, or nobody can tell, a person has to look."""
    assert accepted(ids) is None
