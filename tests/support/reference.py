"""What prepare does, said again as plainly as possible: one dict per row, no columns.

It knows the mapping that the property tests use, and only the rules, not how they are computed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import rfc8785

from incarts_pipeline.prepare import stand_ins

MAPPING: dict[str, Any] = {
    "link_set": "set",
    "unique_key": ["sku"],
    "link": {
        "name": {"template": "{brand}: {title}", "default": "Unnamed"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "public_name": {"column": "title"},
        "products": {
            "retailer_product_id": {"column": "item"},
            "quantity": {"column": "qty", "default": 1},
            "backup_product_ids": {"column": "backups", "split": ","},
        },
        "location": {"zip_code": {"column": "zip"}, "store_id": {"column": "store"}},
        "fallback_url": {"column": "url"},
        "tracking": {
            "utm": {"source": "news", "campaign": {"column": "campaign"}},
            "tags": {"column": "tags", "split": "|"},
        },
        "options": {"instacart": {"shopping_list": {"column": "list_json"}}},
        "metadata": {
            "text é": {"column": "note"},
            "count": {"column": "count"},
            "ratio": {"column": "ratio"},
            "fixed": [1, {"b": None, "a": 1.0}],
        },
    },
}


class BrokenError(Exception):
    """The row breaks a rule."""


def body(row: dict[str, Any]) -> bytes | None:
    """Return the row's body, or None when it breaks a rule."""
    try:
        return rfc8785.dumps(_content(row))
    except BrokenError:
        return None


def _content(row: dict[str, Any]) -> dict[str, Any]:
    _code(row["sku"])
    brand, title = _title(_text(row["brand"])), _title(_text(row["title"]))
    tracking = {
        "tags": _list(row["tags"], "|"),
        "utm": _some({"campaign": _prose(_text(row["campaign"])), "source": "news"}),
    }
    metadata = {
        "text é": _text(row["note"]),
        "count": _exact(row["count"]),
        "ratio": row["ratio"],
        "fixed": [1, {"b": None, "a": 1.0}],
    }
    return _some(
        {
            "projectId": "project",
            "name": _name("Unnamed" if None in (brand, title) else f"{brand}: {title}"),
            "publicName": title,
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": [_product(row)],
            "location": _location(_text(row["zip"]), _code(_text(row["store"]))),
            "fallbackUrl": _url(_text(row["url"])),
            "tracking": _some(tracking),
            "options": _options(_text(row["list_json"])),
            "metadata": _some(metadata),
        }
    )


def _is_white(character: str) -> bool:
    return (
        unicodedata.category(character).startswith("Z")
        or character < "\x20"
        or (character == "\x85")
    )


def _text(value: str | None) -> str | None:
    return None if value is None or all(map(_is_white, value)) else value


def _some(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, {}, [])}


def _name(name: str) -> str:
    if len(name) > 160:
        raise BrokenError
    return name


# Drawn as nothing, though letters, marks or symbols.
_EMPTY = {
    *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, 0xFFFD)),
    *map(chr, [*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]),
}


def _control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\t\n\v\f\r\x85"


def _is_error(value: str) -> bool:
    """Return whether a cell is a spreadsheet's error, as far as random texts can be one."""
    cell = value.strip()
    if re.fullmatch("##+|#N/A|#NV", cell):
        return True
    inner = re.fullmatch("#[¡¿]?(.+)[!?]", cell, re.DOTALL)
    kinds = (
        [unicodedata.category(c) if c not in "_/0123456789" else "" for c in inner[1]]
        if inner
        else ["?"]
    )
    return kinds[0] == "Lu" and all(kind in ("", "Lu") or kind.startswith("M") for kind in kinds)


def _prose(value: str | None) -> str | None:
    """Return a text for people; what is odd in it holds a row, and doesn't break it."""
    if value is not None and _is_error(value):
        raise BrokenError
    return value


def _title(value: str | None) -> str | None:
    cell = "" if value is None else value.strip()
    if cell.lower() in stand_ins.NAME.nothing and cell not in ("NAN", "Nan", "NIL", "Nil"):
        raise BrokenError
    return _prose(value)


def _code(value: str | None) -> str | None:
    """Return an id or a key: nothing that nobody sees, no word for nothing, no formula."""
    if value is None:
        return None
    for character in value:
        hidden = unicodedata.category(character) == "Cf" or character in _EMPTY
        if hidden or _control(character):
            raise BrokenError
    cell = value.strip()
    if _is_error(value) or cell.lower() in stand_ins.ID.nothing or cell[:1] in set("'\"`=‘’"):
        raise BrokenError
    return value


def _product(row: dict[str, Any]) -> dict[str, Any]:
    item = _id(_text(row["item"]))
    quantity = _text(row["qty"]) or "1"
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}(\.0*)?", quantity.strip()):
        raise BrokenError
    number = int(float(quantity))
    if number > 9_999:
        raise BrokenError
    backups = [_id(backup) for backup in _list(row["backups"], ",")]
    backups = [backup for backup in dict.fromkeys(backups) if backup != item]
    product = {"retailerProductId": item, "quantity": number, "backupProductIds": backups}
    return _some(product)


def _id(value: str | None) -> str:
    if value is None or re.fullmatch(
        r"[+-]?[0-9]+([.,][0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)", value
    ):
        raise BrokenError
    if any(_is_white(c) or c.isspace() for c in value):
        raise BrokenError
    if re.fullmatch(r"[0-9]{1,3}([.,'’ ][0-9]{3})+", value):
        raise BrokenError
    if value.lower() in ("true", "false"):
        raise BrokenError
    if not value.isascii() and all(unicodedata.category(c) == "Nd" for c in value):
        raise BrokenError
    _code(value)
    return value


def _list(text: str | None, separator: str) -> list[str]:
    if _text(text) is None:
        return []
    return [part.strip() for part in str(text).split(separator) if _text(part) is not None]


def _location(zip_code: str | None, store: str | None) -> dict[str, Any] | None:
    if (zip_code is None and store) or (zip_code and not re.fullmatch("[0-9]{5}", zip_code)):
        raise BrokenError
    return _some({"zipCode": zip_code, "storeId": store})


def _url(url: str | None) -> str | None:
    if url is not None and not re.match(r"https?://[a-z]", url):
        raise BrokenError
    return url


def _exact(value: int | None) -> int | None:
    if value is not None and abs(value) >= 2**53:
        raise BrokenError
    return value


def _options(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        rfc8785.dumps(value)
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        raise BrokenError from None
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or _depth(value) > 65:
        raise BrokenError
    return {"instacart": {"shoppingList": value}}


def without_nulls(value: object) -> object:
    """Return a struct column's value as it is sent: null members left out, lists kept whole."""
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = {name: without_nulls(item) for name, item in value.items()}
    return {name: item for name, item in members.items() if item is not None and item != {}}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise BrokenError
    return dict(pairs)


def _refuse(_: str) -> None:
    raise BrokenError


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 1
