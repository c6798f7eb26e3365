"""JSON lines catalogs: text stays text, whole numbers stay whole, broken lines are named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

BLOCK = 4 * 1024 * 1024


def rows_of(source: object, mapped: Sequence[str] = (), **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    catalog.require(mapped)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


def test_values_keep_their_types(file: Path) -> None:
    """Text that looks like a time or a number is text, whole numbers are int64, objects structs."""
    rows = [
        {"sku": "0012", "day": "2026-01-02", "n": 2**62, "o": {"at": "2026-01-02T03:04:05Z"}},
        {"sku": "0013", "day": None, "n": -1, "o": {"at": None}},
    ]
    file.write_text("\n\n".join(json.dumps(row) for row in rows))
    schema = open_catalog(file).schema
    at = pa.struct([("at", pa.string())])
    assert schema == pa.schema(
        [("sku", pa.string()), ("day", pa.string()), ("n", pa.int64()), ("o", at)]
    )
    assert rows_of(file) == rows


def test_fields_that_come_late_or_widen(file: Path) -> None:
    """A field may appear, or get a fraction, blocks after the first; all rows get its type."""
    line = json.dumps({"a": 1, "b": None, "s": {"x": 1}}) + "\n"
    n = BLOCK // len(line) + 1
    late = json.dumps({"a": 1.5, "b": ["t"], "c": "new", "s": {"x": 1, "y": True}})
    file.write_text(line * n + late)
    rows = rows_of(file)
    assert len(rows) == n + 1
    assert rows[0] == {"a": 1.0, "b": None, "c": None, "s": {"x": 1, "y": None}}
    assert rows[-1] == json.loads(late)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"a": }', "is not JSON"),
        ("[1]", "is a list, not an object"),
        ('{"a": "x"}', "has text in 'a', which was a number before"),
        ('{"a": true}', "has true or false in 'a'"),
        ('{"a": 1} {"a": 2}', "is not JSON: Extra data"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": 1', "is not JSON"),
        ('{"a": "\\ud800"}', "surrogate|text in 'a'"),
        ('{"a": 1.5, "n": 9007199254740993}', ""),
    ],
)
@pytest.mark.parametrize("before", [1, BLOCK // 400], ids=["same-block", "later-block"])
def test_bad_lines_are_named(file: Path, bad: str, message: str, before: int) -> None:
    """What can't be read is named by its line in the file, in the first block and behind it."""
    good = json.dumps({"a": 1, "n": 0.5, "t": "x" * 400}) + "\n"
    file.write_text(good * before + "\n" + bad + "\n")
    with pytest.raises(CatalogError, match=rf"Line {before + 2} of .*({message})") as caught:
        rows_of(file, mapped=["a", "n"])
    assert caught.value.fix


def test_long_numbers_are_never_rounded(file: Path) -> None:
    """Numbers that a double would round are refused, also inside of objects and lists."""
    file.write_text('{"o": [{"n": 1.5}]}\n{"o": []}\n{"o": [{"n": 1}, {"n": 12345678901234567}]}\n')
    with pytest.raises(CatalogError, match=r"Line 3 of .*'o' .*too long") as caught:
        rows_of(file, mapped=["o"])
    assert (caught.value.row, caught.value.column) == (2, "o")
    file.write_text(f'{{"n": {2**63}}}\n')
    with pytest.raises(CatalogError, match=r"Line 1 of .*'n' .*too long"):
        rows_of(file, mapped=["n"])


KEPT = [{"sku": "1"}, {"sku": "2"}, {"sku": "3"}]
ODD = {
    "text": (["x", None, 7], "has a number in 'odd', which was text before"),
    "flag": ([1, 2, True], "has true or false in 'odd', which was a number before"),
    "object": ([{"n": 1}, None, "x"], "has text in 'odd', which was an object before"),
    "member": ([{"n": 1}, {}, {"n": "x"}], "has text in 'odd.n', which was a number before"),
    "element": ([[1], [], [{"a": 1}]], r"has an object in 'odd\[\]', which was a number before"),
    "deep": (
        [[{"a": [1]}], [], [{"a": ["x"]}]],
        r"has text in 'odd\[\].a\[\]', which was a number",
    ),
    "mixed list": ([None, None, [1, "x"]], r"has text in 'odd\[\]', which was a number before"),
    "long": ([0.5, None, 2**60], "has a number in 'odd' that is too long to be read exactly"),
    "longer": ([None, None, 2**70], "has a number in 'odd' that is too long to be read exactly"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("between", [0, BLOCK // 4000], ids=["same-block", "later-block"])
def test_an_odd_column_matters_to_who_maps_it(file: Path, odd: str, between: int) -> None:
    """Nobody else is stopped by it; mapped, the row and the column are named."""
    values, message = ODD[odd]
    rows = [kept | {"odd": value} for kept, value in zip(KEPT, values, strict=True)]
    lines = [json.dumps(row) + "\n" for row in rows]
    long = json.dumps({"sku": "x" * 4000}) + "\n"
    file.write_text("".join(lines[:2]) + long * between + lines[2])
    catalog = open_catalog(file)
    assert catalog.schema.names == ["sku"]
    read = [row for batch in catalog.batches() for row in batch.to_pylist()]
    assert [*read[:2], read[-1]] == KEPT
    assert len(read) == between + 3
    for name in ("odd", "odd.n"):
        with pytest.raises(CatalogError, match=f"Line {between + 3} of .* {message}") as caught:
            catalog.require([name])
        assert (caught.value.row, caught.value.column) == (between + 2, "odd")


def test_several_odd_columns_and_a_broken_line(file: Path) -> None:
    """Each has its own fault, and a line that is no object is told whatever is left alone."""
    file.write_text('{"a": 1, "b": "x", "c": 1}\n\n{"a": "x", "b": 1, "c": 2}\n')
    catalog = open_catalog(file)
    assert rows_of(file) == [{"c": 1}, {"c": 2}]
    assert {name: fault.row for name, fault in catalog.faults.items()} == {"a": 1, "b": 1}
    assert "Line 3 of" in str(catalog.faults["b"])
    file.write_text('{"a": 1, "c": 1}\n{"a": "x", "c": 1}\n{"a": "x", "c": 1, "c": 2}\n')
    with pytest.raises(CatalogError, match=r"Line 3 of .*twice"):
        rows_of(file)
    file.write_text('{"a": 1}\n{"a": "x"}\n')
    with pytest.raises(CatalogError, match="has text in 'a'"):
        open_catalog(file)


def test_empty_and_other_json(tmp_path: Path, file: Path) -> None:
    """An empty file is refused, and so is a document without a list of objects."""
    file.write_text("\n \n")
    with pytest.raises(CatalogError, match="is empty"):
        open_catalog(file)
    document = tmp_path / "a.json"
    document.write_text('{\n  "a": 1\n}\n')
    with pytest.raises(CatalogError, match="has no list of objects"):
        open_catalog(document)


def test_encoding_is_checked_and_used(file: Path) -> None:
    """A mark is skipped, a wrong byte is named by offset, a said encoding is used."""
    line = '{"a": "é"}\n'
    file.write_bytes(b"\xef\xbb\xbf" + line.encode())
    assert rows_of(file) == [{"a": "é"}]
    file.write_bytes(line.encode("latin-1"))
    with pytest.raises(CatalogError, match="0xe9 at offset 7"):
        open_catalog(file)
    assert rows_of(file, encoding="latin-1") == [{"a": "é"}]


def test_files_are_one_table(tmp_path: Path) -> None:
    """Several files have the columns of all; a field with two types is none."""
    (tmp_path / "1.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "2.ndjson").write_text('{"b": "x", "a": 2}\n')
    assert rows_of(tmp_path) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    (tmp_path / "3.jsonl").write_text('{"a": "x"}\n')
    assert rows_of(tmp_path) == [{"b": None}, {"b": "x"}, {"b": None}]
    with pytest.raises(CatalogError, match=r"Line 1 of .*3\.jsonl has text in 'a'") as caught:
        rows_of(tmp_path, mapped=["a"])
    assert (caught.value.row, caught.value.column) == (2, "a")


values = (
    st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.dates().map(str)
)  # as text
numbers = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.fixed_dictionaries({"t": values, "n": st.none() | numbers}), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_row_round_trips(file: Path, rows: list[dict[str, Any]]) -> None:
    """Whatever text and whole numbers are written as JSON come back equal."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert rows_of(file) == rows


def test_every_cut_is_noticed(file: Path) -> None:
    """A line that is cut is no JSON; a file that lacks only its last line end is warned of."""
    whole = "".join(json.dumps({"sku": f"{i}", "item": 550000040 + i}) + "\n" for i in range(3))
    for at in range(1, len(whole) + 1):
        file.write_text(whole[:at])
        if whole[at - 1] == "\n":
            catalog = open_catalog(file)
            list(catalog.batches())
            assert catalog.warnings == []
        elif whole[at : at + 1] == "\n":
            catalog = open_catalog(file)
            list(catalog.batches())
            [warning] = catalog.warnings
            assert "a.jsonl ends without a line end" in warning
            assert f"row {whole[:at].count(chr(10))} (the first is 0), its last" in warning
        else:
            with pytest.raises(CatalogError, match=r"Line \d of .* is not JSON"):
                rows_of(file)


def test_empty_files_of_a_folder(tmp_path: Path) -> None:
    """A part without rows has no columns either; it is warned of."""
    for n, content in enumerate(["", '{"a": 1}\n', ""]):
        (tmp_path / f"part-{n}.jsonl").write_text(content)
    catalog = open_catalog(tmp_path)
    assert rows_of(catalog) == [{"a": 1}]
    assert catalog.warnings == [f"{tmp_path}/part-{n}.jsonl is empty." for n in (0, 2)]
