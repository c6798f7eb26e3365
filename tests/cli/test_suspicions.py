"""Suspicions in a plan: what is held, and how to let it through."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from incarts_pipeline import plan_links
from incarts_pipeline.settings import Settings
from tests.support.runs import products
from tests.support.shell import Shell

GTIN = "012345678905"


def test_plans_tell_what_is_held_and_how_to_let_it_through(
    settings: Settings, shell: Shell
) -> None:
    """In the shell, as JSON and in Python, each in its own words."""
    catalog = products(3, retailer_product_id=["500000", GTIN, "1234567890123450"])
    pq.write_table(catalog, "catalog.parquet")
    asked = ["plan", "catalog.parquet", "--link-set", "test", "--unique-key", "sku"]
    code, out, _ = shell(*asked)
    assert code == 0
    assert "products.retailer_product_id: looks_like_gtin (suspicious), e.g. row 1" in out
    assert "2 rows are held as suspicious (looks_like_gtin 1, looks_rounded 1)" in out
    assert "--accept CODE lets through what is meant" in out
    _, out, _ = shell(*asked, "--accept", "looks_like_gtin", "--accept", "looks_rounded", "--json")
    told = json.loads(out)
    assert (told["calls"], told["problems"]) == (3, [])
    _, out, _ = shell(*asked, "--json", "--accept", "looks_rounded")
    [problem] = json.loads(out)["problems"]
    assert (problem["severity"], problem["rows"]) == ("suspicion", 1)
    plan = plan_links(catalog, link_set="test", unique_key="sku", settings=settings)
    assert 'accept=["looks_like_gtin", "looks_rounded"] lets through' in repr(plan)
    assert "held: an item id looks like a GTIN" in plan._repr_html_()
