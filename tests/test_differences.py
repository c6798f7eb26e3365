"""Differences between two bodies: paths, values, lists, and what is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.differences import changed_fields, differences
from incarts_pipeline.outgoing import keep_secret

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


def between(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the differences between two contents as lines."""
    return [str(one) for one in differences(json.dumps(old).encode(), json.dumps(new).encode())]


def test_values_are_named_by_the_path_that_a_mapping_has() -> None:
    """Names are in snake case, places in lists count from 0, and each value is as it stands."""
    old = {
        "customUrl": "https://a.example/1",
        "products": [{"retailerProductId": "16554531", "quantity": 1}],
        "location": {"zipCode": "01001"},
    }
    new = {
        "customUrl": "https://a.example/2",
        "products": [{"retailerProductId": "96554531", "quantity": 1}],
        "tracking": {"utm": {"source": "mail"}},
    }
    assert between(old, new) == [
        "custom_url  https://a.example/1 → https://a.example/2",
        "location.zip_code  01001 → (none)",
        "products[0].retailer_product_id  16554531 → 96554531",
        "tracking.utm.source  (none) → mail",
    ]


def test_names_of_the_caller_stay_as_they_are() -> None:
    """Within metadata and Instacart's objects no name is respelled."""
    old = {"metadata": {"campaignId": 1}, "options": {"instacart": {"shoppingList": {"aB": 1}}}}
    new = {"metadata": {"campaignId": 2}, "options": {"instacart": {"shoppingList": {"aB": 2}}}}
    assert between(old, new) == [
        "metadata.campaignId  1 → 2",
        "options.instacart.shopping_list.aB  1 → 2",
    ]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (["a", "b"], ["x", "a", "b"], ["t[0]  (none) → x"]),
        (["a", "b", "c"], ["a", "c"], ["t[1]  b → (none)"]),
        (["a", "b"], ["b", "a"], ["t[0]  a → b", "t[1]  b → a"]),
        ([1, True], [True, 1], ["t[0]  1 → true", "t[1]  true → 1"]),
        ([1], [True, 1], ["t[0]  (none) → true"]),
        ([], ["a"], ["t[0]  (none) → a"]),
        ({}, [], ["t  {} → []"]),
        ({"a": {}}, {}, ["t.a  {} → (none)"]),
    ],
)
def test_lists_are_compared_where_they_differ(old: Any, new: Any, lines: list[str]) -> None:
    """What was put in, or taken out, doesn't move all that stands behind it; true is not 1."""
    assert between({"t": old}, {"t": new}) == lines


def test_a_value_is_told_so_that_its_kind_and_its_ends_show() -> None:
    """A number that was a text, white space at an end, and nothing at all can be told apart."""
    assert between({"a": "5", "b": " x", "c": ""}, {"a": 5, "b": "x", "c": "y"}) == [
        'a  "5" → 5',
        'b  " x" → x',
        'c  "" → y',
    ]


def test_of_long_values_what_differs_is_shown() -> None:
    """A text of a thousand characters is shown around the one that differs, on both sides."""
    [line] = between({"name": "a" * 1000 + "old" + "z" * 999}, {"name": "a" * 1000 + "new"})
    assert "old" in line
    assert "new" in line
    assert len(line) < 500


def test_a_secret_is_not_cut_in_two() -> None:
    """A long value is made safe before it is cut: half of a key is a key for whoever reads it."""
    secret = "s3cret-" + "k" * 57
    keep_secret(secret)
    [one] = differences(
        json.dumps({"name": "a" * 320 + secret + "b"}).encode(),
        json.dumps({"name": "a" * 300 + secret + "b"}).encode(),
    )
    assert "s3cret" not in f"{one.old}{one.new}"
    assert "kkkk" not in f"{one.old}{one.new}"


@given(JSON, JSON)
def test_contents_differ_exactly_where_their_json_does(old: Any, new: Any) -> None:
    """There is a difference if and only if the canonical texts differ; each has two values."""
    one, other = ({"metadata": {"x": value}} for value in (old, new))
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (between(one, other) == []) is same
    pair = [json.dumps(body).encode() for body in (one, other)]
    assert all(found.old != found.new for found in differences(*pair))


def test_fields_are_named_once_and_sorted() -> None:
    """A basket of which every product changed has one field that did."""
    old = {"products": [{"quantity": 1}, {"quantity": 2}], "name": "a"}
    new = {"products": [{"quantity": 2}, {"quantity": 3}], "name": "b"}
    pair = [json.dumps(body).encode() for body in (old, new)]
    assert changed_fields(*pair) == ["name", "products.quantity"]
