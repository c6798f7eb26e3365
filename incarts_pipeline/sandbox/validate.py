"""The published rules of the request bodies, by hand and fast."""

from __future__ import annotations

import re
from typing import Any

RETAILERS = frozenset({"walmart", "target", "instacart"})
_NEEDS = {
    "add_to_cart": "walmart",
    "product_detail": "target",
    "shopping_list": "instacart",
    "recipe": "instacart",
}
_FIELDS = frozenset(
    {
        "projectId", "name", "publicName", "retailer", "intent", "products", "location",
        "customUrl", "fallbackUrl", "tracking", "options", "metadata",
    }
)  # fmt: skip
_URL = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z0-9-]{3,64}")


class InvalidError(Exception):
    """A request that breaks a rule: 400 for its shape, 422 for its meaning."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def link_body(body: Any) -> dict[str, Any]:
    """Return a create-link body that keeps every rule.

    Raises:
        InvalidError: it breaks one.
    """
    if not isinstance(body, dict):
        raise InvalidError(400, "the body must be a JSON object")
    unknown = body.keys() - _FIELDS
    if unknown:
        raise InvalidError(400, f"unknown field {min(unknown)}")
    _text(body, "projectId", 128)
    _text(body, "name", 160)
    _text(body, "retailer", 64)
    for name in ("publicName", "customUrl", "fallbackUrl"):
        if name in body:
            _text(body, name, 4096)
    for name in ("customUrl", "fallbackUrl"):
        if name in body and not _URL.fullmatch(body[name]):
            raise InvalidError(400, f"{name} must be an http(s) URL")
    _products(body.get("products", []))
    _location(body.get("location"))
    for name in ("tracking", "options", "metadata"):
        if name in body and not isinstance(body[name], dict):
            raise InvalidError(400, f"{name} must be an object")
    _meaning(body)
    return body


def _text(body: dict[str, Any], name: str, most: int) -> None:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise InvalidError(400, f"{name} must be a text of 1 to {most} characters")


def _products(products: Any) -> None:
    if not isinstance(products, list):
        raise InvalidError(400, "products must be an array")
    for product in products:
        if not isinstance(product, dict):
            raise InvalidError(400, "a product must be an object")
        quantity, backups = product.get("quantity"), product.get("backupProductIds", [])
        if not isinstance(product.get("retailerProductId"), str):
            raise InvalidError(400, "retailerProductId must be a text")
        if type(quantity) is not int or quantity < 1:
            raise InvalidError(400, "quantity must be an integer of at least 1")
        if not isinstance(backups, list) or not all(isinstance(one, str) for one in backups):
            raise InvalidError(400, "backupProductIds must be texts")


def _location(location: Any) -> None:
    if location is None:
        return
    code = location.get("zipCode") if isinstance(location, dict) else None
    if not isinstance(code, str) or not re.fullmatch(r"\d{5}", code, re.ASCII):
        raise InvalidError(400, "location.zipCode must be 5 digits")


def _meaning(body: dict[str, Any]) -> None:
    intent, retailer = body.get("intent"), body["retailer"]
    if intent == "custom_url":
        if "customUrl" not in body:
            raise InvalidError(422, "custom_url needs customUrl")
        return
    if intent not in _NEEDS:
        raise InvalidError(422, f"intent {intent!r} is not supported")
    if retailer != _NEEDS[intent]:
        raise InvalidError(422, f"{intent} is not offered for {retailer}")
    if intent in ("add_to_cart", "product_detail"):
        if not body.get("products"):
            raise InvalidError(422, f"{intent} needs at least one product")
        return
    name = "shoppingList" if intent == "shopping_list" else "recipe"
    if not isinstance((body.get("options") or {}).get("instacart", {}).get(name), dict):
        raise InvalidError(422, f"{intent} needs options.instacart.{name}")


def scope_of(body: dict[str, Any]) -> str:
    """Return the retailer scope that a link needs."""
    custom = body["intent"] == "custom_url"
    return "retailers:custom" if custom else f"retailers:{body['retailer']}"


def qr_body(body: Any) -> dict[str, Any]:
    """Return a create-QR-code body that keeps every rule."""
    if not isinstance(body, dict):
        raise InvalidError(400, "the body must be a JSON object")
    identifier = body.get("identifier")
    if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
        raise InvalidError(400, "identifier must match ^[A-Za-z0-9-]{3,64}$")
    _text(body, "name", 120)
    return body
