"""Row keys: one canonical text for each Arrow type, the same on every machine."""

import datetime as dt
import decimal
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.prepare.columns import Columns, text_of
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.row_keys import check_keys, row_keys
from tests.support.paths import GOLDEN as GOLDEN_FILES

GOLDEN = json.loads((GOLDEN_FILES / "row_keys.json").read_text("utf-8"))
UTC = dt.UTC
VALUES: dict[str, tuple[pa.DataType, Any]] = {
    "string": (pa.string(), " Ä|\\ "),
    "large_string": (pa.large_string(), "x"),
    "string_view": (pa.string_view(), "a string longer than twelve"),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), "x"),
    "int8": (pa.int8(), -7),
    "int64": (pa.int64(), 123),
    "uint64": (pa.uint64(), 2**64 - 1),
    "bool": (pa.bool_(), True),
    "date32": (pa.date32(), dt.date(2026, 2, 3)),
    "date64": (pa.date64(), dt.date(2026, 2, 3)),
    "timestamp_s": (pa.timestamp("s"), dt.datetime(2026, 2, 3, 4, 5, 6)),
    "timestamp_us": (pa.timestamp("us"), dt.datetime(2026, 2, 3, 4, 5, 6, 700)),
    "timestamp_ns_zero": (pa.timestamp("ns"), dt.datetime(2026, 2, 3)),
    "timestamp_utc": (pa.timestamp("ms", "UTC"), dt.datetime(2026, 2, 3, 4, 5, 6, 500000, UTC)),
    "timestamp_zoned": (
        pa.timestamp("s", "+02:00"),
        dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    ),
    "time64": (pa.time64("us"), dt.time(4, 5, 6, 250000)),
    "decimal": (pa.decimal128(20, 0), decimal.Decimal("12345678901234567890")),
}


def keys(table: pa.Table) -> list[str | None]:
    batch = table.combine_chunks().to_batches()[0]
    return row_keys(Columns(batch, Findings(batch.num_rows)), table.schema.names).to_pylist()


@pytest.mark.parametrize("name", VALUES)
def test_each_type_has_its_golden_text(name: str) -> None:
    """A change of the canonical text would re-create every link, so it is pinned."""
    kind, value = VALUES[name]
    array = pa.array([value], pa.string()).cast(kind) if isinstance(value, str) else None
    array = pa.array([value], kind) if array is None else array
    assert keys(pa.table({"k": array})) == [GOLDEN[name]]


def test_several_columns_are_joined_as_pinned() -> None:
    """Bars and backslashes inside a column can't be mistaken for the separator."""
    table = pa.table({"a": ["x|y", "x", "x\\"], "b": ["z", "y|z", "|z"], "n": [1, 2, 3]})
    assert keys(table) == GOLDEN["several"]


@given(st.lists(st.lists(st.text("a|\\", min_size=1, max_size=4), min_size=2, max_size=2),
                min_size=1, unique_by=tuple))  # fmt: skip
def test_different_rows_have_different_keys(rows: list[list[str]]) -> None:
    """Joining is unambiguous."""
    table = pa.table({"a": [row[0] for row in rows], "b": [row[1] for row in rows]})
    assert len(set(keys(table))) == len(rows)


def test_numbers_and_their_text_are_the_same_row() -> None:
    """Int64 123 and the text "123" give one key."""
    assert keys(pa.table({"k": [123]})) == keys(pa.table({"k": ["123"]}))


@pytest.mark.parametrize("names", [["k"], ["k", "other"]])
def test_keys_that_are_none_are_problems(names: list[str]) -> None:
    """A row without its key, or with one that SQLite would cut, has none, and says so."""
    batch = pa.record_batch({"k": ["a", None, "", "a\0b"], "other": ["x"] * 4})
    findings = Findings(4)
    first, *others = row_keys(Columns(batch, findings), names).to_pylist()
    assert first == "|".join(["a", "x"][: len(names)])
    assert others == [None, None, None]
    codes = [[problem["code"] for problem in found] for found in findings.lists().to_pylist()]
    assert codes == [[], ["empty_key"], ["empty_key"], ["nul_in_key"]]


@pytest.mark.parametrize(
    "kind",
    [pa.float64(), pa.float32(), pa.decimal128(9, 2), pa.binary(), pa.list_(pa.int8())],
    ids=str,
)
def test_types_without_one_spelling_are_refused(kind: pa.DataType) -> None:
    """Floats, fractions, bytes and nested columns can't identify rows; the fix is named."""
    mapping = load_mapping(
        {
            "link_set": "s", "unique_key": "k",
            "link": {"name": "n", "retailer": "r", "intent": "custom_url", "custom_url": "u"},
        }
    )  # fmt: skip
    with pytest.raises(MappingError, match='unique_key: the column "k"') as caught:
        mapping.check(pa.schema([("k", kind)]))
    assert caught.value.fix


def test_floats_are_spelled_as_ecmascript_does() -> None:
    """In texts, numbers have the one spelling of RFC 8785."""
    array = pa.array([1.0, 4.99, 1e21, 1e-7, float("nan"), None, -0.0])
    assert text_of(array).to_pylist() == ["1", "4.99", "1e+21", "1e-7", None, None, "0"]


def test_keys_that_exist_are_known_whatever_they_are() -> None:
    """Making keys judges nothing; a key that can't get a link is told where links are made."""
    batch = pa.record_batch({"k": ["#N/A", "TRUE", "a\u200b"]})
    findings = Findings(3)
    assert row_keys(Columns(batch, findings), ["k"]).to_pylist() == ["#N/A", "TRUE", "a\u200b"]
    assert findings.lists().to_pylist() == [[], [], []]
    check_keys(Columns(batch, findings), ["k"])
    codes = [[problem["code"] for problem in found] for found in findings.lists().to_pylist()]
    assert codes == [["spreadsheet_error"], ["looks_converted"], ["invisible_character"]]
