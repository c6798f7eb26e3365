"""Link requests: bodies, hashes, problems, wide tables; compared with a plain reference."""

import json
from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.errors import CatalogError, MappingError, SettingsError
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare import prepare as prepare_module
from incarts_pipeline.prepare.prepare import prepare
from incarts_pipeline.schemas import link_request_schema
from tests.support.link_requests import prepared, simple


def test_slices_give_the_same_as_the_whole() -> None:
    """A batch that is a slice of another one, with nulls and escapes, is read at its own offset."""
    table = pa.table(
        {"sku": list("abcdef"), "name": ['"1', None, "3\\", "4", "", "6\n"], "n": [1, None, 3] * 2}
    )
    mapping = simple(metadata={"n": {"column": "n"}}, public_name={"column": "name"})
    whole = prepared(table, mapping)
    sliced = prepared(table.slice(2), mapping)
    assert [row["body"] for row in sliced] == [row["body"] for row in whole[2:]]


def test_parts_prepared_at_once_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts are worked on at once, and however long each takes, their order stays."""
    table = pa.table({"sku": [f"{n:03}" for n in range(90)], "name": ["x" * n for n in range(90)]})
    monkeypatch.setattr(prepare_module, "_BATCH_ROWS", 7)
    found = prepared(table, simple(name={"column": "name", "default": "none"}))
    assert [row["row_key"] for row in found] == table["sku"].to_pylist()
    assert [row["catalog_row"] for row in found] == list(range(90))


def test_batches_have_the_schema_and_number_the_rows() -> None:
    """Every batch has the declared schema, and catalog_row runs on over the batches."""
    table = pa.table({"sku": range(5), "name": list("abcde")})
    mapping = load_mapping(simple())
    batches = list(
        prepare(
            table.to_batches(max_chunksize=2),
            mapping,
            schema=table.schema,
            project_id="p",
            limits=Limits(),
        )
    )
    schema = link_request_schema(mapping.key_fields(table.schema))
    assert all(batch.schema.equals(schema) for batch in batches)
    rows = pa.Table.from_batches(batches)
    rows.validate(full=True)
    assert rows["catalog_row"].to_pylist() == [0, 1, 2, 3, 4]
    assert rows["key"].to_pylist() == [{"sku": n} for n in range(5)]


def test_a_wide_table_makes_a_link_per_entry_and_row() -> None:
    """Entries come row by row, each in its own link set; those without products want none."""
    table = pa.table({"sku": ["1", "2"], "name": ["a", "b"], "w": ["11", None], "t": [None, "22"]})
    entry = {"name": {"column": "name"}}
    mapping = {
        "link_set": "wide",
        "unique_key": "sku",
        "links": {
            "walmart": {
                **entry, "retailer": "walmart", "intent": "add_to_cart",
                "products": {"retailer_product_id": {"column": "w"}},
            },
            "target": {
                **entry, "retailer": "target", "intent": "product_detail",
                "products": {"retailer_product_id": {"column": "t"}},
            },
        },
    }  # fmt: skip
    rows = prepared(table, mapping)
    places = [(row["catalog_row"], row["link_set"], row["wanted"]) for row in rows]
    assert places == [
        (0, "wide/walmart", True),
        (0, "wide/target", False),
        (1, "wide/walmart", False),
        (1, "wide/target", True),
    ]
    assert [bool(row["body"]) for row in rows] == [True, False, False, True]
    assert not any(row["problems"] for row in rows)


def test_struct_columns_are_objects() -> None:
    """A struct column, nested lists included, becomes the JSON object that it is."""
    recipe = {"title": "Pie", "n": 2.0, "steps": [{"b": 1, "a": "x\n"}, None, {"b": None}]}
    table = pa.table({"sku": ["1", "2", "3"], "name": ["a"] * 3, "r": [recipe, None, {"n": 0.5}]})
    rows = prepared(table, simple(metadata={"column": "r"}))
    expected = {"n": 2, "steps": [{"a": "x\n", "b": 1}, None, {}], "title": "Pie"}
    assert json.loads(rows[0]["body"])["metadata"] == expected
    assert (
        '"metadata":{"n":2,"steps":[{"a":"x\\n","b":1},null,{}],"title":"Pie"}' in rows[0]["body"]
    )
    assert "metadata" not in rows[1]["body"]
    assert '"metadata":{"n":0.5}' in rows[2]["body"]


def test_lists_come_from_columns_texts_and_constants() -> None:
    """Tags are trimmed and empty ones dropped, wherever they come from; a default fills nulls."""
    lists, texts = [[" a", None, ""], None], ["a| |b", None]
    table = pa.table({"sku": ["1", "2"], "name": ["x", "y"], "l": lists, "t": texts})
    text = {"column": "t", "split": "|"}
    cases: list[tuple[object, list[object]]] = [
        ({"column": "l"}, [["a"], None]),
        ({"column": "l", "default": ["z"]}, [["a"], ["z"]]),
        (text, [["a", "b"], None]),
        ({**text, "default": ["y", "z"]}, [["a", "b"], ["y", "z"]]),
        ({**text, "default": "y|z"}, [["a", "b"], ["y", "z"]]),
        ({"column": "t", "default": "z"}, [["a| |b"], ["z"]]),
        (["p", 1], [["p", "1"]] * 2),
        ("p", [["p"]] * 2),
    ]
    for source, expected in cases:
        rows = prepared(table, simple(tracking={"tags": source}))
        found = [json.loads(row["body"]).get("tracking", {}).get("tags") for row in rows]
        assert found == expected, source


def test_no_rows_and_null_columns() -> None:
    """An empty catalog gives nothing, and columns that hold only nulls leave their fields out."""
    mapping = simple(
        name="a",
        metadata={"column": "n"},
        public_name={"column": "n"},
        tracking={"tags": {"column": "n"}, "utm": {"term": {"column": "n"}}},
        products={"retailer_product_id": {"column": "n"}, "quantity": {"column": "n"}},
    )
    table = pa.table({"sku": [1, 2], "n": pa.nulls(2)})
    assert prepared(table.slice(0, 0), mapping) == []
    rows = prepared(table, mapping)
    assert rows[0]["body"] == (
        '{"customUrl":"https://a.b","intent":"custom_url","name":"a","projectId":"project",'
        '"retailer":"walmart"}'
    )


def test_a_failed_extract_is_the_one_problem() -> None:
    """A product id that can't be extracted isn't reported as a missing product too."""
    products = {"retailer_product_id": {"column": "name", "extract": "/([0-9]+)"}}
    table = pa.table({"sku": ["1", "2"], "name": ["ip/12", "ip"]})
    rows = prepared(table, simple(intent="add_to_cart", products=products))
    assert '"retailerProductId":"12"' in rows[0]["body"]
    assert [problem["code"] for problem in rows[1]["problems"]] == ["no_match"]


def test_every_reader_gives_the_same_body() -> None:
    """Dictionaries, views, large strings and other integer widths don't change a byte."""
    table = pa.table({"sku": ["1", "2"], "name": ["a", None], "n": [1, 2]})
    mapping = simple(metadata={"n": {"column": "n"}}, name={"column": "name", "default": "x"})
    expected = [row["body"] for row in prepared(table, mapping)]
    kinds = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    for kind in kinds:
        other = table.set_column(1, "name", table["name"].cast(kind)).set_column(
            2, "n", table["n"].cast(pa.int16())
        )
        assert [row["body"] for row in prepared(other, mapping)] == expected


def test_priority_and_pinned_are_read() -> None:
    """Priority is a number or noted, pinned is true or false or a problem."""
    table = pa.table(
        {
            "sku": list("1234"), "name": list("abcd"), "p": ["1.5", "-2e1", "high", None],
            "f": ["yes", "0", None, "maybe"],
        }
    )  # fmt: skip
    mapping = {**simple(), "priority": {"column": "p"}, "pinned": {"column": "f"}}
    rows = prepared(table, mapping)
    assert [row["priority"] for row in rows] == [1.5, -20.0, None, None]
    assert [row["pinned"] for row in rows] == [True, False, False, False]
    assert [note["code"] for note in rows[2]["problems"]] == ["priority_ignored"]
    assert [problem["code"] for problem in rows[3]["problems"]] == ["not_a_flag"]


def test_padded_keys_are_kept_and_noted() -> None:
    """White space around a key stays, since the key is what it is, and is pointed out."""
    table = pa.table({"sku": ["1", " 2", "3\t", "4 5"], "name": list("abcd")})
    rows = prepared(table, simple())
    assert [row["row_key"] for row in rows] == ["1", " 2", "3\t", "4 5"]
    codes = [[note["code"] for note in row["problems"]] for row in rows]
    assert codes == [[], ["key_padded"], ["key_padded"], []]


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A text column with other bytes is a broken catalog, not a broken body."""
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")]
    )
    table = pa.table({"sku": ["1"], "name": broken})
    with pytest.raises(CatalogError, match='"name" holds bytes that are not UTF-8'):
        prepared(table, simple())


def test_the_project_id_has_its_length() -> None:
    """A project id that is empty or too long is refused before the first row."""
    table = pa.table({"sku": ["1"], "name": ["a"]})
    for project in ("", "x" * 129):
        with pytest.raises(SettingsError, match="1 to 128 characters"):
            prepare([], load_mapping(simple()), schema=table.schema, project_id=project,
                    limits=Limits())  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retailer": "Walmart"}, "lower case"),
        ({"intent": "cart"}, "unknown"),
        ({"intent": "add_to_cart"}, "needs products"),
        ({"intent": "recipe", "retailer": "walmart"}, "goes with the retailer instacart"),
        ({"custom_url": "a.b"}, "not a URL"),
        ({"name": "x" * 161}, "160"),
        ({"name": " "}, "blank"),
        ({"location": {"zip_code": "1234"}}, "leading zero"),
        ({"metadata": {"n": 2**60}}, "2\\^53"),
        ({"metadata": "text"}, "must be an object"),
        ({"products": {"retailer_product_id": "1", "quantity": 0}}, "whole number"),
    ],
)
def test_constants_are_checked_at_once(fields: dict[str, Any], message: str) -> None:
    """A constant that breaks a rule is the mapping's fault, not that of every row."""
    table = pa.table({"sku": ["1"], "name": ["a"]})
    with pytest.raises(MappingError, match=message):
        prepared(table, simple(**fields))
