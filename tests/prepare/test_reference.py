"""Bodies, hashes and nested columns of random rows, compared with a plain reference."""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pytest
import rfc8785
from hypothesis import event, given, settings, strategies as st

from tests.support import reference
from tests.support.link_requests import prepared, simple

NASTY = st.text(
    st.one_of(
        st.sampled_from('"\\/\b\f\n\r\t\x00\x1f\x7f\x85 \u2028\u00a0\u200d😀é{}|,'),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=8,
)


JSON_OBJECTS = st.dictionaries(
    NASTY, st.none() | st.integers(0, 9) | st.floats(-1e30, 1e30) | NASTY, max_size=3
).map(json.dumps)


JSON_TEXTS = st.one_of(
    st.dictionaries(NASTY, JSON_VALUES, max_size=4).map(json.dumps),
    JSON_VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.sampled_from(
        [
            '{"a":1,"a":2}',
            '{"a":"\\ud800"}',
            '{"\\ud83d\\ude00":1,"\ufb33":2}',
            "{",
            "{}",
            "null",
            "[1]",
            '{"a":9007199254740993}',
            '{"a":1e400}',
            '{"a":NaN}',
            '{"a":1E2,"b":-0.0}',
            '{"a":' * 64 + "1" + "}" * 64,
            '{"a":' * 65 + "1" + "}" * 65,
            '{"a":' * 9999,
        ]
    ),
)


def mostly(
    usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any], rare: list[Any]
) -> st.SearchStrategy[Any]:
    """Rows break when one field does, so that each must mostly be fine for any to have a body."""
    draw = st.integers(0, 19)
    return draw.flatmap(lambda n: usual if n < 16 else other if n < 19 else st.sampled_from(rare))


COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "sku": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)),
    "brand": (pa.string(), st.none() | NASTY),
    "title": (pa.string(), st.none() | NASTY | st.integers(150, 170).map("x".__mul__)),
    "item": (
        pa.string(),
        mostly(st.sampled_from(["12", "A-é\\", 'x"']), NASTY, [None, "5.0", "5.5e8", " 1"]),
    ),
    "qty": (
        pa.string(),
        mostly(
            st.sampled_from(["2", "2.0", " 3 ", None, "007"]),
            NASTY,
            ["0", "1.5", "-1", "1e1", "10000"],
        ),
    ),
    "backups": (
        pa.string(),
        mostly(st.sampled_from([None, "a,b,a", "12, 13 ,,12"]), NASTY, ["1.0"]),
    ),
    "zip": (pa.string(), mostly(st.just("02139"), st.none(), ["", "2139", "02139-1234"])),
    "store": (pa.string(), st.none() | NASTY),
    "url": (
        pa.string(),
        mostly(
            st.sampled_from([None, "https://a.b/ü?x#y"]),
            st.just("http://a"),
            ["HTTP//a", "https://", "ftp://a"],
        ),
    ),
    "campaign": (pa.string(), st.none() | NASTY),
    "tags": (pa.string(), st.none() | NASTY | st.sampled_from(["a|b", " a | |b"])),
    "list_json": (pa.string(), mostly(st.none(), JSON_OBJECTS, ["x"]) | JSON_TEXTS),
    "note": (pa.string(), st.none() | NASTY),
    "count": (pa.int64(), mostly(st.integers(0, 9), st.none(), [2**53 - 1, 2**53, -(2**63)])),
    "ratio": (pa.float64(), st.none() | st.floats(allow_nan=False, allow_infinity=False)),
}


SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
ROWS = st.lists(
    st.fixed_dictionaries({name: values for name, (_, values) in COLUMNS.items()}),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@given(ROWS, st.integers(1, 12))
def test_bodies_are_those_of_the_reference(rows: list[dict[str, Any]], size: int) -> None:
    """Whatever the texts, bodies, hashes and the rows that have any are the plain reference's."""
    rows = [row | {"sku": row["sku"] and row["sku"].replace("\0", "x")} for row in rows]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for row, found in zip(rows, prepared(table, reference.MAPPING, batch_rows=size), strict=True):
        expected = reference.body(row)
        event("has a body" if expected else "is broken")
        assert (None if found["body"] is None else found["body"].encode()) == expected, found
        errors = [one for one in found["problems"] if one["severity"] == "error"]
        assert (expected is None) == bool(errors)
        digest = None if expected is None else hashlib.sha256(expected).digest()
        assert found["content_hash"] == digest
        assert found["row_key"] == row["sku"]


@given(ROWS)
@settings(max_examples=30)
def test_the_catalog_is_never_changed(rows: list[dict[str, Any]]) -> None:
    """Preparing reads a batch and leaves it as it was."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    prepared(table, reference.MAPPING)
    assert table.equals(pa.Table.from_pylist(rows, schema=SCHEMA))


STRUCT = pa.struct(
    {
        "title": pa.string(),
        "n": pa.float64(),
        "ok": pa.bool_(),
        "\U0001f600": pa.struct({"x": pa.int64()}),
        "\ufb33": pa.list_(pa.int32()),
        "steps": pa.list_(
            pa.struct({"b": pa.string(), "a": pa.int8(), "c": pa.list_(pa.string())})
        ),
    }
)


STRUCTS = st.none() | st.fixed_dictionaries(
    {
        "title": st.none() | NASTY,
        "n": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "ok": st.none() | st.booleans(),
        "\U0001f600": st.none() | st.fixed_dictionaries({"x": st.none() | st.integers(0, 9)}),
        "\ufb33": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        "steps": st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "b": st.none() | NASTY,
                    "a": st.none() | st.integers(0, 9),
                    "c": st.none() | st.lists(st.none() | NASTY, max_size=2),
                }
            ),
            max_size=3,
        ),
    }
)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(STRUCTS, min_size=1, max_size=6))
def test_structs_are_those_of_the_reference(values: list[Any]) -> None:
    """However nulls are spread over nested columns, the object is the plain reference's."""
    rows = [{"sku": str(n), "name": "a", "r": value} for n, value in enumerate(values)]
    schema = pa.schema({"sku": pa.string(), "name": pa.string(), "r": STRUCT})
    table = pa.Table.from_pylist(rows, schema=schema)
    for row, value in zip(prepared(table, simple(metadata={"column": "r"})), values, strict=True):
        content = json.loads(row["body"])
        metadata = reference.without_nulls(value)
        expected = {**content, "metadata": metadata}
        if not metadata:
            del expected["metadata"]
        assert row["body"].encode() == rfc8785.dumps(expected)
