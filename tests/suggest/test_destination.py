"""Destination: whose items the links lead to, by addresses, ids, pictures and platforms."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.mapping import named_group
from incarts_pipeline.suggest import PLACEHOLDER, Suggestion, suggestion_for


def suggest(**columns: list[Any]) -> Suggestion:
    """Return the suggestion for a table."""
    return suggestion_for(open_catalog(pa.table(columns)))


def said(made: Suggestion, field: str) -> object:
    """Return what the mapping says of a field of its link, None where nothing."""
    found = made.finding(f"link.{field}")
    return None if found is None else found.value


PAGES = {
    "walmart": [
        "https://www.walmart.com/ip/Sea-Salt-Chips/16554531?classType=VARIANT",
        "https://walmart.com/ip/453154291",
        "https://business.walmart.com/ip/seort/Chips/998",
    ],
    "target": [
        "https://www.target.com/p/oat-bites/-/A-78025470?preselect=1",
        "https://www.target.com/p/-/A-14770921",
        "https://www.target.com/p/a-b/-/A-1#lnk=x",
    ],
    "instacart": [
        "https://www.instacart.com/products/16894532-bananas-each",
        "https://www.instacart.com/store/x/products/3",
        "https://www.instacart.ca/products/44",
    ],
    "amazon": [
        "https://www.amazon.com/Oak-Mug/dp/B0014GLSE6/ref=sr_1_1",
        "https://www.amazon.co.uk/gp/product/B000P72UZG?th=1",
        "https://amazon.de/dp/3446434518",
    ],
}
ITEMS = {
    "walmart": ["16554531", "453154291", "998"],
    "target": ["78025470", "14770921", "1"],
    "instacart": ["16894532", "3", "44"],
    "amazon": ["B0014GLSE6", "B000P72UZG", "3446434518"],
}


def extracted(source: object, pages: list[str]) -> list[str]:
    """Return what a mapping's `extract` finds in addresses."""
    assert isinstance(source, dict)
    pattern, name = named_group(source["extract"])
    return [one[name] for one in pc.extract_regex(pa.array(pages), pattern).to_pylist()]


@pytest.mark.parametrize(
    ("retailer", "intent"), [("walmart", "add_to_cart"), ("target", "product_detail")]
)
def test_items_inside_addresses_of_retailers(retailer: str, intent: str) -> None:
    """Where Incarts has an intent for a retailer's items, their ids are taken from the pages."""
    made = suggest(title=["Salt", "Oats", "Rye"], product_link=PAGES[retailer])
    assert (said(made, "retailer"), said(made, "intent")) == (retailer, intent)
    source = said(made, "products.retailer_product_id")
    assert extracted(source, PAGES[retailer]) == ITEMS[retailer]
    assert said(made, "custom_url") is None


@pytest.mark.parametrize("retailer", ["instacart", "amazon"])
def test_items_of_retailers_without_an_intent(retailer: str) -> None:
    """Elsewhere the address is the destination, and the item's id goes along as data."""
    made = suggest(title=["Salt", "Oats", "Rye"], url=PAGES[retailer])
    assert (said(made, "retailer"), said(made, "intent")) == ("custom", "custom_url")
    assert said(made, "custom_url") == {"column": "url"}
    assert extracted(said(made, "metadata.item_id"), PAGES[retailer]) == ITEMS[retailer]


def test_an_intent_that_is_only_announced_is_doubted() -> None:
    """Target's is coming soon: it is said, with what works today."""
    made = suggest(title=["Salt", "Oats", "Rye"], url=PAGES["target"])
    found = made.finding("link.intent")
    assert found is not None
    assert "coming soon" in (found.doubt or "")
    assert "custom_url" in str(found.others)


@pytest.mark.parametrize(
    "host", ["notwalmart.com", "walmart.com.example", "walmart.ca", "i5.walmartimages.com"]
)
def test_look_alikes_of_a_retailer_are_none(host: str) -> None:
    """A host that only resembles Walmart's leads to no Walmart item."""
    made = suggest(title=["Salt", "Oats"], url=[f"https://{host}/ip/{n}" for n in (1, 2)])
    assert said(made, "retailer") == "custom"


def test_pictures_are_no_destination() -> None:
    """Of two columns of addresses the one of pictures is not where links go."""
    made = suggest(
        name=["Salt", "Oats"],
        image_link=["https://pics.example/300?text=1", "https://pics.example/300?text=2"],
        address=["https://shop.example/a", "https://shop.example/b"],
    )
    assert said(made, "custom_url") == {"column": "address"}
    assert made.finding("link.custom_url").others == ()  # type: ignore[union-attr]


def test_a_column_that_most_rows_lack_is_no_destination() -> None:
    """An address in one row of three is not where the links of all go."""
    made = suggest(
        sku=["A-1", "A-2", "A-3"],
        name=["Salt", "Oats", "Rye"],
        external_url=["https://x.example/1", None, None],
    )
    assert said(made, "custom_url") == f"{PLACEHOLDER}/{{sku}}"


def test_a_table_without_addresses_says_so() -> None:
    """What stands in for the address leads nowhere, and is the first thing to look at."""
    made = suggest(code=["A-1", "A-2"], name=["Salt", "Oats"])
    [doubt] = [one for one in made.doubts if one.field == "link.custom_url"]
    assert PLACEHOLDER in str(doubt.value)
    assert "--url" in (doubt.doubt or "")


def test_walmart_ids_in_a_column_of_their_own() -> None:
    """A column named for Walmart's ids needs no address."""
    made = suggest(sku=["A", "B"], name=["Salt", "Oats"], walmart_item_id=["5001", "5002"])
    assert said(made, "products.retailer_product_id") == {"column": "walmart_item_id"}
    assert not [one for one in made.doubts if one.field.startswith("link.products")]


def test_ids_that_are_walmart_s_only_by_the_pictures_are_doubted() -> None:
    """Walmart Canada's ids may mean nothing on walmart.com: a person has to look."""
    made = suggest(
        sku=["6000196099054", "875806"],
        name=["Lemons", "Banana"],
        image_url=[f"https://i5.walmartimages.ca/images/{n}.jpg" for n in (1, 2)],
    )
    assert said(made, "retailer") == "walmart"
    [doubt] = [one.doubt for one in made.doubts if one.field.endswith("retailer_product_id")]
    assert "Canada" in (doubt or "")


def test_a_table_that_says_all_itself() -> None:
    """Retailers and intents by row are the table's, with the columns that each intent needs."""
    made = suggest(
        sku=["1", "2"],
        title=["Salt", "Oats"],
        retailer=["walmart", "oakhollow"],
        intent=["add_to_cart", "custom_url"],
        item_id=["5001", None],
        url=[None, "https://shop.example/oats"],
        qty=[2, None],
        campaign=["summer", "summer"],
        tags=["a|b", None],
        zip=["02134", None],
    )
    assert said(made, "retailer") == {"column": "retailer"}
    assert said(made, "intent") == {"column": "intent"}
    assert said(made, "products.retailer_product_id") == {"column": "item_id"}
    assert said(made, "products.quantity") == {"column": "qty", "default": 1}
    assert said(made, "custom_url") == {"column": "url"}
    assert said(made, "tracking.utm.campaign") == {"column": "campaign"}
    assert said(made, "tracking.tags") == {"column": "tags", "split": "|"}
    assert said(made, "location.zip_code") == {"column": "zip"}


def test_words_that_only_sound_like_intents_are_no_intents() -> None:
    """A column `intent` of other words is somebody else's, and left alone."""
    made = suggest(
        sku=["1", "2"],
        name=["Salt", "Oats"],
        retailer=["a", "b"],
        intent=["buy", "browse"],
        link=["https://shop.example/1", "https://shop.example/2"],
    )
    assert said(made, "intent") == "custom_url"


@pytest.mark.parametrize(
    ("quantities", "mapped"),
    [
        ([1, 2, 3], True),
        (["1.0", "2.0", "1.0"], True),
        (["100 ML", "1", "2"], False),
        ([0, 0, 0], False),
        ([1.5, 2, 3], False),
    ],
    ids=str,
)
def test_quantities_are_counts_and_not_amounts(quantities: list[Any], mapped: bool) -> None:
    """`quantity` is how many go into the cart only where it counts something; else it is named."""
    made = suggest(title=["a1", "b2", "c3"], url=PAGES["walmart"], quantity=quantities)
    found = made.finding("link.products.quantity")
    assert found is not None
    assert found.is_offer is not mapped
    assert ("not mapped" in (found.doubt or "")) is not mapped


def test_of_columns_with_one_meaning_the_one_that_looks_right_is_mapped() -> None:
    """Wherever it stands, and the other is not offered beside it."""
    made = suggest(
        title=["a1", "b2", "c3"],
        url=PAGES["walmart"],
        quantity=["100 ML", "a few", "box"],
        qty=[1, 2, 3],
        fallback=["none", "none", "none"],
        fallback_url=[f"https://shop.example/{i}" for i in range(3)],
    )
    assert said(made, "products.quantity") == {"column": "qty", "default": 1}
    assert said(made, "fallback_url") == {"column": "fallback_url"}
    assert not any("not mapped" in (one.doubt or "") for one in made.findings)


def test_quantities_that_may_be_stock_are_doubted() -> None:
    """Hundreds of pieces are what lies in store, more likely than what one buys."""
    made = suggest(title=["a1", "b2", "c3"], url=PAGES["walmart"], qty=[160, 120, 3])
    assert "stock" in (made.finding("link.products.quantity").doubt or "")  # type: ignore[union-attr]


def test_a_link_to_an_address_has_no_products() -> None:
    """A shop's stock is not put into links that lead to a page."""
    made = suggest(
        sku=["1", "2"],
        name=["Salt", "Oats"],
        quantity=[3, 4],
        link=["https://shop.example/1", "https://shop.example/2"],
    )
    assert said(made, "products.quantity") is None


def doubt(made: Suggestion, field: str) -> str:
    """Return what speaks against a guess about the link, empty where nothing does."""
    found = made.finding(f"link.{field}")
    return (found and found.doubt) or ""


@pytest.mark.parametrize("rows", [3, 8, 25])
@pytest.mark.parametrize("odd", ["ABC-123", "n/a", "", None])
def test_an_odd_cell_among_ids_turns_no_guess(rows: int, odd: str | None) -> None:
    """What most rows have decides, and the odd ones are named."""
    ids = [str(16554531 + at) for at in range(rows)]
    ids[1] = odd  # type: ignore[call-overload]
    made = suggest(title=[f"Tea {at}" for at in range(rows)], walmart_item_id=ids)
    assert said(made, "products.retailer_product_id") == {"column": "walmart_item_id"}
    assert said(made, "custom_url") is None
    told = f'"{odd}"' if odd else "empty"
    assert f"row 1 ({told})" in doubt(made, "products.retailer_product_id")


@pytest.mark.parametrize("odd", ["https://www.target.com/p/-/A-1477", "call us", None])
def test_an_odd_cell_among_addresses_turns_no_guess(odd: str | None) -> None:
    """One address of another shop, or none, leaves the others' items what they are."""
    pages = [f"https://www.walmart.com/ip/{at}" for at in range(8)]
    made = suggest(title=[f"Tea {at}" for at in range(8)], link=[*pages[:6], odd, pages[7]])
    assert said(made, "intent") == "add_to_cart"
    assert "row 6" in doubt(made, "products.retailer_product_id")
    shop = [f"https://shop.example/{at}" for at in range(8)]
    made = suggest(title=[f"Tea {at}" for at in range(8)], link=[*shop[:6], "call us", shop[7]])
    assert said(made, "custom_url") == {"column": "link"}
    assert 'row 6 ("call us")' in doubt(made, "custom_url")


def test_an_odd_intent_turns_no_guess() -> None:
    """A table that says its retailers and intents says so in spite of one slip."""
    made = suggest(
        title=[f"Tea {at}" for at in range(8)],
        retailer=["walmart"] * 8,
        intent=[*["add_to_cart"] * 7, "add to cart"],
        retailer_product_id=[str(500 + at) for at in range(8)],
    )
    assert said(made, "intent") == {"column": "intent"}
    assert 'row 7 ("add to cart")' in doubt(made, "intent")


def test_odd_rows_are_counted_as_the_table_has_them() -> None:
    """Rows that are no products count too, and of many odd rows the first are named."""
    published = ["TRUE", "FALSE"] * 30
    made = suggest(
        Handle=[f"tea-{at}" for at in range(60)],
        Title=[f"Tea {at}" for at in range(60)],
        **{"Variant Price": ["9.99"] * 60, "Published": published},
        walmart_item_id=["?" if at in (6, 7, 10, 14, 16) else str(500 + at) for at in range(60)],
    )
    found = doubt(made, "products.retailer_product_id")
    assert 'row 6 ("?"), row 10 ("?"), row 14 ("?"), 1 more, counted from 0' in found
