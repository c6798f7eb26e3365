"""The API's rules as vectorized checks; all broken rules of a row are named, with the fix.

The rules are those of the published API reference for `POST /v1/links`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.json_text import has_bytes
from incarts_pipeline.models import Intent, Limits
from incarts_pipeline.schemas import PROBLEM, PROBLEMS

_STRING = pa.string()
_SHOWN = 60  # characters of a value in a message

RETAILERS = ("walmart", "target", "instacart")
RETAILER_OF = {
    Intent.ADD_TO_CART: "walmart",
    Intent.PRODUCT_DETAIL: "target",
    Intent.SHOPPING_LIST: "instacart",
    Intent.RECIPE: "instacart",
}
MAX_NAME = 160


class ProblemCode(StrEnum):
    """Every code that a row's problems and notes can have."""

    KEY_MISSING = "key_missing"
    DUPLICATE_KEY = "duplicate_key"
    MISSING = "missing"
    TOO_LONG = "too_long"
    TRUNCATED = "truncated"  # a note
    UNKNOWN_RETAILER = "unknown_retailer"
    UNKNOWN_INTENT = "unknown_intent"
    WRONG_RETAILER = "wrong_retailer"
    NOT_A_QUANTITY = "not_a_quantity"
    QUANTITY_TOO_HIGH = "quantity_too_high"
    ID_LIKE_FLOAT = "id_like_float"
    ID_WITH_SPACES = "id_with_spaces"
    REPEATED_BACKUP = "repeated_backup"  # a note
    NOT_A_ZIP = "not_a_zip"
    STORE_WITHOUT_ZIP = "store_without_zip"
    NOT_A_URL = "not_a_url"
    BAD_JSON = "bad_json"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_PRODUCTS = "too_many_products"
    NOT_TRUE_OR_FALSE = "not_true_or_false"
    NOT_A_NUMBER = "not_a_number"
    BASKET_CONFLICT = "basket_conflict"
    BASKET_LINE = "basket_line"


class Findings:
    """Problems of a batch's rows, collected rule by rule and turned into one list per row."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._problems: list[pa.StructArray] = []

    def add(
        self, broken: pa.Array, field: str, code: ProblemCode, *message: pa.Array | Shown | str
    ) -> None:
        """Note a problem on every row where `broken` is true.

        The message is joined from texts and columns, and only for the rows that need it.
        """
        rows = np.flatnonzero(pc.fill_null(broken, False).to_numpy(zero_copy_only=False))
        if not len(rows):
            return
        take = pa.array(rows)
        columns = [
            pa.repeat(pa.scalar(field), len(rows)),
            pa.repeat(pa.scalar(code.value), len(rows)),
            _message(message, take),
        ]
        self._rows.append(rows)
        self._problems.append(pa.StructArray.from_arrays(columns, fields=list(PROBLEM)))

    def per_row(self, rows: int) -> pa.ListArray:
        """Return each row's problems, in the order in which the rules ran."""
        if not self._rows:
            offsets = np.zeros(rows + 1, dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(offsets), pa.array([], PROBLEM)).cast(PROBLEMS)
        parents = np.concatenate(self._rows)
        order = np.argsort(parents, kind="stable")
        offsets = np.zeros(rows + 1, dtype=np.int32)
        np.cumsum(np.bincount(parents, minlength=rows), out=offsets[1:])
        problems = pa.concat_arrays(self._problems).take(pa.array(order))
        return pa.ListArray.from_arrays(pa.array(offsets), problems).cast(PROBLEMS)


@dataclass(frozen=True, slots=True)
class Shown:
    """Values that a message shows short and in quotes."""

    values: pa.Array


def _message(parts: Sequence[pa.Array | Shown | str], take: pa.Array) -> pa.Array:
    joined = [_part(part, take) for part in parts]
    if all(isinstance(part, str) for part in joined):
        return pa.repeat(pa.scalar("".join(joined)), len(take))
    return pc.binary_join_element_wise(*joined, "", null_handling="replace")


def _part(part: pa.Array | Shown | str, take: pa.Array) -> pa.Array | str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Shown):
        return part.take(take).cast(_STRING)
    text = pc.fill_null(part.values.take(take).cast(_STRING), "null")
    cut = pc.utf8_slice_codeunits(text, 0, _SHOWN)
    dots = pc.if_else(pc.greater(pc.utf8_length(text), _SHOWN), "…", "")
    return pc.binary_join_element_wise("'", cut, dots, "'", "")


def require(found: Findings, value: pa.Array | None, field: str, rows: int) -> None:
    """A required field must not be null."""
    missing = pa.repeat(pa.scalar(True), rows) if value is None else pc.is_null(value)
    found.add(missing, field, ProblemCode.MISSING, f"{field} is missing; fill it or give a default")


def check_name(found: Findings, name: pa.Array) -> None:
    """1 to 160 characters, and not only spaces."""
    found.add(
        pc.equal(pc.binary_length(pc.utf8_trim_whitespace(name)), 0),
        "name",
        ProblemCode.MISSING,
        "name is blank",
    )
    length = pc.utf8_length(name)
    found.add(
        pc.greater(length, MAX_NAME),
        "name",
        ProblemCode.TOO_LONG,
        "name has ",
        length,
        f" characters, {MAX_NAME} are allowed; shorten it or set on_too_long: truncate",
    )


def truncate_name(notes: Findings, name: pa.Array) -> pa.Array:
    """Cut names at 160 characters, never leaving half of a joined emoji's glue behind."""
    long = pc.greater(pc.utf8_length(name), MAX_NAME)
    notes.add(long, "name", ProblemCode.TRUNCATED, f"name was cut to {MAX_NAME} characters")
    cut = pc.utf8_rtrim(pc.utf8_slice_codeunits(name, 0, MAX_NAME), "\u200d")
    return pc.if_else(long, cut, name)


def check_kind(
    found: Findings, retailer: pa.Array, intent: pa.Array, *, allow_unknown: bool
) -> None:
    """The intent must be known, and its retailer must be the one that offers it."""
    custom = pc.equal(intent, Intent.CUSTOM_URL.value)
    if not allow_unknown:
        _check_listed(
            found, intent, pa.repeat(pa.scalar(True), len(intent)), "intent", list(Intent),
            ProblemCode.UNKNOWN_INTENT,
        )  # fmt: skip
        _check_listed(
            found, retailer, pc.invert(pc.fill_null(custom, False)), "retailer", list(RETAILERS),
            ProblemCode.UNKNOWN_RETAILER,
        )  # fmt: skip
    for kind, owner in RETAILER_OF.items():
        other = pc.and_(pc.equal(intent, kind.value), pc.not_equal(retailer, owner))
        if allow_unknown:
            other = pc.and_(other, pc.is_in(retailer, pa.array(RETAILERS)))
        found.add(
            other,
            "retailer",
            ProblemCode.WRONG_RETAILER,
            f"{kind.value} goes with {owner}, not with ",
            Shown(retailer),
        )


def _check_listed(
    found: Findings,
    value: pa.Array,
    where: pa.Array,
    field: str,
    known: list[str],
    code: ProblemCode,
) -> None:
    unknown = pc.and_(where, pc.invert(pc.is_in(value, pa.array(known, _STRING))))
    unknown = pc.and_(unknown, pc.is_valid(value))
    if not pc.any(unknown).as_py():
        return
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(value))
    meant = pc.if_else(
        pc.is_in(lower, pa.array(known, _STRING)),
        pc.binary_join_element_wise(": write ", lower, ""),
        "",
    )
    listed = ", ".join(known)
    found.add(unknown, field, code, f"{field} ", Shown(value), f" is not one of {listed}", meant)


def check_ids(found: Findings, value: pa.Array, field: str) -> None:
    """An id must not look like a number that went through a float, nor have spaces around it."""
    if has_bytes(value, lambda data: (data == 0x2E) | ((data | 0x20) == 0x65)):
        found.add(
            like_float(value),
            field,
            ProblemCode.ID_LIKE_FLOAT,
            f"{field} ",
            Shown(value),
            " was a float once; read the column as text",
        )
    if has_bytes(value, lambda data: (data <= 0x20) | (data >= 0x80)):
        found.add(
            pc.not_equal(pc.utf8_trim_whitespace(value), value),
            field,
            ProblemCode.ID_WITH_SPACES,
            f"{field} ",
            Shown(value),
            " has spaces around it; remove them",
        )


def like_float(value: pa.Array) -> pa.Array:
    """Say which ids look like 550098461.0 or 5.5e8."""
    return pc.match_substring_regex(value, r"^\d+(\.\d+|(\.\d+)?[eE]\+?\d+)$")


def whole_quantity(found: Findings, value: pa.Array, limits: Limits) -> pa.Array:
    """Return quantities as int64; "2" and 2.0 count as 2, anything else is named."""
    field = "products.quantity"
    if pa.types.is_integer(value.type):
        whole = pc.greater_equal(value, 1)
        number = pc.if_else(whole, value, pa.scalar(None, value.type)).cast(pa.int64())
    else:
        text = pc.utf8_trim_whitespace(value.cast(_STRING))
        whole = pc.match_substring_regex(text, r"^0*[1-9]\d{0,8}(\.0*)?$")
        digits = pc.replace_substring_regex(text, r"\..*$", "")
        number = pc.if_else(whole, digits, pa.scalar(None, _STRING)).cast(pa.int64())
    found.add(
        pc.invert(whole),
        field,
        ProblemCode.NOT_A_QUANTITY,
        "quantity ",
        Shown(value),
        " is not a whole number of at least 1",
    )
    found.add(
        pc.greater(number, limits.max_quantity),
        field,
        ProblemCode.QUANTITY_TOO_HIGH,
        "quantity ",
        Shown(value),
        f" is above the limit of {limits.max_quantity}",
    )
    return number


def check_location(found: Findings, zip_code: pa.Array, store: pa.Array | None) -> None:
    """A ZIP code has five digits, and a store needs one."""
    digits = pc.ascii_is_decimal(zip_code)
    length = pc.binary_length(zip_code)
    bad = pc.invert(pc.and_(digits, pc.equal(length, 5)))
    hint = pc.if_else(
        pc.and_(digits, pc.equal(length, 4)),
        "; has it lost its leading zero? Read the column as text",
        "",
    )
    found.add(
        bad,
        "location.zip_code",
        ProblemCode.NOT_A_ZIP,
        "zip_code ",
        Shown(zip_code),
        " is not five digits",
        pc.fill_null(hint, ""),
    )
    if store is not None:
        found.add(
            pc.and_(pc.is_valid(store), pc.is_null(zip_code)),
            "location.store_id",
            ProblemCode.STORE_WITHOUT_ZIP,
            "store_id needs a zip_code beside it",
        )


def check_url(found: Findings, url: pa.Array, field: str, limits: Limits) -> None:
    """An http(s) URL with a host, without spaces or control characters."""
    good = pc.match_substring_regex(url, r"^(?i:https?)://[^\s/?#\x00-\x1f]+[^\s\x00-\x1f]*$")
    found.add(
        pc.invert(good),
        field,
        ProblemCode.NOT_A_URL,
        f"{field} ",
        Shown(url),
        " is not an http(s) URL",
    )
    found.add(
        pc.greater(pc.utf8_length(url), limits.max_url_characters),
        field,
        ProblemCode.TOO_LONG,
        f"{field} is longer than {limits.max_url_characters} characters",
    )


def check_needs(
    found: Findings,
    intent: pa.Array,
    has_products: pa.Array,
    has_url: pa.Array,
    has_list: pa.Array,
    has_recipe: pa.Array,
) -> None:
    """Each intent needs its own field."""
    needs = {
        Intent.CUSTOM_URL: ("custom_url", has_url),
        Intent.ADD_TO_CART: ("products.retailer_product_id", has_products),
        Intent.PRODUCT_DETAIL: ("products.retailer_product_id", has_products),
        Intent.SHOPPING_LIST: ("options.instacart.shopping_list", has_list),
        Intent.RECIPE: ("options.instacart.recipe", has_recipe),
    }
    for kind, (field, has) in needs.items():
        found.add(
            pc.and_(pc.equal(intent, kind.value), pc.invert(has)),
            field,
            ProblemCode.MISSING,
            f"{kind.value} needs {field}",
        )
