"""Each rule on its own: what breaks it, what it says, and what it lets through."""

from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import (
    SUSPICIONS,
    Limits,
    NoteCode,
    ProblemCode,
    Severity,
    severity_of,
)
from incarts_pipeline.prepare.prepare import prepare

LINK: dict[str, Any] = {
    "name": {"column": "name"},
    "retailer": {"column": "retailer"},
    "intent": {"column": "intent"},
    "products": {
        "retailer_product_id": {"column": "item"},
        "quantity": {"column": "qty"},
        "backup_product_ids": {"column": "backups"},
    },
    "location": {"zip_code": {"column": "zip"}, "store_id": {"column": "store"}},
    "custom_url": {"column": "url"},
    "options": {"instacart": {"recipe": {"column": "recipe"}, "shopping_list": {"column": "list"}}},
    "tracking": {"tags": {"column": "tags"}},
}
GOOD: dict[str, Any] = {
    "sku": "1",
    "name": "Coffee",
    "retailer": "walmart",
    "intent": "add_to_cart",
    "item": "550098461",
    "qty": "2",
    "backups": ["7", "8"],
    "zip": "02139",
    "store": "77",
    "url": "https://a.b/c",
    "recipe": None,
    "list": None,
    "tags": ["new"],
}
MANY = [str(number) for number in range(201)]
LISTS = ("backups", "tags")
SCHEMA = pa.schema({name: pa.list_(pa.string()) if name in LISTS else pa.string() for name in GOOD})


def link_request(limits: Limits | None = None, *, more: object = None, **values: object) -> Any:
    mapping = {"link_set": "s", "unique_key": "sku", "link": LINK, **dict(more or {})}
    table = pa.Table.from_pylist([{**GOOD, **values}], schema=SCHEMA)
    batches = prepare(
        table.to_batches(),
        load_mapping(mapping),
        schema=SCHEMA,
        project_id="p",
        limits=limits or Limits(),
    )
    return next(batches).to_pylist()[0]


def test_a_good_row_has_no_problem() -> None:
    """The row that the other tests break is whole."""
    row = link_request()
    assert row["problems"] == []
    assert row["body"]


@pytest.mark.parametrize(
    ("values", "field", "code", "message"),
    [
        ({"name": None}, "name", "missing", 'column "name" is empty'),
        ({"name": " \t\u00a0\u2003"}, "name", "missing", "is empty"),
        ({"name": "x" * 161}, "name", "too_long", "it has 161"),
        ({"retailer": None}, "retailer", "missing", "is empty"),
        ({"retailer": "Walmart"}, "retailer", "wrong_case", '"walmart"'),
        ({"retailer": "walmart "}, "retailer", "wrong_case", "write retailer: walmart in the"),
        ({"retailer": " WALMART"}, "retailer", "wrong_case", '"walmart"'),
        ({"retailer": "kroger"}, "retailer", "unknown_retailer", "instacart, target, walmart"),
        ({"retailer": "target"}, "retailer", "wrong_retailer", "goes with the retailer walmart"),
        ({"intent": None}, "intent", "missing", "is empty"),
        ({"intent": "Add_To_Cart"}, "intent", "wrong_case", '"add_to_cart"'),
        ({"intent": "buy"}, "intent", "unknown_intent", "product_detail"),
        ({"item": None}, "products", "needed", "add_to_cart needs products"),
        ({"item": "550098461.0"}, "products.retailer_product_id", "number_like_id", "as text"),
        ({"item": "5.5e8"}, "products.retailer_product_id", "number_like_id", "5.5e8"),
        ({"item": "1E9"}, "products.retailer_product_id", "number_like_id", "1E9"),
        ({"item": " 1"}, "products.retailer_product_id", "white_space", "trim"),
        ({"item": "1\u00a0"}, "products.retailer_product_id", "white_space", "trim"),
        ({"qty": None}, "products.quantity", "missing", "give a default"),
        ({"qty": "0"}, "products.quantity", "not_a_count", '"0"'),
        ({"qty": "-1"}, "products.quantity", "not_a_count", '"-1"'),
        ({"qty": "1.5"}, "products.quantity", "not_a_count", '"1.5"'),
        ({"qty": "abc"}, "products.quantity", "not_a_count", '"abc"'),
        ({"qty": "0x1F"}, "products.quantity", "not_a_count", '"0x1F"'),
        ({"qty": "10000"}, "products.quantity", "over_limit", "9999"),
        ({"backups": ["1.0"]}, "products.backup_product_ids", "number_like_id", '"1.0"'),
        ({"backups": MANY}, "products.backup_product_ids", "over_limit", "201"),
        ({"zip": "2139"}, "location.zip_code", "not_a_zip_code", "leading zero? Write 02139;"),
        ({"zip": "926"}, "location.zip_code", "not_a_zip_code", "Write 00926;"),
        ({"zip": "02139-1234"}, "location.zip_code", "not_a_zip_code", r"extract: '^(\d{5})'"),
        ({"zip": "021391234"}, "location.zip_code", "not_a_zip_code", "ZIP+4"),
        ({"zip": "02139-1"}, "location.zip_code", "not_a_zip_code", "five digits"),
        ({"zip": "٠٢١٣٩"}, "location.zip_code", "not_a_zip_code", "five digits"),
        ({"zip": None}, "location.store_id", "store_without_zip_code", "without a ZIP code"),
        ({"url": "a.b"}, "custom_url", "not_a_url", '"a.b"'),
        ({"url": "ftp://a.b"}, "custom_url", "not_a_url", "http://"),
        ({"url": "https://"}, "custom_url", "not_a_url", "host"),
        ({"url": "https:///path"}, "custom_url", "not_a_url", "host"),
        ({"url": "https://:80/"}, "custom_url", "not_a_url", "host"),
        ({"url": "https://a b.c"}, "custom_url", "not_a_url", "spaces"),
        ({"url": "https://a.b/c\n"}, "custom_url", "not_a_url", "spaces"),
        ({"url": "https://a.b/" + "x" * 2048}, "custom_url", "too_long", "2060"),
        ({"intent": "custom_url", "url": None}, "custom_url", "needed", "needs custom_url"),
        (
            {"intent": "recipe", "retailer": "instacart"},
            "options.instacart.recipe", "needed", "needs options.instacart.recipe",
        ),
        (
            {"intent": "shopping_list", "retailer": "instacart", "list": "{}"},
            "options.instacart.shopping_list", "needed", "shopping_list",
        ),
        ({"recipe": "[1]"}, "options.instacart.recipe", "not_an_object", "a list"),
    ],
)  # fmt: skip
def test_each_rule_names_field_and_fix(
    values: dict[str, Any], field: str, code: str, message: str
) -> None:
    """A broken rule is one problem with its field, its code, and the value or the fix."""
    row = link_request(**values)
    assert [(p["field"], p["code"]) for p in row["problems"]] == [(field, code)]
    assert message in row["problems"][0]["message"]
    assert row["body"] is None
    assert row["content_hash"] is None
    assert code in set(ProblemCode)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x" * 160},
        {"name": "\U0001f600" * 160},
        {"name": "a\tb\nc\u200d\u200c\u200f\u00ad"},
        {"item": "A-1.e"},
        {"qty": " 2.00 "},
        {"zip": None, "store": None},
        {"url": "HTTPS://a.b:8080/ü?q=1#f"},
        {"url": "https://[2001:4860:4860::8888]/"},
        {"url": "https://xn--mnchen-3ya.de"},
        {"intent": "custom_url", "retailer": "aldi", "item": None, "qty": None},
        {"intent": "custom_url", "retailer": "walmart ", "item": None, "qty": None},
        {"intent": "product_detail", "retailer": "target"},
        {"intent": "recipe", "retailer": "instacart", "recipe": '{"a": 1}'},
        {"tags": ["", None, " x "]},
    ],
    ids=repr,
)
def test_what_is_allowed_passes(values: dict[str, Any]) -> None:
    """Bounds themselves, other scripts and optional nulls break nothing; a tab is noted."""
    problems = link_request(**values)["problems"]
    noted = ["tab_or_break"] if "\t" in values.get("name", "") else []
    assert [one["code"] for one in problems if one["severity"] == "note"] == noted
    assert len(problems) == len(noted)


def test_all_broken_rules_are_collected() -> None:
    """A row names everything that is wrong with it at once."""
    row = link_request(name=None, item="1.0", qty="0", zip="x", url="y")
    assert len(row["problems"]) == 5


def test_values_in_messages_are_shortened() -> None:
    """A long value doesn't flood the report."""
    message = link_request(url="x" * 500)["problems"][0]["message"]
    assert "x" * 80 + "…" in message
    assert "x" * 81 not in message


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("x" * 200, "x" * 160),
        ("x" * 159 + " yyy", "x" * 159),
        ("x" * 159 + "e\u0301z", "x" * 159),
        ("x" * 158 + "e\u0301z", "x" * 158 + "e\u0301"),
        ("x" * 158 + "\U0001f469\u200d\U0001f680", "x" * 158),
        ("x" * 159 + "\U0001f44d\U0001f3fd", "x" * 159),
        ("x" * 157 + "\U0001f469\u200d\U0001f680" + "y", "x" * 157 + "\U0001f469\u200d\U0001f680"),
    ],
)
def test_long_names_are_cut_at_a_character(name: str, cut: str) -> None:
    """Truncating never leaves half a character or a dangling joiner, and is noted."""
    row = link_request(more={"on_too_long": "truncate"}, name=name)
    assert f'"name":"{cut}"' in row["body"]
    assert [note["code"] for note in row["problems"]] == [NoteCode.TRUNCATED]


def test_backups_are_dropped_with_a_note() -> None:
    """The product itself and repeated ones are no backups; the others keep their order."""
    row = link_request(backups=["9", "550098461", " 8 ", "9", None, ""])
    assert '"backupProductIds":["9","8"]' in row["body"]
    assert [note["code"] for note in row["problems"]] == [NoteCode.BACKUP_DROPPED]


def test_unknown_retailers_and_intents_can_be_allowed() -> None:
    """What this version doesn't know goes through when the mapping says so."""
    more = {"allow_unknown": True}
    assert link_request(more=more, retailer="kroger")["problems"] == []
    assert link_request(more=more, retailer="kroger", intent="buy")["problems"] == []
    assert link_request(more=more, retailer="walmart ")["problems"] == []
    assert link_request(more=more, retailer="target")["problems"][0]["code"] == "wrong_retailer"


def test_bodies_have_a_limit() -> None:
    """A body over the limit is the row's problem."""
    row = link_request(Limits(max_body_bytes=50))
    assert [(p["field"], p["code"]) for p in row["problems"]] == [("body", "over_limit")]


def test_codes_are_documented() -> None:
    """Problem, suspicion and note codes never share a name, so that one table can list them."""
    codes = [*ProblemCode, *SUSPICIONS, *NoteCode]
    assert len(set(map(str, codes))) == len(codes)
    assert {severity_of(code) for code in ProblemCode} == {Severity.ERROR}
    assert {severity_of(code) for code in SUSPICIONS} == {Severity.SUSPICION}
    assert {severity_of(code) for code in NoteCode} == {Severity.NOTE}
