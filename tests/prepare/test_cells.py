"""Cells: what spreadsheets, exports and frames leave in place of a value makes no link."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from tests.support.link_requests import prepared

ERRORS = [
    *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
    *("#GETTING_DATA", "#NV", "#BEZUG!", "#WERT!", "#ZAHL!", "#VALEUR!", "#NOM?", "#¿NOMBRE?"),
    *("#¡VALOR!", "#N/D", "#RIF!", "#ДЕЛ/0!", "#Н/Д", "#SAYI/0!", "#ERROR!", "#FIELD!"),
    *("Err:502", "Err:508", "Fehler:522", "Error:502", "#########", "#N/A N/A", "Loading..."),
]  # fmt: skip
NOTHING = [
    *("nan", "NaN", "NULL", "null", "None", "N/A", "n/a", "undefined", "<NA>", "NaT", r"\N", "nil"),
    *("(null)", "[object Object]", " nan ", "NULL\u00a0"),
]
PERHAPS = ["NA", "-", "--", "—", "?", "TBD", "tba", "..", "unknown"]


def row(key: str = "sku", *, keys: list[str] | None = None, **values: str) -> dict[str, Any]:
    """Return the request of one row, in which some cells are another's."""
    cells = {"sku": "A1", "item": "550098461", "name": "Coffee", "brand": "Acme"} | values
    mapping = {
        "link_set": "set",
        "unique_key": keys or [key],
        "link": {
            "name": "{brand} {name}",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "item"}},
            "custom_url": "https://shop.example/p/{item}",
        },
    }
    [found] = prepared(pa.table({name: [cell] for name, cell in cells.items()}), mapping)
    return found


def told(found: dict[str, Any], severity: str = "error") -> set[tuple[str, str]]:
    """Return field and code of a row's problems of a severity."""
    return {(p["field"], p["code"]) for p in found["problems"] if p["severity"] == severity}


@pytest.mark.parametrize("value", ERRORS)
def test_errors_of_spreadsheets_are_no_values(value: str) -> None:
    """Whatever the language, as id, key and name; the message quotes them."""
    found = row(item=value)
    assert ("products.retailer_product_id", "spreadsheet_error") in told(found)
    assert ("custom_url", "spreadsheet_error") in told(found)
    assert value in found["problems"][0]["message"]
    assert found["body"] is None
    assert told(row(sku=value)) == {("unique_key", "spreadsheet_error")}
    assert told(row(brand=value)) == {("name", "spreadsheet_error")}


@pytest.mark.parametrize("value", NOTHING)
def test_words_for_nothing_are_no_values(value: str) -> None:
    """As databases, languages and frames print them; a name made of one is none."""
    assert ("products.retailer_product_id", "no_value") in told(row(item=value))
    assert told(row(sku=value)) == {("unique_key", "no_value")}
    assert told(row(keys=["brand", "sku"], sku=value)) == {("unique_key", "no_value")}
    if value != "nil":
        assert told(row(name=value)) == {("name", "no_value")}


@pytest.mark.parametrize("value", PERHAPS)
def test_what_may_be_a_value_depends_on_where_it_stands(value: str) -> None:
    """It is no id and no key; in a name, and beside other parts of a key, it is a suspicion."""
    assert ("products.retailer_product_id", "no_value") in told(row(item=value))
    assert told(row(sku=value)) == {("unique_key", "no_value")}
    for found in (row(name=value), row(keys=["brand", "sku"], sku=value)):
        assert told(found) == set()
        [(_, code)] = told(found, "suspicion")
        assert (code, found["body"] is None) == ("looks_empty", False)


@pytest.mark.parametrize(
    "name",
    ["NAN Optipro", "Nothing", "None of the Above", "#1 Dad Mug", "#Winning!", "'Tis the Season",
     "Null Set", "A-1", "=Vegan=", "Infinity", "100% — pure", "50+", "Na Logo", "C#", "Why?"],
)  # fmt: skip
def test_names_may_be_odd(name: str) -> None:
    """What only contains such a word, or begins like a formula, is a name."""
    assert row(name=name)["problems"] == []


@pytest.mark.parametrize("name", ["NAN", "Nan", "Nil"])
def test_brands_that_read_like_nothing_are_held(name: str) -> None:
    """No program writes them so; a person may accept them."""
    assert told(row(brand=name), "suspicion") == {("name", "looks_empty")}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("'550098467", "550098467"),
        ('="550098468"', "550098468"),
        ('=T("00550")', "00550"),
        ('"550098467"', "550098467"),
        ("’550098467", "550098467"),
        ("550098467.0", "550098467"),
        ("550098467,00", "550098467"),
        ("550,098,467", "550098467"),
        ("550.098.467", "550098467"),
        ("550 098 467", "550098467"),
        ("550\u202f098\u202f467", "550098467"),
        ("5.50098467E+08", "550098467"),
        ("5,50098467E+08", "550098467"),
        ("5.50E+08", None),
        ("5,50E+08", None),
        ("550.098", None),
        ("=A1", None),
        ("=VLOOKUP(A1;B:C;2)", None),
    ],
)
def test_messages_name_the_id_that_is_meant(value: str, meant: str | None) -> None:
    """Where its digits are still there; nothing is guessed where they are lost."""
    [problem] = [p for p in row(item=value)["problems"] if p["field"].startswith("products")]
    assert problem["code"] in ("number_like_id", "spreadsheet_text")
    assert (f"write {meant}" in problem["message"]) == (meant is not None)


@pytest.mark.parametrize(
    "key",
    ["8.85001E+11", "8,85E+11", "1E+05", "885001234567.0", "1,234", "3-Apr", "Apr-26", "03. Apr",
     "2026-04-03 00:00:00", "2026-04-03T00:00:00", "4/3/2026", "03.04.2026", "TRUE", "False",
     "WAHR", "3-Mrz"],
)  # fmt: skip
def test_keys_that_went_through_a_spreadsheet_are_held(key: str) -> None:
    """They have a body, and wait; typed columns and other codes are what they seem to be."""
    found = row(sku=key)
    assert told(found, "suspicion") == {("unique_key", "looks_converted")}
    assert found["body"] is not None


@pytest.mark.parametrize(
    "key",
    ["12", "00012", "A-1", "1e5", "2E10", "12E4", "v1.2", "1.2.3", "2026-04-03", "3-APR", "B/12/7",
     "MAR-22", "true-blue", "12.5", "SKU 1", "ZÜR-1"],
)  # fmt: skip
def test_other_keys_are_keys(key: str) -> None:
    """Codes are of many kinds, and most of them are meant."""
    assert row(sku=key)["problems"] == []


def test_typed_keys_are_what_they_seem_to_be() -> None:
    """A column of dates or flags is no garbled code."""
    values = pa.array([pd.Timestamp("2026-04-03")], pa.timestamp("s"))
    table = pa.table({"day": values, "flag": [True], "name": ["a"], "item": ["550"]})
    mapping = {
        "link_set": "set",
        "unique_key": ["day", "flag"],
        "link": {
            "name": {"column": "name"},
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "item"}},
        },
    }
    [found] = prepared(table, mapping)
    assert found["problems"] == []


HIDDEN = [
    *"\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\ufeff\u00ad\x01\x7f\x9f\ufe0f\u3164"
]
HIDDEN += ["\U000e0041", "\u2800", "\ufffd"]


@pytest.mark.parametrize("character", HIDDEN, ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("place", [0, 3, 9])
def test_codes_have_no_hidden_characters(character: str, place: int) -> None:
    """In ids, keys and URLs, wherever they are; the message has their name and place."""
    value = "550098461"[:place] + character + "550098461"[place:]
    found = row(item=value, sku=value)
    assert {("products.retailer_product_id", "invisible_character")} <= told(found)
    assert ("unique_key", "invisible_character") in told(found)
    assert ("custom_url", "invisible_character") in told(found)
    for problem in found["problems"]:
        assert f"U+{ord(character):04X}" in problem["message"]
        assert f"as its character {place + 1}," in problem["message"]


@pytest.mark.parametrize(
    "name",
    ["👩\u200d🚀", "می\u200cخواهم", "\u05d0\u200f!", "Donau\u00addampfer", "❤\ufe0f",
     "क्\u200dष", "🏴\U000e0067\U000e007f", "\ufeffCoffee"],
)  # fmt: skip
def test_names_have_what_scripts_and_emoji_need(name: str) -> None:
    """Joiners, marks and selectors are seen by what they do."""
    assert row(name=name)["problems"] == []


@pytest.mark.parametrize("character", ["\u202e", "\u202a", "\x00", "\x08", "\x92", "\ufffd"])
def test_names_have_no_overrides_and_controls(character: str) -> None:
    """They turn a text around, or are a sign that it was read in the wrong encoding."""
    assert told(row(name=f"Caf{character}é"), "suspicion") == {("name", "odd_character")}


@pytest.mark.parametrize("name", ["a\tb", "a\r\nb", "a\u2028b", "a\x0bb"])
def test_tabs_and_line_breaks_of_names_are_noted(name: str) -> None:
    """The link keeps them, and the row says which it is and where; it is sent all the same."""
    made = row(name=name)
    [note] = made["problems"]
    assert (note["severity"], note["field"], note["code"]) == ("note", "name", "tab_or_break")
    assert f"U+{ord(name[1]):04X}" in note["message"]
    assert "as its character 7" in note["message"]
    assert json.loads(made["body"])["name"] == f"Acme {name}"


def test_odd_spaces_are_shown() -> None:
    """A no-break space looks like another one, so that a message names it."""
    [problem] = [p for p in row(item="550\u00a0A")["problems"] if p["field"].startswith("products")]
    assert problem["code"] == "white_space"
    assert '"550<U+00A0>A"' in problem["message"]


def written_by_excel(value: str) -> str:
    """Return a cell as Excel reads it from a CSV, and writes it again."""
    if not value.isdecimal():
        return value
    if len(value.lstrip("0")) > 11:
        number = float(value[:15].ljust(len(value), "0"))
        return f"{number:.5E}"
    return str(int(value))


def written_by_pandas(value: str | None, *, beside: list[str | None]) -> str | None:
    """Return a cell as pandas writes it, after it read the column without `dtype=str`."""
    column = io.StringIO()
    csv.writer(column).writerows([["id"], *([one or "nothing"] for one in [value, *beside])])
    frame = pd.read_csv(io.StringIO(column.getvalue().replace("nothing", "NaN")))
    return str(frame["id"].astype(str)[0])


IDS = st.from_regex(r"[1-9][0-9]{4,14}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(IDS, st.lists(IDS | st.none(), min_size=1, max_size=3))
def test_ids_come_back_or_are_refused(value: str, beside: list[str | None]) -> None:
    """What Excel and pandas make of an id is the id, or makes no link."""
    for written in (written_by_excel(value), written_by_pandas(value, beside=beside)):
        found = row(item=str(written))
        assert written == value or found["body"] is None


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e5, 1e17) | st.integers(1, 2**53).map(float),
    st.sampled_from([str, repr, "{:.2E}".format, "{:,.0f}".format]),
)
def test_no_float_is_an_id(number: float, written: Any) -> None:
    """However it is printed: with a fraction, in thousands, or by its power of ten."""
    text = str(written(number))
    assert text.isdecimal() or not math.isfinite(number) or row(item=text)["body"] is None


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.from_regex(r"[A-Z0-9]{2,8}", fullmatch=True),
    st.characters(categories=["Cf", "Cc"], exclude_characters="\t\n\v\f\r\x85\x1c\x1d\x1e\x1f"),
    st.integers(0, 8),
)
def test_nothing_hidden_is_ever_sent(value: str, character: str, place: int) -> None:
    """Of any of the categories, at any place of an id or a key."""
    assert unicodedata.category(character) in ("Cf", "Cc")
    hidden = value[:place] + character + value[place:]
    assert row(item=hidden)["body"] is None
    assert row(sku=hidden)["body"] is None
