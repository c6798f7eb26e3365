"""Results joined back to the caller's rows: every index, every type, several links per row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from incarts_pipeline.dataframes.result import LinksResult, free_names
from incarts_pipeline.dataframes.snapshot import keep
from incarts_pipeline.display.remedies import PROBLEMS
from incarts_pipeline.errors import CatalogError, PublishError
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan.figures import PlanFigures
from incarts_pipeline.publish.output import Output, Published
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.result import WriteResult

FIGURES = PlanFigures(
    counts=(),
    calls=0,
    doubts=0,
    missing={},
    scopes={},
    missing_scopes=(),
    warnings=(),
    refusals=(),
    digest="0" * 12,
    seconds=None,
)


def published(path: Path, rows: Sequence[dict[str, Any]], run_id: str = "run") -> RunResult:
    """Write a links.parquet and return the result of the run that would have."""
    blank = {"link_set": "test", "status": "created", "action": "create", "reason": "new"}
    table = pa.Table.from_pylist([blank | row for row in rows], schema=LINKS)
    pq.write_table(table.replace_schema_metadata({"incarts.run_id": run_id}), path)
    written = WriteResult(
        run_id=run_id, end=None, stopped=None, forbidden={}, accepted=0, requests=0
    )
    counts: dict[tuple[Status, Reason], int] = {}
    for row in table.to_pylist():
        key = (Status(row["status"]), Reason(row["reason"]))
        counts[key] = counts.get(key, 0) + 1
    output = Published(output=Output(links=str(path)), counts=counts)
    return RunResult(
        figures=FIGURES, written=written, published=output, seconds=1.0, project_id="demo"
    )


def result(tmp_path: Path, frame: object, places: Sequence[int], **columns: Any) -> LinksResult:
    """Return the result over a frame whose links are of the rows at `places`."""
    rows = [
        {"catalog_row": place, "link_id": f"lnk_{i}"} | {n: v[i] for n, v in columns.items()}
        for i, place in enumerate(places)
    ]
    return LinksResult(keep(frame), published(tmp_path / "links.parquet", rows), RunMetrics())


def test_metrics_keep_their_former_name(tmp_path: Path) -> None:
    """What was written before `tally` became `metrics` goes on working."""
    made = result(tmp_path, pd.DataFrame({"sku": ["a"]}), [0])
    assert made.tally is made.metrics


INDEXES = {
    "range": lambda n: pd.RangeIndex(n),
    "named": lambda n: pd.Index([f"k{i}" for i in range(n)], name="key"),
    "repeated": lambda n: pd.Index([i // 2 for i in range(n)]),
    "backwards": lambda n: pd.RangeIndex(n, 0, -1),
    "zone": lambda n: pd.date_range("2026-03-28", periods=n, tz="Europe/Berlin", name="day"),
    "levels": lambda n: pd.MultiIndex.from_tuples(
        [(i % 2, f"b{i}") for i in range(n)], names=["a", None]
    ),
    "categories": lambda n: pd.CategoricalIndex([f"c{i % 3}" for i in range(n)]),
    "missing": lambda n: pd.Index([None if i % 2 else "x" for i in range(n)], dtype=object),
}
TYPES = {
    "text": lambda n: pd.Series([f"0{i}" for i in range(n)]),
    "object": lambda n: pd.Series([None if i % 2 else f"{i}" for i in range(n)], dtype=object),
    "Int64": lambda n: pd.array([None if i % 3 else i for i in range(n)], dtype="Int64"),
    "UInt8": lambda n: pd.array([i % 200 for i in range(n)], dtype="UInt8"),
    "boolean": lambda n: pd.array([None if i % 3 else True for i in range(n)], dtype="boolean"),
    "float": lambda n: pd.Series([np.nan if i % 2 else i / 2 for i in range(n)], dtype="float64"),
    "category": lambda n: pd.Categorical([f"c{i % 2}" for i in range(n)], ["c1", "c0", "unused"]),
    "ordered": lambda n: pd.Categorical([f"c{i % 2}" for i in range(n)], ordered=True),
    "zone": lambda n: pd.date_range("2026-03-28", periods=n, freq="h", tz="Europe/Berlin"),
    "naive": lambda n: pd.date_range("2026-03-28", periods=n, unit="s"),
    "arrow": lambda n: pd.array([f"{i}" for i in range(n)], dtype="string[pyarrow]"),
    "arrow_int": lambda n: pd.array([None] * n, dtype=pd.ArrowDtype(pa.int32())),
    "arrow_list": lambda n: pd.array([[i] for i in range(n)], pd.ArrowDtype(pa.list_(pa.int8()))),
    "sparse": lambda n: pd.arrays.SparseArray([0] * n),
    "delta": lambda n: pd.to_timedelta(range(n), unit="s"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all examples of a property share."""
    return tmp_path_factory.mktemp("results")


@settings(max_examples=25)
@given(
    per_row=st.lists(st.integers(1, 3), max_size=6),
    index=st.sampled_from(sorted(INDEXES)),
    kinds=st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4, unique=True),
    clash=st.sampled_from([None, "status", "catalog_row", 0]),
)
def test_rows_index_and_types_stay(
    folder: Path, per_row: list[int], index: str, kinds: list[str], clash: object
) -> None:
    """The caller's part of a result is the caller's rows, to the last type, and links fit them."""
    n = len(per_row)
    frame = pd.DataFrame({kind: TYPES[kind](n) for kind in kinds}, index=range(n))
    if clash is not None:
        frame[clash] = range(n)
    frame.index = INDEXES[index](n)
    before = frame.copy(deep=True)
    places = [row for row, times in enumerate(per_row) for _ in range(times)]
    made = result(folder, frame, places)
    whole = made.to_pandas()
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(whole.iloc[:, : frame.shape[1]], frame.iloc[places])
    assert list(whole.iloc[:, -len(LINKS) :]["link_id"]) == [f"lnk_{i}" for i in range(len(places))]
    if frame.index.is_unique:
        pd.testing.assert_index_equal(made.links.index, whole.index)
        pd.testing.assert_frame_equal(frame.join(made.links), whole)
    else:
        with pytest.raises(CatalogError, match=r"index has .* twice, .* result.to_pandas"):
            _ = made.links


@pytest.mark.parametrize("value", [0, "a", None, (1, "x")])
def test_links_alone_need_an_index_without_twins(tmp_path: Path, value: object) -> None:
    """A join would put rows beside other rows' links, so it says which rows, and what to take."""
    index = pd.Index([value, "other", value], tupleize_cols=False)
    frame = pd.DataFrame({"sku": ["1", "2", "3"]}, index=index)
    made = result(tmp_path, frame, [0, 1, 2])
    with pytest.raises(CatalogError, match="twice, in rows 0 and 2") as caught:
        _ = made.links
    assert caught.value.row == 2
    assert made.to_pandas()["link_id"].to_list() == ["lnk_0", "lnk_1", "lnk_2"]
    # What a frame without twins makes of several links per row is right.
    assert len(result(tmp_path, frame.iloc[:2], [0, 0, 1]).links) == 3


def test_the_callers_later_changes_dont_matter(tmp_path: Path) -> None:
    """Values, labels and columns that the caller overwrites after the run are the run's still."""
    frame = pd.DataFrame({"sku": ["a", "b", "c"], "n": [1, 2, 3]})
    made = result(tmp_path, frame, [0, 1, 2])
    frame.loc[0, "n"] = 99
    frame.index = [2, 1, 0]
    del frame["sku"]
    assert made.to_pandas()[["sku", "n", "link_id"]].to_numpy().tolist() == [
        ["a", 1, "lnk_0"],
        ["b", 2, "lnk_1"],
        ["c", 3, "lnk_2"],
    ]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "reader"])
def test_each_kind_to_each_kind(tmp_path: Path, kind: str) -> None:
    """Whatever the frame is, all three forms have the same rows, and whole numbers stay whole."""
    table = pa.table({"sku": ["a", "b"], "n": pa.array([None, 2], pa.int64())})
    frames = {
        "pandas": lambda: table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get),
        "polars": lambda: pl.from_arrow(table),
        "arrow": lambda: table,
        "reader": table.to_reader,
    }
    made = result(tmp_path, frames[kind](), [0, 1, 1], http_status=[201, None, 201])
    expected = [("a", None, "lnk_0", 201), ("b", 2, "lnk_1", None), ("b", 2, "lnk_2", 201)]
    names = ["sku", "n", "link_id", "http_status"]
    assert list(zip(*made.to_arrow().select(names).to_pydict().values(), strict=True)) == expected
    assert made.to_polars().select(names).rows() == expected
    frame = made.to_pandas()[names]
    assert frame.dtypes.astype(str).to_list()[1::2] == ["Int64", "Int32"]
    assert list(frame.astype(object).where(frame.notna(), None).itertuples(index=False)) == expected
    own = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(kind, pa.Table)
    assert type(made.links) is own
    assert type(made.failed) is own


def test_columns_of_no_values_have_their_type(tmp_path: Path) -> None:
    """The type of a link column doesn't depend on what a run happened to fill."""
    frame = pd.DataFrame({"sku": ["a"]})
    empty = result(tmp_path, frame, [0]).links.dtypes
    filled = result(
        tmp_path, frame, [0], http_status=[201], error_code=["x"], is_stale=[True], short_link=["y"]
    ).links.dtypes
    pd.testing.assert_series_equal(empty, filled)


def test_failed_rows_say_why_and_what_to_do(tmp_path: Path) -> None:
    """Each row without its link has a reason in words and a fix; the others are not there."""
    frame = pd.DataFrame({"sku": list("abcde")}, index=list("vwxyz"))
    problem = {"field": "link.name", "code": "missing", "message": "The column is empty."}
    made = result(
        tmp_path,
        frame,
        range(5),
        status=["created", "rejected", "rejected", "pending", "in_doubt"],
        reason=["new", "invalid", "refused_by_api", "stopped", "needs_review"],
        problems=[[], [problem], [], [], []],
        http_status=[201, None, 422, None, 502],
        error_message=[None, None, "no such product", None, "bad gateway"],
    )
    failed = made.failed
    assert failed.index.to_list() == list("wxyz")
    assert failed.columns.to_list() == ["sku", "link_set", "status", "reason", "why", "fix"]
    assert failed["why"].to_list() == [
        "link.name: The column is empty.",
        "refused by Incarts with 422: no such product",
        "the run was stopped",
        "may exist at Incarts; needs a person (bad gateway)",
    ]
    assert all(failed["fix"])
    assert failed["fix"]["w"] == PROBLEMS["missing"].fix
    assert "incarts review" in failed["fix"]["z"]
    assert made.counts == {"created": 1, "rejected": 2, "pending": 1, "in_doubt": 1}
    text = repr(made)
    assert "1 row is pending. Run the same cell or script again" in text
    assert "result.failed says" in text


def test_a_file_that_a_later_run_replaced(tmp_path: Path) -> None:
    """A frame in memory keeps its links there; one on disk says that the file is another run's."""
    table = pa.table({"sku": ["a"]})
    kept = result(tmp_path, table, [0])
    read_later = result(tmp_path, table.to_reader(), [0])
    assert read_later.to_arrow()["link_id"].to_pylist() == ["lnk_0"]
    published(tmp_path / "links.parquet", [{"catalog_row": 0, "link_id": "other"}], run_id="later")
    assert kept.to_arrow()["link_id"].to_pylist() == ["lnk_0"]
    with pytest.raises(PublishError, match="of another run, later"):
        read_later.to_arrow()


def test_names_that_are_taken() -> None:
    """A link column gives way to the caller's, however often a result went in again."""
    assert free_names(["a", "b"], ["b", "b_incarts"]) == ["a", "b_incarts_incarts"]
