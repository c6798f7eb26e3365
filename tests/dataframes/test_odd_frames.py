"""Frames that are hard to read: bad ones are refused by name, unusual ones are fine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from incarts_pipeline import (
    IncartsError,
    plan_links,
    write_links,
)
from incarts_pipeline.errors import (
    CatalogError,
    MappingError,
)
from incarts_pipeline.settings import Settings
from tests.support.frames import KEY, goods

BAD: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "float_ids": (
        lambda: goods(retailer_product_id=[123.0, None, 5.0, 6.0]),
        '"retailer_product_id" is of type double',
        "Row 0 (the first is 0) has 123.0.",
    ),
    "float_key": (
        lambda: goods(sku=[None, 1.5, 2.0, 3.0]),
        'column "sku" is of type double',
        "Row 1 (the first is 0) has 1.5.",
    ),
    "interval_key": (
        lambda: goods(sku=pd.interval_range(0, 4)),
        "'sku'",
        "row 0 (the first is 0) has Interval(0, 1",
    ),
    "delta_key": (
        lambda: goods(sku=pd.to_timedelta(range(4), unit="s")),
        '"sku" is of type duration',
        "Row 0 (the first is 0) has ",
    ),
    "mixed": (
        lambda: goods(sku=["a", 2, "c", "d"]),
        "'sku'",
        "row 1 (the first is 0) has 2: int where the first value is str",
    ),
    "mixed_categories": (
        lambda: goods(sku=pd.Categorical(["a", 2, "c", "d"])),
        "'sku'",
        "row 1 (the first is 0) has 2: int where the first value is str",
    ),
    "zone_or_none": (
        lambda: goods(
            sku=pd.Series(
                [pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-02"), None, None],
                dtype=object,
            )
        ),
        "'sku'",
        "row 1 (the first is 0) has Timestamp('2026-01-02 00:00:00')",
    ),
    "columns_twice": (
        lambda: goods().rename(columns={"quantity": "name"}),
        "both named 'name'",
        "Rename or drop",
    ),
    "column_levels": (
        lambda: pd.concat({"a": goods()}, axis=1),
        "columns of several levels",
        "df.columns = ",
    ),
    "unnamed_index": (
        lambda: goods().set_index("sku").rename_axis(index=None),
        'no column "sku"',
        "An index without a name is no column",
    ),
    "other_index": (
        lambda: goods().set_index(pd.Index(list("abcd"), name="sku")),
        "'sku' as its index and as a column",
        "Drop one",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_frames_are_refused_by_name(near: Settings, name: str) -> None:
    """The error names the column, a row for example, and the fix; the frame is as it was."""
    make, column, example = BAD[name]
    frame = make()
    before = frame.copy(deep=True)
    with pytest.raises(IncartsError) as caught:
        write_links(frame, settings=near, progress=False, **KEY)
    assert isinstance(caught.value, CatalogError | MappingError)
    assert column in str(caught.value)
    assert example in str(caught.value)
    assert caught.value.fix
    pd.testing.assert_frame_equal(frame, before)
    assert not Path(near.ledger).exists()


@pytest.mark.parametrize(
    "frame",
    [lambda: goods().rename(columns={"sku": "SKU"}), lambda: goods().set_index("name")],
    ids=["no_index", "named_index"],
)
def test_an_index_is_blamed_only_when_it_may_be_the_key(
    near: Settings, frame: Callable[[], pd.DataFrame]
) -> None:
    """One that only counts the rows, or has a name, or isn't asked for, is none of the trouble."""
    with pytest.raises(IncartsError, match="skuu") as caught:
        plan_links(frame(), unique_key="skuu", link_set="test", settings=near)
    assert "index" not in str(caught.value)


def test_an_index_is_not_blamed_for_a_field(near: Settings) -> None:
    """One without a name has nothing to do with a field that is missing."""
    unnamed = goods().drop(columns="name").set_index(pd.Index(list("abcd")))
    with pytest.raises(IncartsError, match='no column "name"') as caught:
        plan_links(unnamed, settings=near, **KEY)
    assert "index" not in str(caught.value)


def test_what_a_row_is_is_asked_for_in_python(near: Settings) -> None:
    """The arguments are named, with what they take, instead of the shell's options."""
    with pytest.raises(MappingError) as caught:
        plan_links(goods(), settings=near)
    assert 'unique_key=["..."]: what a row is' in caught.value.message
    assert 'link_set="...": what this family' in caught.value.message
    assert "suggest_mapping" in (caught.value.fix or "")


GOOD: dict[str, tuple[Callable[[], object], list[str]]] = {
    "Int64": (lambda: pd.array([1, 2, 3, None], dtype="Int64"), ["1", "2", "3"]),
    "numpy": (
        lambda: pd.Series([*map(pd.array([9]).dtype.type, [1, 2, 3, 4])], dtype=object),
        ["1"],
    ),
    "categories": (lambda: pd.Categorical(["b", "a", "c", None]), ["b", "a", "c"]),
    "whole_categories": (lambda: pd.Categorical([3, 1, 2, 9]), ["3", "1", "2", "9"]),
    "arrow": (lambda: pd.array(["a", "b", None, "d"], dtype="string[pyarrow]"), ["a", "b", "d"]),
    "zone": (
        lambda: pd.date_range("2026-03-28 23:00", periods=4, freq="D", tz="Europe/Berlin"),
        ["2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z", "2026-03-30T21:00:00Z"],
    ),
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_unusual_keys_that_are_fine(near: Settings, name: str) -> None:
    """Nullable numbers, categories, numpy's numbers and zoned times identify rows as text."""
    make, expected = GOOD[name]
    made = write_links(goods(sku=make()), settings=near, progress=False, **KEY)
    keys = made.to_pandas()["row_key"].dropna().to_list()
    assert keys[: len(expected)] == expected
    assert made.counts.get("created", 0) == len(keys)


def test_index_levels_are_columns(near: Settings) -> None:
    """The named levels of a MultiIndex can be the key, and the result has the index still."""
    frame = goods(shop=["n", "n", "s", "s"]).drop(columns="sku")
    frame["line"] = [1, 2, 1, 2]
    frame = frame.set_index(["shop", "line"])
    made = write_links(
        frame, link_set="levels", unique_key=["shop", "line"], settings=near, progress=False
    )
    assert made.to_pandas()["row_key"].to_list() == ["n|1", "n|2", "s|1", "s|2"]
    pd.testing.assert_index_equal(made.to_pandas().index, frame.index)
    pd.testing.assert_frame_equal(frame.join(made.links), made.to_pandas())
