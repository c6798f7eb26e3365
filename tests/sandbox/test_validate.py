"""The rules of a link's body, each with its status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.sandbox_caller import Caller, calling

_PRODUCT = {"retailerProductId": "1", "quantity": 1}


@pytest.fixture
def call(box: Sandbox) -> Iterator[Caller]:
    """A caller with all scopes."""
    with calling(box) as caller:
        yield caller


@pytest.mark.parametrize(
    "changes",
    [
        {"projectId": None},
        {"projectId": 7},
        {"projectId": ["demo"]},
        {"projectId": "p" * 129},
        {"name": None},
        {"name": ""},
        {"name": "n" * 161},
        {"publicName": 3},
        {"retailer": None},
        {"retailer": {}},
        {"intent": []},
        {"intent": 5},
        {"products": {}},
        {"products": ["1"]},
        {"products": [{"quantity": 1}]},
        {"products": [{"retailerProductId": 1, "quantity": 1}]},
        {"products": [{"retailerProductId": "", "quantity": 1}]},
        {"products": [{"retailerProductId": "1"}]},
        {"products": [{"retailerProductId": "1", "quantity": 0}]},
        {"products": [{"retailerProductId": "1", "quantity": 1.0}]},
        {"products": [{"retailerProductId": "1", "quantity": True}]},
        {"products": [{"retailerProductId": "1", "quantity": "1"}]},
        {"products": [_PRODUCT | {"backupProductIds": "2"}]},
        {"products": [_PRODUCT | {"backupProductIds": [2]}]},
        {"products": [_PRODUCT | {"colour": "red"}]},
        {"location": "02139"},
        {"location": {}},
        {"location": {"zipCode": 2139}},
        {"location": {"zipCode": "2139"}},
        {"location": {"zipCode": "02139-4307"}},
        {"location": {"zipCode": "٠٢١٣٩"}},
        {"location": {"zipCode": "02139", "storeId": 7}},
        {"location": {"zipCode": "02139", "city": "Cambridge"}},
        {"customUrl": "shop.example"},
        {"customUrl": "ftp://shop.example"},
        {"fallbackUrl": "https:///path"},
        {"fallbackUrl": "https://shop.example/a b"},
        {"fallbackUrl": 5},
        {"tracking": []},
        {"tracking": {"utm": {"source": 1}}},
        {"tracking": {"utm": {"sauce": "x"}}},
        {"tracking": {"tags": "a"}},
        {"tracking": {"tags": [1]}},
        {"options": []},
        {"options": {"instacart": []}},
        {"options": {"instacart": {"recipe": "soup"}}},
        {"options": {"walmart": {}}},
        {"metadata": []},
        {"metadata": "x"},
        {"colour": "red"},
    ],
)
def test_malformed_fields_are_400(box: Sandbox, call: Caller, changes: dict[str, Any]) -> None:
    """Each broken field is refused, and nothing is made."""
    assert call.create(**changes).status_code == 400
    assert box.audit().links == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"name":NaN}',
        b"[" * 100_000,
        b"\xff\xfe{\0}\0",
    ],
)
def test_malformed_json_is_400(call: Caller, body: bytes) -> None:
    """What is no JSON object in UTF-8 is refused."""
    assert call.post("/v1/links", body).status_code == 400


def test_lone_surrogate_is_400(call: Caller) -> None:
    """Half a character can't be stored; a whole one, written as two halves, can."""
    half, whole = (json.dumps(call.body(name=name)).encode() for name in ("\ud83e", "\U0001f95b"))
    assert call.post("/v1/links", half).status_code == 400
    assert call.post("/v1/links", whole).json()["data"]["name"] == "\U0001f95b"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n" * 160},
        {"name": "麦" * 160},
        {"name": "\U0001f95b"},
        {"projectId": "demo", "location": {"zipCode": "00501"}},
        {"products": [_PRODUCT | {"backupProductIds": ["2", "3"]}]},
        {"tracking": {"utm": {"source": "a", "term": "b"}, "tags": ["c"]}},
        {"fallbackUrl": "HTTPS://shop.example/ä?b#c"},
        {"retailer": "anything", "intent": "custom_url", "customUrl": "http://x"},
    ],
)
def test_valid_fields_are_taken(call: Caller, changes: dict[str, Any]) -> None:
    """Values at the edge of a rule are fine."""
    assert call.create(**changes).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"intent": None},
        {"intent": "add_to_list"},
        {"products": None},
        {"products": []},
        {"intent": "custom_url"},
        {"retailer": "target"},
        {"retailer": "walmart", "intent": "product_detail"},
        {"retailer": "instacart", "intent": "recipe"},
        {
            "retailer": "instacart",
            "intent": "shopping_list",
            "options": {"instacart": {"recipe": {}}},
        },
    ],
)
def test_business_rules_are_422(box: Sandbox, call: Caller, changes: dict[str, Any]) -> None:
    """Well-formed bodies that make no sense are refused as such."""
    assert call.create(**changes).status_code == 422
    assert box.audit().links == 0


@pytest.mark.parametrize(
    ("switch", "changes"),
    [
        ({"retailers": ["target"]}, {}),
        ({"intents": ["custom_url"]}, {}),
        ({"max_products": 1}, {"products": [_PRODUCT, _PRODUCT]}),
        ({"max_quantity": 5}, {"products": [_PRODUCT | {"quantity": 6}]}),
    ],
)
def test_what_is_on_offer_is_a_switch(
    box: Sandbox, call: Caller, switch: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Retailers, intents and bounds can be taken away while running."""
    assert call.create(**changes).status_code == 201
    box.reconfigure(**switch)
    assert call.create(**changes).status_code == 422


def test_body_size_is_a_switch(box: Sandbox, call: Caller) -> None:
    """A body over the bound is a 413."""
    box.reconfigure(max_body_bytes=300)
    assert call.create().status_code == 201
    assert call.create(metadata={"a": "x" * 300}).status_code == 413
