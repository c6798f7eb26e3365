"""Headers among the rows: refused, and told once."""

from __future__ import annotations

import pyarrow as pa

from tests.support.link_requests import prepared

MAPPING = {
    "link_set": "set",
    "unique_key": ["sku"],
    "link": {
        "name": {"column": "title"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "item"}, "quantity": {"column": "qty"}},
    },
}


def test_a_repeated_header_is_one_problem() -> None:
    """Whatever rules its cells break besides; other rows keep their own problems."""
    table = pa.table(
        {
            "sku": ["1", "sku", "2", "\ufeffsku", "3"],
            "title": ["a", "title", "title", "title", None],
            "item": ["500", "item", "501", "item", "502"],
            "qty": ["1", "qty", "1", "qty", "x"],
            "more": ["", "other", "", "", ""],
        }
    )
    found = prepared(table, MAPPING)
    codes = [[problem["code"] for problem in row["problems"]] for row in found]
    assert codes[:4] == [[], ["repeats_header"], [], ["repeats_header"]]
    assert sorted(codes[4]) == ["missing", "not_a_count"]
    assert [row["body"] is None for row in found] == [False, True, False, True, True]


def test_a_row_that_only_looks_alike_is_a_row() -> None:
    """One cell that is another than its column's name, and the row is one of the table's."""
    table = pa.table({"sku": ["sku"], "title": ["title"], "item": ["500098461"], "qty": ["1"]})
    [found] = prepared(table, MAPPING)
    assert found["problems"] == []


def test_numbers_are_no_names() -> None:
    """A column of numbers repeats no header."""
    table = pa.table({"sku": ["sku"], "title": ["title"], "item": ["item"], "qty": [1]})
    [found] = prepared(table, MAPPING)
    assert found["problems"] == []
