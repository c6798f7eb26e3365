"""Profile of a table: what names and values of columns look like."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.suggest.profile import ColumnProfile, plain_word, profile_of


def column(values: list[Any], name: str = "c", kind: pa.DataType | None = None) -> ColumnProfile:
    """Return the profile of one column."""
    return profile_of(pa.table({name: pa.array(values, kind)})).columns[0]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("Variant SKU", "variant_sku"),
        ("variantSku", "variant_sku"),
        ("priceAED", "price_aed"),
        ("Name *", "name"),
        ("Categories (x,y,z...)", "categories_x_y_z"),
        ("g:image_link", "image_link"),
        ("Ingrédient", "ingredient"),
        ("Größe", "groe"),
        ("العنوان", ""),
        ("", ""),
    ],
)
def test_names_in_plain_words(name: str, word: str) -> None:
    """Case, accents, signs and namespaces are no part of what a header means."""
    assert plain_word(name) == word


def test_blank_cells_are_no_values() -> None:
    """White space alone fills nothing."""
    found = column(["a", " ", None, ""])
    assert (found.filled, found.distinct) == (0.25, 1)


@pytest.mark.parametrize(
    ("values", "looks"),
    [
        (["https://a.example/p/1", "http://a.example/p/2"], {"is_address"}),
        (["https://a.example/1.jpg", "https://a.example/2.webp?w=4"], {"is_image"}),
        (["00012", "550098461"], {"is_whole", "is_code", "is_price"}),
        (["tea_01", "RP-demo/2"], {"is_code", "is_label"}),
        (["£1.99 each", "$3.99/lb", "250 AED"], {"is_price"}),
        (["9.99", "12.50"], {"is_price"}),
        (["2024-05-01", "2024-05-02"], set()),
        (["Oat Flakes", "Rye Bread"], {"is_label"}),
        (["<p>Holds <b>tea</b></p>", "<p>Long</p>"], set()),
        (["شاي أخضر", "قهوة"], {"is_label"}),
    ],
    ids=lambda value: str(value[0])[:20] if isinstance(value, list) else None,
)
def test_looks(values: list[str], looks: set[str]) -> None:
    """Each kind of value is told from the others."""
    found = column(values)
    kinds = ("is_address", "is_image", "is_whole", "is_code", "is_price", "is_label")
    assert {kind for kind in kinds if getattr(found, kind)} == looks


def test_a_few_broken_cells_hide_no_look() -> None:
    """What four of five cells are is what the column is."""
    pages = [f"https://a.example/p/{n}" for n in range(99)]
    assert column([*pages, "n/a"]).is_address
    assert column([*pages[:4], "n/a"]).is_address
    assert not column([*pages[:3], "n/a"]).is_address


def test_fractions_are_no_ids() -> None:
    """A column of floats is no code: long ids in it have lost digits."""
    assert not column([1.0, 2.0]).is_code
    assert column([1, 2]).is_code


@pytest.mark.parametrize(
    ("values", "counts"), [([0, 1, 2], True), (["1", "2", "3"], True), ([1, 3, 2], False)]
)
def test_counters(values: list[Any], counts: bool) -> None:
    """A column that numbers the rows is known by that."""
    assert column(values).is_counter is counts


def test_nested_columns_have_no_looks() -> None:
    """Lists and structs are passed over, not taken for text."""
    found = column([[1, 2], [3]])
    assert (found.filled, found.distinct, found.is_code, found.is_label) == (0.0, 0, False, False)
