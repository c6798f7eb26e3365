"""Baskets: rows that share a key become one link, whatever their order."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare

MAPPING: dict[str, Any] = {
    "link_set": "baskets",
    "unique_key": ["basket"],
    "link": {
        "name": {"column": "name"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "basket": True,
        "products": {
            "retailer_product_id": {"column": "item"},
            "quantity": {"column": "qty"},
            "backup_product_ids": {"column": "backups", "split": ","},
        },
        "metadata": {"team": {"column": "team"}},
    },
    "priority": {"column": "priority"},
    "pinned": {"column": "pinned"},
}
SCHEMA = pa.schema(
    {
        "basket": pa.string(),
        "name": pa.string(),
        "item": pa.string(),
        "qty": pa.int64(),
        "backups": pa.string(),
        "team": pa.string(),
        "priority": pa.float64(),
        "pinned": pa.bool_(),
    }
)


def line(basket: str | None, item: str | None, qty: int = 1, **more: object) -> dict[str, Any]:
    return {"basket": basket, "name": f"Basket {basket}", "item": item, "qty": qty, **more}


def folded(
    rows: list[dict[str, Any]],
    *,
    limits: Limits | None = None,
    mapping: dict[str, Any] = MAPPING,
    size: int = 3,
) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    batches = prepare(
        table.to_batches(max_chunksize=size),
        load_mapping(mapping),
        schema=SCHEMA,
        project_id="project",
        limits=limits or Limits(),
    )
    return [row for batch in batches for row in batch.to_pylist()]


def products(row: dict[str, Any]) -> list[tuple[str, int]]:
    listed = json.loads(row["body"])["products"]
    return [(product["retailerProductId"], product["quantity"]) for product in listed]


def codes(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["field"], problem["code"]) for problem in row["problems"]]


def test_rows_of_a_basket_are_one_link_in_catalog_order() -> None:
    """Rows of a basket may be anywhere; each carries the whole body, equal products added up."""
    rows = [line("1", "9", 1), line("2", "8", 2), line("1", "7", 3), line("1", "9", 5)]
    found = folded(rows)
    assert [row["catalog_row"] for row in found] == [0, 1, 2, 3]
    assert products(found[0]) == [("7", 3), ("9", 6)]
    assert products(found[1]) == [("8", 2)]
    assert len({found[n]["body"] for n in (0, 2, 3)}) == 1
    assert len({found[n]["content_hash"] for n in (0, 2, 3)}) == 1
    assert [row["key"]["basket"] for row in found] == ["1", "2", "1", "1"]


@pytest.mark.slow
@settings(max_examples=25)
@given(st.data())
def test_order_never_changes_the_content(data: st.DataObject) -> None:
    """Shuffled rows, cut into other batches, give each basket the same body."""
    numbers = st.integers(0, 3).map(str)
    rows = data.draw(
        st.lists(
            st.builds(line, numbers, st.text(min_size=1, max_size=3), st.integers(1, 5)),
            max_size=15,
        )
    )
    shuffled = data.draw(st.permutations(rows))
    bodies = {(row["row_key"], row["body"]) for row in folded(rows)}
    other = {(row["row_key"], row["body"]) for row in folded(shuffled, size=5)}
    assert bodies == other


def test_differing_link_fields_reject_the_basket() -> None:
    """Rows that disagree about the link name the field and each other."""
    rows = [line("1", "9", team="a"), line("1", "8", team="b"), line("2", "7")]
    found = folded(rows)
    assert codes(found[0]) == codes(found[1]) == [("metadata.team", "basket_differs")]
    assert "rows 0, 1" in found[0]["problems"][0]["message"]
    assert found[0]["body"] is None
    assert not found[2]["problems"]


def test_a_product_with_different_backups_rejects_the_basket() -> None:
    """The same product can't have two sets of backups."""
    rows = [line("1", "9", backups="a"), line("1", "9", backups="b")]
    found = folded(rows)
    assert codes(found[0]) == [("products.backup_product_ids", "basket_differs")]
    assert '"9"' in found[0]["problems"][0]["message"]
    assert "rows 0, 1" in found[0]["problems"][0]["message"]


def test_one_bad_line_rejects_the_basket() -> None:
    """Every row of the basket carries the bad line's problem, with its row."""
    found = folded([line("1", "9"), line("1", "8", 0), line("2", "7")])
    for row in found[:2]:
        assert codes(row) == [("products.quantity", "not_a_count")]
        assert row["problems"][0]["message"].startswith("Row 1 ")
        assert row["body"] is None
    assert found[2]["body"]


def test_limits_count_for_the_whole_basket() -> None:
    """Quantities that add up, the number of products and the body's size have their limits."""
    rows = [line("1", "9", 6), line("1", "9", 6), line("2", "1"), line("2", "2"), line("2", "3")]
    found = folded(rows, limits=Limits(max_quantity=10, max_products=2))
    assert codes(found[0]) == [("products.quantity", "over_limit")]
    assert codes(found[2]) == [("products", "over_limit")]
    found = folded(rows, limits=Limits(max_body_bytes=10))
    assert ("body", "over_limit") in codes(found[0])


def test_priority_and_pinned_are_the_baskets() -> None:
    """The most urgent row counts, and one pinned row pins the basket."""
    rows = [line("1", "9", priority=1.0, pinned=True), line("1", "8", priority=5.0), line("2", "7")]
    found = folded(rows)
    assert [row["priority"] for row in found] == [5.0, 5.0, None]
    assert [row["pinned"] for row in found] == [True, True, False]


def test_rows_without_a_key_stand_alone() -> None:
    """A row whose key is null belongs to no basket and has its own problem."""
    found = folded([line(None, "9"), line(None, "8"), line("1", "7")])
    assert [codes(row) for row in found] == [[("unique_key", "empty_key")]] * 2 + [[]]


def test_stopping_early_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops reading gets the temporary files removed, and no rows make no trouble."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = pa.Table.from_pylist([line("1", "9"), line("2", "8")], schema=SCHEMA)
    batches = prepare(
        table.to_batches(), load_mapping(MAPPING), schema=SCHEMA, project_id="p", limits=Limits()
    )
    next(batches)
    assert list(tmp_path.iterdir())
    batches.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())
    assert folded([]) == []


def test_baskets_beside_other_entries() -> None:
    """In a wide table one entry may make baskets and the other a link per row."""
    basket = MAPPING["link"]
    single = {"name": {"column": "item"}, "retailer": "a", "intent": "custom_url",
              "custom_url": "https://a.b"}  # fmt: skip
    mapping = {"link_set": "x", "unique_key": "basket", "links": {"b": basket, "s": single}}
    found = folded([line("1", "9"), line("1", None), line("1", "7")], mapping=mapping)
    assert [row["link_set"] for row in found] == ["x/b", "x/s"] * 3
    assert [row["wanted"] for row in found] == [True, True, False, True, True, True]
    assert products(found[0]) == [("7", 1), ("9", 1)]
    assert found[2]["body"] is None
    assert json.loads(found[1]["body"])["name"] == "9"
    assert codes(found[3]) == [("name", "missing")]


def test_many_rows_come_back_in_order() -> None:
    """Baskets spread over many batches keep every catalog row in its place."""
    rows = [line(str(n % 700), str(n // 700)) for n in range(20_000)]
    found = folded(rows, size=4_096)
    assert [row["catalog_row"] for row in found] == list(range(20_000))
    assert [row["row_key"] for row in found] == [row["basket"] for row in rows]
    assert len(products(found[0])) == 29
