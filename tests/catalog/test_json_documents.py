"""JSON documents: a list of objects, wherever it is, is read by the rules of JSON lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import member_names, open_catalog
from incarts_pipeline.errors import CatalogError, UndecidedError

ROWS = [{"sku": "0012", "day": "2026-01-02", "n": 1}, {"sku": "0013", "n": 2**62, "day": None}]


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feed.json"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("wrapped", "records"),
    [
        (ROWS, "."),
        ({"products": ROWS}, "products"),
        ({"info": {"tags": ["a"], "n": 1}, "shop": {"products": ROWS}}, "shop.products"),
        ({"empty": [], "items": ROWS, "numbers": [1, [2]]}, "items"),
    ],
)
def test_a_list_of_objects_is_found(
    file: Path, wrapped: object, records: str, indent: int | None
) -> None:
    """The one list of objects is the catalog, pretty or on one line, and can be named as well."""
    file.write_text(json.dumps(wrapped, indent=indent))
    assert rows_of(file) == rows_of(file, records=records) == ROWS
    assert open_catalog(file).chosen == ({} if records == "." else {"records": records})


def test_types_are_those_of_json_lines(tmp_path: Path, file: Path) -> None:
    """A document gives the same columns and values as its objects in lines."""
    rows = [
        {"id": "1", "price": {"value": 19.9, "currency": "EUR"}, "tags": ["a"], "ok": True},
        {"id": "2", "price": {"value": 20}, "tags": [], "late": 1e-7},
    ]
    file.write_text(json.dumps({"feed": rows}))
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert open_catalog(file).schema == open_catalog(lines).schema
    assert rows_of(file) == rows_of(lines)


def test_members_of_objects_are_columns_where_a_mapping_names_them(file: Path) -> None:
    """`price.value` is the member of the column `price`; what an object lacks is null."""
    rows = [
        {"sku": "1", "price": {"value": "19.90", "in": {"unit": "kg"}}, "a.b": "own"},
        {"sku": "2", "price": None, "a.b": None},
        {"sku": "3", "price": {"value": None, "in": {"unit": "g"}}, "a.b": None},
    ]
    file.write_text(json.dumps(rows))
    catalog = open_catalog(file)
    assert member_names(catalog.schema) == ["price.value", "price.in", "price.in.unit"]
    catalog.require(["sku", "price.value", "price.in.unit", "a.b", "price.nothing", "no.way"])
    assert catalog.schema.names == ["sku", "price", "a.b", "price.value", "price.in.unit"]
    read = rows_of(catalog)
    assert [row["price.value"] for row in read] == ["19.90", None, None]
    assert [row["price.in.unit"] for row in read] == ["kg", None, "g"]
    assert [row["a.b"] for row in read] == ["own", None, None]


def test_several_lists_are_never_guessed(file: Path) -> None:
    """Of several lists one has to be said; the error has them all, and a misspelt one is named."""
    file.write_text(json.dumps({"products": ROWS, "shops": [{"id": 1}], "meta": {}}))
    with pytest.raises(UndecidedError, match=r"products \(2\), shops \(1\)") as caught:
        open_catalog(file)
    assert (caught.value.option, caught.value.choices) == ("records", ("products", "shops"))
    assert "--records products" in str(caught.value)
    with pytest.raises(UndecidedError, match='Did you mean "products"'):
        open_catalog(file, records="product")
    assert rows_of(file, records="shops") == [{"id": 1}]


def test_lists_inside_of_a_record_are_its_own(file: Path) -> None:
    """Variants and images of a product are no rows."""
    file.write_text(json.dumps([{"sku": "1", "variants": [{"id": 1}, {"id": 2}]}]))
    assert [row["sku"] for row in rows_of(file)] == ["1"]
    file.write_text(json.dumps({"products": [{"sku": "1", "images": [{"src": "x"}]}]}))
    assert open_catalog(file).chosen == {"records": "products"}


def test_a_list_under_the_name_of_lines(tmp_path: Path) -> None:
    """What is called .jsonl and is one list is read as one, and lines called .json as lines."""
    lines, document = tmp_path / "a.json", tmp_path / "b.jsonl"
    document.write_text(json.dumps(ROWS))
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert rows_of(document) == rows_of(lines) == ROWS
    lines.write_text(json.dumps({"sku": "1", "variants": [1]}))
    assert rows_of(lines) == [{"sku": "1", "variants": [1]}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"products": [{"a": 1}, {"a": 2}', "no whole JSON document"),
        ('[{"a": 1}, {"a": 2}', "no whole JSON document"),
        ('[{"a": 1}] trailing', "no whole JSON document"),
        ('{"products": [{"a": 1}]} {"b": 2}', "no whole JSON document"),
        ('[{"a": 1} {"a": 2}]', "no whole JSON document"),
        ('[{"a": NaN}]', "no whole JSON document"),
        ('[{"a": 1}, 7]', "Record 2 of .* is a number, not an object"),
        ('[{"a": 1}, {"a": "x"}]', "Record 2 of .* has text in 'a', which was a number"),
        ('[{"a": 1}, {"b": {"c": 1, "c": 2}}]', "Record 2 of .* has the name 'c' twice"),
        ('[{"a": 1.5}, {"a": 12345678901234567}]', "Record 2 of .*'a' that is too long"),
        ("[]", "is empty"),
        ('{"products": []}', "has no list of objects"),
    ],
)
def test_broken_documents_are_refused(file: Path, content: str, message: str) -> None:
    """What is cut, doubled, too long or of another kind is named; nothing is taken for the end."""
    file.write_text(content)
    with pytest.raises(CatalogError, match=message):
        rows_of(file)


def test_every_cut_is_noticed(file: Path) -> None:
    """A document that lacks even its last bracket is refused."""
    whole = json.dumps({"products": ROWS, "n": 2})
    for at in range(1, len(whole)):
        file.write_text(whole[:at])
        with pytest.raises(CatalogError):
            rows_of(file)


def test_compression_and_several_files(tmp_path: Path) -> None:
    """Packed documents are unpacked as they are read, and files of a folder are one table."""
    (tmp_path / "1.json.gz").write_bytes(gzip.compress(json.dumps({"p": ROWS[:1]}).encode()))
    with pa.CompressedOutputStream(str(tmp_path / "2.json.zst"), "zstd") as out:
        out.write(json.dumps(ROWS[1:]).encode())
    assert rows_of(tmp_path) == ROWS


texts = st.text(st.characters(exclude_categories=["Cs"]))
members = {"t": st.none() | texts, "n": st.none() | st.integers(-(2**63), 2**63 - 1)}


@given(rows=st.lists(st.fixed_dictionaries(members), min_size=1), name=st.sampled_from("ab"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_row_round_trips(file: Path, rows: list[dict[str, Any]], name: str) -> None:
    """Whatever text and whole numbers a document has come back equal."""
    file.write_text(json.dumps({name: rows}, ensure_ascii=name == "a"), encoding="utf-8")
    assert rows_of(file) == rows


def test_an_odd_column_matters_to_who_maps_it(file: Path) -> None:
    """It is left alone in a document as in lines, and its record is named."""
    rows = [{"sku": "1", "odd": 1}, {"sku": "2", "odd": {"x": 1}}]
    file.write_text(json.dumps({"products": rows}))
    assert rows_of(file) == [{"sku": "1"}, {"sku": "2"}]
    with pytest.raises(CatalogError, match=r"Record 2 of .* has an object in 'odd'") as caught:
        open_catalog(file).require(["odd.x"])
    assert (caught.value.row, caught.value.column) == (1, "odd")
