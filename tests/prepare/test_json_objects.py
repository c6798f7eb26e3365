"""Metadata and options: members with sources, structs, JSON text, defaults, and encodings."""

import decimal
import json
from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare


def requests(table: pa.Table, metadata: object, **more: object) -> list[dict[str, Any]]:
    table = table.append_column("sku", pa.array(range(table.num_rows)))
    link = {"name": "n", "retailer": "r", "intent": "custom_url", "custom_url": "https://a.b"}
    mapping = load_mapping(
        {"link_set": "s", "unique_key": "sku", "link": {**link, "metadata": metadata, **more}}
    )
    batches = prepare(
        table.to_batches(), mapping, schema=table.schema, project_id="p", limits=Limits()
    )
    return [row for batch in batches for row in batch.to_pylist()]


def metadata_of(table: pa.Table, metadata: object) -> list[object]:
    return [json.loads(row["body"]).get("metadata") for row in requests(table, metadata)]


def test_members_have_any_source() -> None:
    """Constants, columns of every type, templates and nested objects keep their JSON types."""
    table = pa.table(
        {
            "i": [1, None], "f": [1.5, float("nan")], "b": [True, None], "t": ["x", " "],
            "d": pa.array([0, None], pa.date32()), "l": [[1, 2], None],
        }
    )  # fmt: skip
    metadata = {
        "i": {"column": "i"},
        "f": {"column": "f"},
        "b": {"column": "b"},
        "in": {"t": {"column": "t"}, "d": {"column": "d"}, "e": {"t": {"column": "t"}}},
        "l": {"column": "l"},
        "k": {"column": "t", "default": 7},
        "m": {"column": "i", "default": {"z": [None]}},
        "p": {"template": "<{t}>", "default": "none"},
    }
    assert metadata_of(table, metadata) == [
        {
            "i": 1, "f": 1.5, "b": True, "in": {"t": "x", "d": "1970-01-01", "e": {"t": "x"}},
            "l": [1, 2], "k": "x", "m": 1, "p": "<x>",
        },
        {"k": 7, "m": {"z": [None]}, "p": "none"},
    ]  # fmt: skip


def test_an_objects_default_stands_in_for_null() -> None:
    """Null, blank and absent objects take the default, others don't."""
    texts = pa.table({"m": ['{"a":1}', None, " ", "null", "{}"]})
    source = {"column": "m", "default": {"d": 0}}
    assert metadata_of(texts, source) == [{"a": 1}, {"d": 0}, {"d": 0}, {"d": 0}, {"d": 0}]
    nulls = pa.table({"m": pa.nulls(1, pa.string())})
    assert metadata_of(nulls, source) == [{"d": 0}]
    structs = pa.table({"m": [{"a": 1}, None, {"a": None}]})
    assert metadata_of(structs, source) == [{"a": 1}, {"d": 0}, {"d": 0}]


def test_a_null_in_a_template_rejects_the_row() -> None:
    """Without a default a template can't be filled, and the column is named."""
    row = requests(pa.table({"t": ["x", None]}), {"p": "<{t}>"})[1]
    assert row["problems"][0]["field"] == "metadata.p"
    assert '"t"' in row["problems"][0]["message"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (pa.array([float("inf")]), "inexact_number"),
        (pa.array([2**53]), "inexact_number"),
        (pa.array([2**64 - 1], pa.uint64()), "inexact_number"),
        (pa.array([[{"n": -(2**53)}]]), "inexact_number"),
        (pa.array([decimal.Decimal(2**53)], pa.decimal128(20, 0)), "inexact_number"),
    ],
    ids=str,
)
def test_numbers_that_json_can_not_keep_are_problems(values: pa.Array, code: str) -> None:
    """A number without an exact JSON form rejects its row, however deep it is."""
    row = requests(pa.table({"v": values}), {"v": {"column": "v"}})[0]
    assert [(p["field"], p["code"]) for p in row["problems"]] == [("metadata.v", code)]


def test_encodings_of_arrow_make_no_difference() -> None:
    """Run ends, extensions, other kinds of lists, and decimals are read as what they hold."""
    plain = pa.array(["x", "x", "y"])
    run_ends = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["x", "y"]))
    extension = pa.ExtensionArray.from_storage(pa.json_(), plain)
    for array in (plain, run_ends, extension, plain.dictionary_encode()):
        found = metadata_of(pa.table({"v": array}), {"v": {"column": "v"}})
        assert found == [{"v": "x"}, {"v": "x"}, {"v": "y"}]
    kinds = [pa.list_(pa.string(), 1), pa.large_list(pa.large_string()), pa.list_view(pa.string())]
    for kind in kinds:
        array = pa.array([["x"], None, ["y"]], kind)
        found = metadata_of(pa.table({"v": array}), {"v": {"column": "v"}})
        assert found == [{"v": ["x"]}, None, {"v": ["y"]}]
    decimals = pa.array([1, 2, 3]).cast(pa.decimal128(30, 2))
    assert metadata_of(pa.table({"v": decimals}), {"v": {"column": "v"}})[1] == {"v": 2}


def test_one_bad_text_is_the_problem_of_its_rows() -> None:
    """Equal texts are parsed once, and each row that has the bad one says so."""
    rows = requests(pa.table({"m": ["{", '{"a":1}', "{"]}), {"column": "m"})
    assert [bool(row["problems"]) for row in rows] == [True, False, True]
    assert "line 1, column 2" in rows[2]["problems"][0]["message"]


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ({"column": "r"}, [True, False, False]),
        ({"title": "{r}"}, [True, False, False]),
        ({"title": {"column": "r"}, "by": {"column": "s"}}, [True, True, False]),
        ({"servings": 4}, [True, True, True]),
        ({"column": "r", "default": {"a": 1}}, [True, True, True]),
    ],
)
def test_wide_entries_are_wanted_where_their_object_is(
    recipe: dict[str, Any], wanted: list[bool]
) -> None:
    """An entry about a recipe makes a link where the recipe has anything from the catalog."""
    table = pa.table({"sku": [1, 2, 3], "r": ['{"a":1}', None, ""], "s": ["x", "y", None]})
    entry = {"name": "n", "retailer": "instacart", "intent": "recipe"}
    entry["options"] = {"instacart": {"recipe": recipe}}  # type: ignore[assignment]
    mapping = load_mapping({"link_set": "s", "unique_key": "sku", "links": {"e": entry}})
    batches = prepare(
        table.to_batches(), mapping, schema=table.schema, project_id="p", limits=Limits()
    )
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["wanted"] for row in rows] == wanted
    assert not any(row["problems"] for row in rows if not row["wanted"])
    assert all(row["body"] for row in rows if row["wanted"])
