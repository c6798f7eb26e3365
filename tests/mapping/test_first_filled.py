"""First of several columns that isn't empty, as a source and in templates."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare

TABLE = pa.table(
    {
        "sku": ["k1", "k2", "k3"],
        "item": ["500001", None, " "],
        "other": [500011, 500012, None],
        "third": pa.array([None, None, None], pa.null()),
        "title": ["T1", "", None],
        "tags": [["a"], None, None],
        "price": [1.5, 2.5, None],
    }
)


def bodies(link: dict[str, Any]) -> list[tuple[str | None, list[tuple[str, str]]]]:
    content = {
        "link_set": "t",
        "unique_key": "sku",
        "link": {
            "name": "n",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": {"column": "sku"}},
            **link,
        },
    }
    mapping = load_mapping(content)
    batches = prepare(
        TABLE.to_batches(), mapping, schema=TABLE.schema, project_id="p", limits=Limits()
    )
    return [
        (row["body"], [(p["field"], p["message"]) for p in row["problems"] or []])
        for batch in batches
        for row in batch.to_pylist()
    ]


def test_the_first_filled_column_is_taken() -> None:
    """By row: null and white space are empty, a number is its text; nothing at all is told."""
    source = {"column": ["item", "other", "third"]}
    made = bodies({"products": {"retailer_product_id": source}})
    assert '"retailerProductId":"500001"' in (made[0][0] or "")
    assert '"retailerProductId":"500012"' in (made[1][0] or "")
    assert made[2][0] is None
    defaulted = bodies({"products": {"retailer_product_id": {**source, "default": "9"}}})
    assert '"retailerProductId":"9"' in (defaulted[2][0] or "")


def test_alternatives_in_a_template() -> None:
    """A group is empty when all of its columns are, and the problem names them."""
    made = bodies({"name": "{title|item}: {sku}"})
    assert '"name":"T1: k1"' in (made[0][0] or "")
    assert made[1] == (
        None,
        [
            (
                "name",
                'The column "title" or "item" of the template is empty; fill it or give a default.',
            )
        ],
    )
    assert '"name":"500012 (k2)"' in (bodies({"name": "{ item | other } ({sku})"})[1][0] or "")


def test_alternatives_inside_of_an_object() -> None:
    """A member takes them too; a list that is no source stays the constant that it is."""
    made = bodies({"metadata": {"id": {"column": ["item", "title"]}, "at": {"column": ["a", 1]}}})
    assert '"metadata":{"at":{"column":["a",1]},"id":"500001"}' in (made[0][0] or "")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"name": {"column": []}}, "must be a name, or a list of names"),
        ({"name": {"column": ["sku", "sku"]}}, "names a column twice"),
        ({"name": "{sku|}"}, "{sku|} has a | without a column beside it"),
        ({"name": {"column": ["sku", "titel"]}}, 'no column "titel". Did you mean "title"?'),
        ({"name": "{sku|titel}"}, 'no column "titel"'),
        (
            {"products": {"retailer_product_id": {"column": ["item", "price"]}}},
            "digits",
        ),
        ({"tracking": {"tags": {"column": ["tags", "item"]}}}, "only text can be taken here"),
        ({"metadata": {"p": {"column": ["item", "price"]}}}, "only text can be taken here"),
    ],
)
def test_alternatives_that_cant_be(link: dict[str, Any], message: str) -> None:
    """Each column must be there and fit, as if it were the only one."""
    with pytest.raises(MappingError) as caught:
        bodies(link)
    assert message in str(caught.value)
