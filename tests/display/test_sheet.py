"""The contact sheet: a code for each link, with what it was called and where it leads."""

from __future__ import annotations

from typing import Any

import pytest

from incarts_pipeline.display import qr_sheet
from incarts_pipeline.ledger.queries import Label
from tests.support.displayed import SCRIPT, World, links
from tests.support.parsed_html import parsed


def link(n: int, **changes: Any) -> dict[str, Any]:
    """Return a row with a link."""
    url = f"https://in2carts.com/{n}"
    row = {"row_key": f"SKU-{n}", "status": "created", "reason": "new", "link_id": f"lnk_{n}"}
    return row | {"short_link": url, "qr_encoded_url": url} | changes


def test_each_link_has_one_code(made: World) -> None:
    """Code, name, short link, key and retailer of every link, in the catalog's order."""
    seen = parsed(qr_sheet(made.table, made.labels))
    ids = list(dict.fromkeys(made.table["link_id"].drop_null().to_pylist()))
    assert f"{len(ids)} codes" in seen.text
    rows = {row["link_id"]: row for row in made.table.to_pylist()}
    hrefs = [value for _, name, value in seen.attributes if name == "href"]
    assert hrefs == [rows[link_id]["short_link"] for link_id in ids]
    places = [seen.text.index(f"QR code of {rows[i]['qr_encoded_url']}") for i in ids]
    assert places == sorted(places)
    assert all(seen.has(made.labels[link_id].name or "") for link_id in ids)
    assert all(rows[link_id]["row_key"] in seen.text for link_id in ids)
    assert seen.has(SCRIPT)


def test_rows_that_share_a_link_share_its_code() -> None:
    """A basket's rows make one code."""
    text = parsed(qr_sheet(links([link(1), link(1, row_key="other"), link(2)]))).text
    assert "2 codes" in text


def test_what_stands_in_for_the_encoded_url_is_said() -> None:
    """Short links that stand in are counted; links with no URL at all too."""
    rows = [link(1), link(2, qr_encoded_url=None), link(3, qr_encoded_url=None, short_link=None)]
    text = parsed(qr_sheet(links(rows))).text
    assert "1 code encodes its short link" in text
    assert "1 link has no URL to encode" in text
    assert "2 codes" in text


def test_public_names_and_keys_stand_in_for_names() -> None:
    """The name that shoppers see wins; a link that was imported goes by its key."""
    labels = {"lnk_1": Label(retailer="walmart", intent="", name="inner", public_name="Oats")}
    text = parsed(qr_sheet(links([link(1), link(2)]), labels)).text
    assert "Oats" in text
    assert "inner" not in text
    assert (text.count("SKU-1"), text.count("SKU-2")) == (1, 1)
    assert text.count("walmart") == 1


@pytest.mark.parametrize("given", [{"error": "x"}, {"size": 5.0}, {"size": 200.0}])
def test_what_cannot_be_printed_is_refused(given: dict[str, Any]) -> None:
    """Other levels, and codes smaller than a thumb or wider than a page."""
    with pytest.raises(ValueError, match="is "):
        qr_sheet(links([link(1)]), **given)


def test_codes_too_fine_for_paper_are_warned_of() -> None:
    """A long address at ten millimetres can't be read from paper."""
    long = link(1, qr_encoded_url="https://in2carts.com/" + "x" * 300)
    assert "print larger" in parsed(qr_sheet(links([long]), size=10.0)).text
    assert "print larger" not in parsed(qr_sheet(links([link(1)]))).text


def test_as_many_on_a_page_as_asked() -> None:
    """Each printed page has so many codes, the last one what is left; the size is said."""
    page = qr_sheet(links([link(n) for n in range(7)]), per_page=3)
    sheets = page.split('class="ic-sheet"')[1:]
    assert [sheet.count("<figure") for sheet in sheets] == [3, 3, 1]
    assert "7 codes, 87.9 mm, error" in parsed(page).text
    with pytest.raises(ValueError, match="per_page is 1 or more, not 0"):
        qr_sheet(links([link(1)]), per_page=0)
    with pytest.raises(ValueError, match="per_page is at most"):
        qr_sheet(links([link(1)]), per_page=1_000)


def test_a_short_link_is_broken_before_its_code_alone() -> None:
    """The code of a short link is one piece; a long URL that stands in may be broken anywhere."""
    seen = qr_sheet(links([link(1, short_link="https://in2carts.com/aB12xY")]))
    assert 'in2carts.com/<span class="ic-piece">aB12xY</span>' in seen
    long = "https://shop.example.com/" + "x" * 80
    seen = qr_sheet(links([link(1, short_link=None, qr_encoded_url=long)]))
    assert '<span class="ic-piece"' not in seen
