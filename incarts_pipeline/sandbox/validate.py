"""Validation of request bodies by the published rules, by hand and fast.

Shape comes first (types, lengths, unknown fields: 400), meaning later (what a retailer or an intent
needs: 422).
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from incarts_pipeline.sandbox.config import SandboxConfig

# Said again rather than taken from the library: what tests it must not share its mistakes.
_RETAILER_OF = {
    "add_to_cart": "walmart",
    "product_detail": "target",
    "shopping_list": "instacart",
    "recipe": "instacart",
}
_LINK = frozenset(
    {
        "projectId", "name", "publicName", "retailer", "intent", "products", "location",
        "customUrl", "fallbackUrl", "tracking", "options", "metadata",
    }
)  # fmt: skip
_PRODUCT = frozenset({"retailerProductId", "quantity", "backupProductIds"})
_LOCATION = frozenset({"zipCode", "storeId"})
_TRACKING = frozenset({"utm", "tags"})
_UTM = frozenset({"source", "medium", "campaign", "term", "content"})
_INSTACART = frozenset({"shoppingList", "recipe"})
_QR = frozenset({"projectId", "identifier", "name", "metadata"})
_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_ZIP = re.compile(r"[0-9]{5}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9-]{3,64}")
_PROJECT_CHARACTERS = 128
_NAME_CHARACTERS = 160
_QR_NAME_CHARACTERS = 120
_ANY_LENGTH = 1 << 30


class InvalidError(Exception):
    """A body that breaks a rule: 400 for its shape, 422 for its meaning."""

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.message = message


def parse(body: bytes) -> dict[str, Any]:
    """Return a body as a JSON object.

    Raises:
        InvalidError: it isn't one, or isn't JSON in UTF-8 as RFC 8259 has it.
    """
    try:
        content = _DECODER.decode(body.decode())
        # Only an escape can make one: UTF-8 has no half characters.
        if b"\\u" in body:
            json.dumps(content, ensure_ascii=False).encode()  # lone surrogates can't be stored
    except (ValueError, RecursionError):
        raise InvalidError(400, "body", "the body is not JSON") from None
    return _object(content, "body")


# Python's parser takes NaN and Infinity, which JSON doesn't have.
def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def link_shape(body: dict[str, Any]) -> None:
    """Check a create-link body's fields, each by itself.

    Raises:
        InvalidError: 400.
    """
    _known(body, _LINK, "")
    _text(body, "projectId", _PROJECT_CHARACTERS)
    _text(body, "name", _NAME_CHARACTERS)
    _text(body, "retailer", _ANY_LENGTH)
    for name in ("publicName", "intent"):
        _optional_text(body, name)
    for name in ("customUrl", "fallbackUrl"):
        _optional_text(body, name)
        if name in body and not _URL.fullmatch(body[name]):
            raise InvalidError(400, name, f"{name} must be an http(s) URL")
    if "products" in body:
        _products(body["products"])
    if "location" in body:
        _location(body["location"])
    if "tracking" in body:
        _tracking(body["tracking"])
    if "options" in body:
        _options(body["options"])
    if "metadata" in body:
        _object(body["metadata"], "metadata")


def qr_shape(body: dict[str, Any], *, needs_project: bool) -> None:
    """Check a create-QR-code body's fields.

    Raises:
        InvalidError: 400.
    """
    _known(body, _QR, "")
    if needs_project or "projectId" in body:
        _text(body, "projectId", _PROJECT_CHARACTERS)
    _text(body, "identifier", _ANY_LENGTH)
    if not _IDENTIFIER.fullmatch(body["identifier"]):
        raise InvalidError(400, "identifier", "identifier must match ^[A-Za-z0-9-]{3,64}$")
    _text(body, "name", _QR_NAME_CHARACTERS)
    if "metadata" in body:
        _object(body["metadata"], "metadata")


def link_meaning(body: dict[str, Any], config: SandboxConfig) -> None:
    """Check a link against what its intent and retailer need and the sandbox offers.

    Raises:
        InvalidError: 422.
    """
    intent, retailer = body.get("intent"), body["retailer"]
    if intent not in config.intents:
        raise InvalidError(422, "intent", f"intent {intent!r} is not supported")
    # Any retailer: the URL says where it leads.
    if intent == "custom_url":
        if "customUrl" not in body:
            raise InvalidError(422, "customUrl", "custom_url needs customUrl")
    elif retailer not in config.retailers or retailer != _RETAILER_OF[intent]:
        raise InvalidError(422, "retailer", f"{intent} is not offered for {retailer}")
    elif intent in ("add_to_cart", "product_detail"):
        if not body.get("products"):
            raise InvalidError(422, "products", f"{intent} needs at least one product")
    else:
        name = "shoppingList" if intent == "shopping_list" else "recipe"
        if name not in body.get("options", {}).get("instacart", {}):
            raise InvalidError(422, "options", f"{intent} needs options.instacart.{name}")
    _bounds(body.get("products", []), config)


def _bounds(products: list[dict[str, Any]], config: SandboxConfig) -> None:
    most = config.max_products
    if most is not None and len(products) > most:
        raise InvalidError(422, "products", f"at most {most} products")
    most = config.max_quantity
    if most is not None and any(one["quantity"] > most for one in products):
        raise InvalidError(422, "products", f"quantity must be at most {most}")


def retailer_scope(body: dict[str, Any]) -> str:
    """Return the retailer scope that a link needs."""
    return f"retailers:{'custom' if body.get('intent') == 'custom_url' else body['retailer']}"


def _known(value: dict[str, Any], names: frozenset[str], path: str) -> None:
    if not value.keys() <= names:
        # The first by name, so that one body has one message.
        unknown = f"{path}{min(value.keys() - names)}"
        raise InvalidError(400, unknown, f"unknown field {unknown}")


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidError(400, field, f"{field} must be an object")
    return value


def _text(value: dict[str, Any], name: str, most: int, path: str = "") -> None:
    text = value.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= most:
        bounds = "that is not empty" if most == _ANY_LENGTH else f"of 1 to {most} characters"
        raise InvalidError(400, f"{path}{name}", f"{path}{name} must be a text {bounds}")


def _optional_text(value: dict[str, Any], name: str, path: str = "") -> None:
    if name in value and not isinstance(value[name], str):
        raise InvalidError(400, f"{path}{name}", f"{path}{name} must be a text")


def _texts(value: Any, field: str) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidError(400, field, f"{field} must be an array of texts")


def _products(products: Any) -> None:
    if not isinstance(products, list):
        raise InvalidError(400, "products", "products must be an array")
    for place, product in enumerate(products):
        path = f"products[{place}]."
        _known(_object(product, path[:-1]), _PRODUCT, path)
        _text(product, "retailerProductId", _ANY_LENGTH, path)
        quantity = product.get("quantity")
        # Not isinstance: true is an int for Python, and 1.0 none.
        if type(quantity) is not int or quantity < 1:
            raise InvalidError(
                400, f"{path}quantity", f"{path}quantity must be an integer of at least 1"
            )
        if "backupProductIds" in product:
            _texts(product["backupProductIds"], f"{path}backupProductIds")


def _location(location: Any) -> None:
    _known(_object(location, "location"), _LOCATION, "location.")
    code = location.get("zipCode")
    if not isinstance(code, str) or not _ZIP.fullmatch(code):
        raise InvalidError(400, "location.zipCode", "location.zipCode must be 5 digits")
    _optional_text(location, "storeId", "location.")


def _tracking(tracking: Any) -> None:
    _known(_object(tracking, "tracking"), _TRACKING, "tracking.")
    utm = _object(tracking.get("utm", {}), "tracking.utm")
    _known(utm, _UTM, "tracking.utm.")
    for name in utm:
        _optional_text(utm, name, "tracking.utm.")
    _texts(tracking.get("tags", []), "tracking.tags")


def _options(options: Any) -> None:
    _known(_object(options, "options"), frozenset({"instacart"}), "options.")
    instacart = _object(options.get("instacart", {}), "options.instacart")
    _known(instacart, _INSTACART, "options.instacart.")
    for name, value in instacart.items():
        _object(value, f"options.instacart.{name}")
