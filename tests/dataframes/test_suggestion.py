"""`suggest_mapping`: the same mapping for every kind of frame, to plan with and to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from incarts_pipeline import plan_links, suggest_mapping
from incarts_pipeline.errors import CatalogError, MappingError
from incarts_pipeline.settings import Settings
from tests.support.shapes import SCRAPED, SHOPIFY

ROWS = [
    {"sku": "00012", "title": "Salt", "url": "https://www.walmart.com/ip/x/5001?a=1"},
    {"sku": "00013", "title": "Oats", "url": "https://www.walmart.com/ip/5002"},
]
TABLE = pa.Table.from_pylist(ROWS)
KINDS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame(ROWS),
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.DataFrame(ROWS).lazy(),
    "arrow": lambda: TABLE,
    "reader": TABLE.to_reader,
    "duckdb": lambda: duckdb.from_arrow(TABLE),
    "dicts": lambda: ROWS,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_has_the_same_mapping(kind: str) -> None:
    """Key, name and items are found alike, whatever holds the rows."""
    made = suggest_mapping(KINDS[kind](), link_set="summer")
    assert made.mapping == suggest_mapping(TABLE, link_set="summer").mapping
    assert made.mapping.unique_key == ["sku"]
    assert made.mapping.link_set == "summer"
    assert not made.doubts


def test_its_mapping_plans(near: Settings) -> None:
    """What is suggested for a frame is what `plan_links` takes."""
    frame = pd.DataFrame(ROWS)
    with plan_links(frame, suggest_mapping(frame).mapping, settings=near) as plan:
        assert plan.figures.calls == 2


def test_an_export_that_pandas_read(near: Settings) -> None:
    """Flags that pandas takes for booleans still tell which rows are products."""
    frame = pd.read_csv(SHOPIFY.write())
    made = suggest_mapping(frame, url=SHOPIFY.shop)
    assert made.mapping.unique_key == ["Handle"]
    with plan_links(frame, made.mapping, settings=near) as plan:
        assert plan.figures.calls == SHOPIFY.links


def test_it_is_shown_and_saved() -> None:
    """The text is the YAML, the card is HTML, and a file that is there stays."""
    made = suggest_mapping(SCRAPED.write())
    assert repr(made) == made.yaml
    assert "Suggested mapping" in made._repr_html_()
    made.save("mapping.yaml")
    assert Path("mapping.yaml").read_text(encoding="utf-8") == made.yaml
    with pytest.raises(MappingError, match="stays as it is"):
        made.save("mapping.yaml")
    made.save("mapping.yaml", overwrite=True)


def test_what_is_said_takes_the_place_of_guesses() -> None:
    """Key and page can be named; a column that isn't there is told with the nearest."""
    made = suggest_mapping(TABLE, unique_key="title", url="https://a.example/{sku}")
    assert made.mapping.unique_key == ["title"]
    assert made.mapping.link is not None
    assert made.mapping.link.products is None
    with pytest.raises(MappingError, match='Did you mean "sku"'):
        suggest_mapping(TABLE, unique_key="SKU")
    with pytest.raises(MappingError, match='Did you mean "shopify"'):
        suggest_mapping(TABLE, preset="shopfy")


def test_a_frame_without_rows_is_refused() -> None:
    """There is nothing to look at."""
    with pytest.raises(CatalogError, match="nothing to look at"):
        suggest_mapping(TABLE.slice(0, 0))


@pytest.mark.parametrize(
    ("name", "field", "is_offer"),
    [
        ("walmart_item_id", "link.products.retailer_product_id", False),
        ("store_id", "link.location.store_id", True),
        ("alternates", "link.products.backup_product_ids", True),
    ],
)
def test_ids_that_became_floats_are_told(
    name: str, field: str, is_offer: bool, near: Settings
) -> None:
    """A column that can't feed its field is a doubt with the fix; what isn't needed is left out."""
    columns = {"sku": ["a", "b"], "title": ["Salt", "Oats"], "walmart_item_id": ["5001", "5002"]}
    frame = pd.DataFrame(columns | {"zip": ["72712", "72712"], name: [5001.0, 5002.0]})
    made = suggest_mapping(frame, link_set="summer")
    found = made.suggestion.finding(field)
    assert found is not None
    assert found.is_offer is is_offer
    assert "is of type double" in (found.doubt or "")
    assert "dtype=str" in (found.doubt or "")
    if is_offer:
        with plan_links(frame, made.mapping, settings=near) as plan:
            assert plan.figures.calls == 2
    with pytest.raises(MappingError, match='Did you mean "sku"'):
        suggest_mapping(frame, unique_key="SKU")


def test_a_frame_of_floats_alone_is_told() -> None:
    """Even where there is nothing else, it is the caller who decides."""
    made = suggest_mapping(pd.DataFrame({"walmart_item_id": [5001.0, 5002.0]}))
    assert "is of type double" in made.yaml
