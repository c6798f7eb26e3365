"""Tables in memory as catalogs: every kind converted once, odd values named, nothing changed."""

from __future__ import annotations

import io
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from incarts_pipeline.catalog import Catalog, open_catalog
from incarts_pipeline.errors import CatalogError

ROWS = [{"sku": "0012", "n": 1}, {"sku": None, "n": 2}]
TABLE = pa.table({"sku": ["0012", None], "n": [1, 2]})
SCHEMA = pa.schema([("sku", pa.string()), ("n", pa.int64())])


def rows_of(catalog: Catalog) -> list[dict[str, Any]]:
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


class Stream:
    """A table of a library that nobody has heard of."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    ("make", "again"),
    [
        (lambda: TABLE, True),
        (lambda: TABLE.to_batches()[0], True),
        (lambda: TABLE.to_reader(), False),
        (lambda: ds.dataset(TABLE), True),
        (lambda: ds.dataset(TABLE).scanner(), False),
        (Stream, False),
        (lambda: pd.DataFrame(ROWS), True),
        (lambda: pd.DataFrame(ROWS, dtype=object), True),
        (lambda: pd.DataFrame(ROWS).set_index("sku"), True),
        (lambda: pd.DataFrame(ROWS).astype({"sku": "category"}), True),
        (lambda: pl.DataFrame(ROWS), True),
        (lambda: pl.DataFrame(ROWS, schema_overrides={"sku": pl.Categorical}), True),
        (lambda: pl.LazyFrame(ROWS), True),
        (
            lambda: duckdb.connect().sql(
                "select * from (values ('0012', 1::bigint), (null, 2)) t(sku, n)"
            ),
            True,
        ),
        (lambda: ROWS, True),
    ],
)
def test_every_kind_of_table(make: Callable[[], object], again: bool) -> None:
    """All kinds give the same rows and types; what can't be read again says so."""
    catalog = open_catalog(make())
    assert catalog.schema == SCHEMA
    assert catalog.reopenable is again
    assert rows_of(catalog) == ROWS
    if again:
        assert rows_of(catalog) == ROWS
    else:
        with pytest.raises(CatalogError, match="can be read only once, and was"):
            catalog.batches()


@pytest.mark.parametrize(
    ("values", "row", "reason"),
    [
        ([1, "x"], 1, "str where the first value is int"),
        (["x", None, 1], 2, "int where the first value is str"),
        (["x", "\ud800"], 1, "surrogates"),
        (["x", b"y"], 1, "bytes are no text"),
        ([b"y"], 0, "bytes are no text"),
        ([1j], 0, "complex"),
        ([1, 2**70], 1, "too large"),
        (["x", object()], 1, "object"),
    ],
)
@pytest.mark.parametrize("kind", [list, partial(pd.DataFrame, dtype=object)])
def test_odd_values_are_named(
    kind: Callable[[Any], object], values: list[object], row: int, reason: str
) -> None:
    """A column that is none names its first odd row and value, the reason and the fix."""
    source = [{"sku": "1", "odd": value} for value in values]
    with pytest.raises(CatalogError, match=reason) as caught:
        open_catalog(kind(source)).require(["odd"])
    assert (caught.value.row, caught.value.column) == (row, "odd")
    assert caught.value.fix
    # As long as nobody maps it, it is nobody's business.
    assert rows_of(open_catalog(kind(source))) == [{"sku": "1"}] * len(values)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "a"], "Columns 1 and 2 of the DataFrame are both named 'a'"),
        ([1, "1"], "both named '1'"),
        (["a", None], "Column 2 of the DataFrame has no name"),
        (["a", float("nan")], "Column 2 of the DataFrame has no name"),
        (["a", " "], "Column 2 of the DataFrame has no name"),
        (["a", "\ud800"], "half a character"),
        (pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), "columns of several levels"),
    ],
)
def test_column_names_that_are_none(columns: Any, message: str) -> None:
    """Equal, missing and multi-level column names can't be used, and have their positions told."""
    frame = pd.DataFrame([[1, 2]])
    frame.columns = columns if isinstance(columns, pd.Index) else pd.Index(columns, dtype=object)
    with pytest.raises(CatalogError, match=message):
        _require_all(open_catalog(frame))


def _require_all(catalog: Catalog) -> None:
    catalog.require(catalog.faults)


def test_pandas_indexes() -> None:
    """Named index levels are columns, others are not; one that contradicts a column is refused."""
    frame = pd.DataFrame({"sku": ["1", "2"], "shop": ["a", "b"], "n": [1, 2]})
    names = open_catalog(frame.set_index(["sku", "shop"])).schema.names
    assert names == ["sku", "shop", "n"]
    assert open_catalog(frame.set_index("sku", drop=False)).schema.names == ["sku", "shop", "n"]
    assert open_catalog(frame.set_index([pd.Index([5, 6])])).schema.names == ["sku", "shop", "n"]
    with pytest.raises(CatalogError, match="they differ"):
        open_catalog(frame.set_index(pd.Index(["3", "4"], name="sku")))


def test_pandas_types() -> None:
    """Missing values are null, times keep their zone, and periods don't become numbers."""
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan],
            "i": pd.array([1, None], dtype="Int64"),
            "z": pd.to_datetime(["2026-01-02", None]).tz_localize("US/Eastern"),
            "l": [["a"], []],
            "s": pd.arrays.SparseArray([0, 7]),
            "u": [uuid.UUID(int=1), None],
        }
    )
    before = frame.copy(deep=True)
    second = rows_of(open_catalog(frame))[1]
    assert second == {"f": None, "i": None, "z": None, "l": [], "s": 7, "u": None}
    assert rows_of(open_catalog(frame))[0]["u"] == str(uuid.UUID(int=1))
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(CatalogError, match=r"'p' .*Period") as caught:
        open_catalog(pd.DataFrame({"p": pd.period_range("2025", "2026", freq="Y")})).require(["p"])
    assert caught.value.column == "p"


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array(["a", "b"], pa.string_view()), pa.string(), ["a", "b"]),
        (pa.RunEndEncodedArray.from_arrays([1, 2], ["a", "b"]), pa.string(), ["a", "b"]),
        (pa.array(["{}", None], pa.json_()), pa.string(), ["{}", None]),
        (pa.array([1, 0], pa.bool8()), pa.bool_(), [True, False]),
        (pa.array([[1], [2]], pa.list_(pa.int8(), 1)), pa.list_(pa.int8()), [[1], [2]]),
        (
            pa.ListArray.from_arrays([0, 1, 2], pa.array(["a", "b"]).dictionary_encode()),
            pa.list_(pa.string()),
            [["a"], ["b"]],
        ),
    ],
)
def test_types_become_plain(column: pa.Array, kind: pa.DataType, values: list[object]) -> None:
    """Encodings and extensions are undone, so that the stages see few types."""
    catalog = open_catalog(pa.table({"c": column}))
    assert catalog.schema.field("c").type == kind
    assert [row["c"] for row in rows_of(catalog)] == values


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: pa.DictionaryArray.from_arrays([0, 1], text),
        lambda text: pa.ListArray.from_arrays([0, 1, 2], text),
        lambda text: pa.StructArray.from_arrays([text], ["t"]),
    ],
    ids=["plain", "dictionary", "list", "struct"],
)
def test_wrong_utf8_is_found_anywhere(wrap: Callable[[pa.Array], pa.Array]) -> None:
    """Text that isn't UTF-8 is found inside of other types as well."""
    text = pa.array([b"ok", b"\xff"]).view(pa.string())
    with pytest.raises(CatalogError, match="Row 1 of the table") as caught:
        rows_of(open_catalog(pa.table({"c": wrap(text)})))
    assert (caught.value.row, caught.value.column) == (1, "c")


def test_lazy_frames_and_relations_fail_with_a_catalog_error() -> None:
    """What goes wrong in another library's engine, early or late, is a CatalogError."""
    with pytest.raises(CatalogError, match="No such file"):
        open_catalog(pl.scan_parquet("/nowhere/at/all.parquet"))
    relation = duckdb.connect().sql("select x::int as n from (values ('1'), ('q')) t(x)")
    with pytest.raises(CatalogError, match="Could not convert") as caught:
        rows_of(open_catalog(relation))
    assert caught.value.__cause__ is not None
    with pytest.raises(CatalogError, match="_pli128"):
        open_catalog(pl.DataFrame({"n": pl.Series([1], dtype=pl.Int128)}))


@pytest.mark.parametrize("source", [None, 5, {"a": [1]}, [1], pa.array([1]), pd.Series([1])])
def test_what_is_no_table(source: object) -> None:
    """Things that aren't tables are refused with what could be passed."""
    with pytest.raises(CatalogError):
        open_catalog(source)


def test_empty_tables() -> None:
    """A table without rows is a catalog with its columns; a list without rows has none."""
    assert rows_of(open_catalog(SCHEMA.empty_table())) == []
    assert rows_of(open_catalog(pl.LazyFrame(ROWS).filter(pl.lit(False)))) == []
    with pytest.raises(CatalogError, match="its columns aren't known"):
        open_catalog([])


def test_lists_of_dicts_may_lack_keys() -> None:
    """A key that a row doesn't have is null."""
    rows = rows_of(open_catalog([{"a": 1}, {"b": "x"}]))
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("csv", b"sku,n\n0012,1\n", [{"sku": "0012", "n": "1"}]),
        ("jsonl", b'{"sku": "0012", "n": 1}\n', [{"sku": "0012", "n": 1}]),
    ],
)
def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, rows: list[dict[str, Any]]
) -> None:
    """Standard input is read when its format is said, and kept for a second reading."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(CatalogError, match="can't be told"):
        open_catalog("-")
    catalog = open_catalog("-", format=name)
    assert rows_of(catalog) == rows
    assert rows_of(catalog) == rows
    with pytest.raises(CatalogError, match="standard input is empty"):
        open_catalog("-", format=name)


def test_polars_is_not_imported(tmp_path: Path) -> None:
    """Reading a file doesn't load Polars, which need not be installed."""
    (tmp_path / "a.csv").write_text("a\n1\n")
    code = (
        "import sys; from incarts_pipeline.catalog import Catalog, open_catalog; "
        "assert sum(b.num_rows for b in open_catalog(sys.argv[1]).batches()) == 1; "
        "print(*{'polars'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "values", [["500001", 500002, None], [500001, "a", float("nan")], [None, "500001", 5]]
)
def test_following_the_advice_makes_no_text_of_nothing(values: list[Any]) -> None:
    """What is missing stays missing, in a frame and in a list of dicts."""
    frame = pd.DataFrame({"id": pd.Series(values, dtype=object)})
    with pytest.raises(CatalogError) as caught:
        open_catalog(frame).require(["id"])
    namespace = {"df": frame.copy()}
    exec(caught.value.fix.partition("for ids ")[2].rstrip("."), namespace)
    missing = [value is None or value != value for value in values]
    assert [v is None for v in column_of(namespace["df"])] == missing
    rows = [{"id": None if value != value else value} for value in values]
    with pytest.raises(CatalogError) as caught:
        open_catalog(rows).require(["id"])
    for row in rows:
        exec(caught.value.fix.partition("for ids ")[2].rstrip("."), {"row": row})
    assert [v is None for v in column_of(rows)] == missing


def column_of(source: object) -> list[Any]:
    """Return the one column of a catalog."""
    catalog = open_catalog(source)
    catalog.require(["id"])
    return [value for batch in catalog.batches() for value in batch.column(0).to_pylist()]
