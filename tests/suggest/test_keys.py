"""Keys: what says what a row is, over all rows, and what speaks against it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.suggest import Finding, suggestion_for
from incarts_pipeline.suggest.profile import SAMPLE_ROWS

NAMES = ["Salt", "Oats", "Rye"]
LINKS = [f"https://shop.example/{n}" for n in range(3)]


def key_of(**columns: list[Any]) -> Finding:
    """Return the finding about a table's key."""
    table = {"name": NAMES, "link": LINKS} | columns
    found = suggestion_for(open_catalog(pa.table(table))).finding("unique_key")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"sku": ["A1", "A2", "A3"], "gtin": ["1", "2", "3"]}, ["sku"]),
        ({"sku": ["A1", None, None], "gtin": ["11", "12", "13"]}, ["gtin"]),
        ({"SKU": ["A1", "A1", "A2"], "Product ID": [7, 8, 9]}, ["Product ID"]),
        ({"our_code": ["x-1", "x-2", "x-3"], "rank": [3, 1, 2]}, ["our_code"]),
        ({"price": [1, 2, 3], "stock": ["4", "5", "6"]}, ["link"]),
        ({"id": [1, 2, 3], "handle": ["salt", "oats", "rye"]}, ["handle"]),
        ({"Unnamed: 0": [0, 1, 2], "index": [5, 6, 7]}, ["link"]),
        ({"id": [1.0, 2.0, 3.0]}, ["link"]),
        ({"item": ["S", "S", "R"], "sku": ["A", "A", "B"], "size": ["1", "2", "1"]}, None),
    ],
    ids=str,
)
def test_the_likeliest_of_the_columns_that_fit(
    columns: dict[str, list[Any]], key: list[str] | None
) -> None:
    """Known names come first, but each row must have one of its own, and a number row is none."""
    assert key_of(**columns).value == (key or ["sku", "size"])


def test_rows_that_share_a_key_may_ask_for_the_same_link() -> None:
    """A product that stands under two categories is one row, and one link."""
    found = key_of(
        sku=["A", "A", "B"],
        name=["Salt", "Salt", "Rye"],
        link=[LINKS[0], LINKS[0], LINKS[2]],
        category=["spice", "offers", "bread"],
    )
    assert found.value == ["sku"]
    assert found.doubt is None
    assert "ask for the same link" in found.why


def test_rows_without_a_key_share_none() -> None:
    """A cell that is empty is said to be that, not to be shared."""
    rows = range(400)
    found = key_of(
        sku=[None if n == 7 else f"A{n}" for n in rows],
        name=["Salt"] * 400,
        link=[f"https://shop.example/{n % 2}" for n in rows],
    )
    assert found.value == ["sku"]
    assert "399 rows of 400 have one, each its own" in found.why
    assert "1 row without it" in (found.doubt or "")


def test_a_key_that_lasts_no_longer_than_a_name_is_doubted() -> None:
    """Where only addresses or names are left, it says what happens when they change."""
    assert "?query" in (key_of().doubt or "")
    only = suggestion_for(open_catalog(pa.table({"name": NAMES}))).finding("unique_key")
    assert "renamed" in ((only and only.doubt) or "")


def test_one_item_under_several_addresses_is_one_key() -> None:
    """Addresses differ in their ?query; where each item has one name, the name is the key."""
    items = [f"https://www.walmart.com/ip/x/{n}" for n in (1, 1, 2)]
    pages = [f"{page}?from={at}" for at, page in enumerate(items)]
    found = key_of(name=["Salt", "Salt", "Rye"], link=pages)
    assert found.value == ["name"]
    assert ["link"] in found.others


def test_an_id_that_counts_the_rows_is_doubted() -> None:
    """1, 2, 3 may be an id or a row's number: only a person knows."""
    found = key_of(id=[1, 2, 3], link=[LINKS[0]] * 3, name=["Salt", "Salt", "Salt"])
    assert found.value == ["id"]
    assert "counts the rows" in (found.doubt or "")


def test_what_the_sample_can_t_show_is_counted() -> None:
    """A key that is doubled behind the sample, with another link, is not taken."""
    n = SAMPLE_ROWS + 2
    skus = [f"s{at}" for at in range(n - 1)] + ["s0"]
    pages = [f"https://shop.example/{at}" for at in range(n)]
    codes = [f"c-{at}" for at in range(n - 300)] * 2
    table = pa.table({"sku": skus, "gtin": [f"4{at:012}" for at in range(n)], "link": pages})
    found = suggestion_for(open_catalog(table)).finding("unique_key")
    assert found is not None
    assert found.value == ["sku"]
    assert "1 too many" in (found.doubt or "")
    many = table.append_column("code", pa.array(codes[:n])).drop_columns(["sku", "gtin"])
    assert suggestion_for(open_catalog(many)).finding("unique_key").value == ["link"]  # type: ignore[union-attr]


def test_a_reader_is_looked_at_once() -> None:
    """What can be read only once is enough."""
    reader = pa.table({"sku": ["A", "B", "B"], "link": LINKS, "name": NAMES}).to_reader()
    found = suggestion_for(open_catalog(reader)).finding("unique_key")
    assert found is not None
    assert found.value == ["link"]


def test_a_column_that_nearly_is_the_key_is_named() -> None:
    """One slip in a column of ids is told with the rows, and the column stays a choice."""
    skus = [f"s{at}" for at in range(20)]
    ids = [str(500 + at) for at in range(20)]
    pages = [f"https://shop.example/{at}" for at in range(20)]
    names = [f"Tea {at}" for at in range(20)]
    doubled = key_of(name=names, link=pages, sku=[*skus[:19], "s4"], gtin=ids)
    assert (doubled.value, doubled.others[0]) == (["gtin"], ["sku"])
    assert '"sku" nearly is a key, but rows 4 and 19 share "s4" and' in (doubled.doubt or "")
    lacking = key_of(name=names, link=pages, sku=[*skus[:19], None], gtin=ids)
    assert (lacking.value, lacking.others[0]) == (["gtin"], ["sku"])
    assert "row 19 lacks it" in (lacking.doubt or "")
    whole = key_of(name=names, link=pages, sku=skus, gtin=[*ids[:19], "504"])
    assert (whole.value, whole.doubt) == (["sku"], None)


def test_a_column_that_is_no_key_is_not_nearly_one() -> None:
    """Where rows share values by the dozen, nobody made a slip."""
    rows = range(20)
    found = key_of(
        name=[f"Tea {at}" for at in rows],
        link=[f"https://shop.example/{at}" for at in rows],
        sku=[f"s{at // 2}" for at in rows],
        gtin=[str(500 + at) for at in rows],
    )
    assert (found.value, found.doubt) == (["gtin"], None)


def test_the_rows_that_share_a_key_are_named() -> None:
    """Where nothing else would do, the key's own slips are told with their rows."""
    rows = range(200)
    found = key_of(
        name=["Tea"] * 200,
        link=[f"https://shop.example/{at}" for at in rows],
        sku=[f"s{min(at, 198)}" for at in rows],
    )
    assert found.value == ["sku"]
    assert "(1 too many): rows 198 and 199, counted from 0" in (found.doubt or "")


def test_a_key_of_floats_is_told() -> None:
    """An id that a frame turned into floats is no key, and that is said with the fix."""
    found = key_of(sku=[1.0, 2.0, 3.0])
    assert found.value == ["link"]
    assert "can't be the key as numbers with fractions" in (found.doubt or "")
