"""Counts of keys: exact, over all batches, and with what rows that share one ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.suggest.key_counts import Content, count_keys

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "", " ", None]),
        st.sampled_from(["de", "fr", None]),
        st.sampled_from(["https://a.example/ip/7?x=1", "https://a.example/ip/7", "/ip/8", None]),
    ),
    min_size=1,
    max_size=30,
)


def placed(table: pa.Table, size: int | None = None) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """Yield a table's rows, each with its place."""
    first = 0
    for batch in table.to_batches(size):
        yield batch, pa.array(range(first, first + batch.num_rows), pa.int64())
        first += batch.num_rows


def filled(value: str | None) -> bool:
    return value is not None and value.strip() != ""


@pytest.mark.slow
@given(ROWS, st.integers(1, 7))
def test_counts_are_those_of_plain_python(
    rows: list[tuple[str | None, str | None, str | None]], size: int
) -> None:
    """Filled rows, different keys and different contents are counted as one would by hand."""
    table = pa.table(
        {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate("klu")}
    )
    candidates = (("k",), ("k", "l"))
    content = Content(columns=("l",), target="u", item=r"/ip/(\d+)")
    counts = count_keys(placed(table, size), candidates, content)

    def item(page: str | None) -> str | None:
        return None if page is None else page.partition("/ip/")[2][:1]

    for key, places in zip(counts.keys, ((0,), (0, 1)), strict=True):
        kept = [row for row in rows if all(filled(row[at]) for at in places)]
        keys = [tuple(row[at] for at in places) for row in kept]
        assert key.rows == len(rows)
        assert key.filled == len(kept)
        assert key.distinct == len(set(keys))
        wanted = {(k, row[1], item(row[2])) for k, row in zip(keys, kept, strict=True)}
        assert key.contents == len(wanted)
    assert counts.targets == len({item(row[2]) for row in rows if row[2] is not None})


def test_contents_are_spared_when_nobody_asks() -> None:
    """Without a content, rows that share a key count as asking for as many links as there are."""
    table = pa.table({"k": ["1", "1", "2"]})
    [key] = count_keys(placed(table), (("k",),), None).keys
    assert (key.contents, key.differing) == (None, 1)


def test_numbers_and_dates_are_counted_too() -> None:
    """A key need not be text."""
    table = pa.table({"n": [1, 2, 2], "x": [True, False, True]})
    [one, both] = count_keys(placed(table), (("n",), ("n", "x")), Content(columns=())).keys
    assert (one.distinct, both.distinct) == (2, 3)


def test_the_rows_that_keep_a_column_from_being_the_key() -> None:
    """The first that share a value and ask for different links, and the first without one."""
    keys = [None if at == 2 else f"a{min(at, 17)}" for at in range(20)]
    table = pa.table({"k": keys, "same": ["x"] * 20, "other": list(range(20))})
    [key] = count_keys(placed(table, 7), (("k",),), Content(columns=("other",))).keys
    assert (key.is_nearly, key.sharing, key.lacking) == (True, (17, 18, 19), (2,))
    [key] = count_keys(placed(table, 7), (("k",),), Content(columns=("same",))).keys
    assert (key.is_nearly, key.sharing, key.lacking) == (True, (), (2,))
