"""Quotes of CSV files: read as every strict reader has them, or refused by row and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.catalog.csv_stream import CheckedStream
from incarts_pipeline.catalog.quoting import QuoteFault, QuoteScan
from incarts_pipeline.errors import CatalogError

BLOCK = 4 * 1024 * 1024
ANY_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def cells(file: Path, **options: Any) -> list[list[str | None]]:
    catalog = open_catalog(file, **options)
    return [list(row.values()) for batch in catalog.batches() for row in batch.to_pylist()]


def refused(file: Path, **options: Any) -> CatalogError:
    with pytest.raises(CatalogError) as caught:
        cells(file, **options)
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "row", "line", "column", "fault"),
    [
        ("a.tsv", 'k\tt\tn\n1\t"TV\t5\n2\t"Set\t6\n', 0, 2, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n0,a,1\n\n1,"x"y,5\n', 1, 4, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n1,x,"5"6\n', 0, 2, "n", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n"1"0,x,5\n', 0, 2, "k", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n1,"x" ,5\n', 0, 2, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n1,"a \\"b\\"",5\n', 0, 2, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\r\n1,"a\r\nb"c,5\r\n', 0, 2, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\r1,a,2\r1,"a"c,5\r', 1, 3, "t", QuoteFault.TEXT_BEHIND),
        ("a.csv", 'k,t,n\n1,"x,5\n2,y,6\n', 0, 2, "t", QuoteFault.UNCLOSED),
        ("a.csv", 'k,t,n\n1,x,5\n2,y,"\n', 1, 3, "n", QuoteFault.UNCLOSED),
        ("a.csv", 'k\n1\n"2\n3\n', 1, 3, "k", QuoteFault.UNCLOSED),
        ("a.tsv", 'k\tt\tn\n1\t"TV\t5\n2\tTV 55"\t6\n', 0, 2, "t", QuoteFault.HOLDS_ROWS),
        ("a.csv", 'k,t,n\n1,"TV,5\n2,x,6\n3,TV 55",7\n', 0, 2, "t", QuoteFault.HOLDS_ROWS),
        ("a.csv", 'k,t,n\r\n1,"TV,\r\n3,TV 55",7\r\n', 0, 2, "t", QuoteFault.HOLDS_ROWS),
        ("a.csv", 'k,t,n\n1, "x",5\n', 0, 2, "t", QuoteFault.SPACED),
        ("a.csv", 'sep=,\nk,t,n\n\n1,a,b\n1,  "x" ,"5"\n', 1, 5, "t", QuoteFault.SPACED),
    ],
)
def test_doubtful_quotes_are_refused_with_their_place(
    tmp_path: Path, name: str, content: str, row: int, line: int, column: str, fault: QuoteFault
) -> None:
    """A cell that lenient readers change, or merge with others, stops the reading before it."""
    (tmp_path / name).write_bytes(content.encode())
    error = refused(tmp_path / name)
    assert (error.row, error.column) == (row, column)
    assert f"(the first is 0; line {line}), column '{column}': the cell {fault.value}: " in str(
        error
    )
    assert error.fix


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        ('k,t\n1,"a \\"b\\" c"\n', "say --escape '\\'"),
        ('k,t\n1,"TV\n2,"Set\n', "say --quote none"),
        ('k,t\n1,"TV\n2,TV 55"\n', "If it is one cell, say --quote '\"'"),
        ('k,t\n1, "x"\n', "Take out the white space"),
    ],
)
def test_the_way_out_is_said(tmp_path: Path, content: str, fix: str) -> None:
    """The advice is the one that fits the cell."""
    (tmp_path / "a.csv").write_text(content)
    assert fix in str(refused(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        ('k\tt\n1\t"TV\n2\tTV 55"\n', {"quote": "none"}, [["1", '"TV'], ["2", 'TV 55"']]),
        ("k,t\n1,'a,b'\n2,'it''s'\n", {"quote": "'"}, [["1", "a,b"], ["2", "it's"]]),
        ('k,t\n1,"a \\"b\\", c"\n', {"escape": "\\"}, [["1", 'a "b", c']]),
        ('k,t\n1,"a\\\\"\n2,"b"\n', {"escape": "\\"}, [["1", "a\\"], ["2", "b"]]),
        ("k,t\n1,a\\,b\n2,\\\"x\n", {"escape": "\\", "quote": "none"}, [["1", "a,b"], ["2", '"x']]),
        ('k,t\n1,a\\,"b\n', {"escape": "\\"}, [["1", 'a,"b']]),
        ('k,t\n1,"TV\n2,TV 55"\n', {"quote": '"'}, [["1", "TV\n2,TV 55"]]),
        ('k,t\n1,"a ""b"""\n', {"escape": '"'}, [["1", 'a "b"']]),
        ('k,t\n1,"Dear all,\nhello, there"\n', {}, [["1", "Dear all,\nhello, there"]]),
        ('k,t\n1,5" pipe\n2,say "x"\n', {}, [["1", '5" pipe'], ["2", 'say "x"']]),
    ],
)  # fmt: skip
def test_said_quotes_and_escapes(
    tmp_path: Path, content: str, options: dict[str, str], rows: list[list[str]]
) -> None:
    """A file that is said to have other quotes, none, or escapes, is read so."""
    file = tmp_path / ("a.tsv" if "\t" in content else "a.csv")
    file.write_text(content)
    assert cells(file, **options) == rows


@pytest.mark.parametrize("text", ["\\N", "C:\\dir", "a\\nb"])
@pytest.mark.parametrize("quoted", [True, False])
def test_escapes_that_would_change_a_value_are_refused(
    tmp_path: Path, text: str, quoted: bool
) -> None:
    r"""Of `\N` a parser would make N, a link to nothing."""
    cell = f'"{text}"' if quoted else text
    (tmp_path / "a.csv").write_text(f"k,t,n\n1,{cell},5\n")
    error = refused(tmp_path / "a.csv", escape="\\")
    assert (error.row, error.column) == (0, "t")


@pytest.mark.parametrize(
    "options",
    [
        {"quote": '"', "delimiter": '"'},
        {"quote": "''"},
        {"escape": ","},
        {"escape": "\n"},
        {"quote": "é"},
    ],
)
def test_marks_that_make_no_sense(tmp_path: Path, options: dict[str, str]) -> None:
    """Each mark is one character, and none is two things."""
    (tmp_path / "a.csv").write_text("k,t\n1,2\n")
    assert refused(tmp_path / "a.csv", **{"delimiter": ",", **options}).fix


def test_faults_in_a_header(tmp_path: Path) -> None:
    """Names glued of two are no names."""
    (tmp_path / "a.csv").write_text('k,"a"b\n1,2\n')
    with pytest.raises(CatalogError, match=r"The header of .* \(line 1\) can't be read"):
        open_catalog(tmp_path / "a.csv")


class Pieces:
    """A source that gives a few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self._pieces = [content[at : at + size] for at in range(0, len(content), size)]

    def read1(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("escape", [None, "\\"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("faulty", "cut"),
    [
        ("", None),
        ('7,x,"8"9\n', '7,x,"8"9'),
        ('7,"TV,8\n9,TV 5",6\n', '7,"TV,8\n9,TV 5",6'),
        ('7,"x\n', '7,"x\n'),
    ],
)
def test_cells_are_seen_whole_wherever_a_block_ends(
    escape: str | None, line_end: str, faulty: str, cut: str | None
) -> None:
    """However a file is cut into blocks, the same cells pass, and the same one doesn't."""
    good = 'k,t,n\n1,"a ""x"" b",5\n2,"",6"\n3,"c\nd",""""\n,,\n'
    content = (good + faulty).replace("\n", line_end).encode()
    whole = None
    for size in range(1, len(content) + 1):
        scan = QuoteScan(",", '"', escape, 3, trusted=False)
        stream = CheckedStream(
            b"", Pieces(content, size), scan, line=1, marker=b"MARK", end=b"\nEND"
        )
        found = stream.read()
        if cut is None:
            assert (found, stream.cut) == (content + b"\nEND", None)
            continue
        place = len(good.replace("\n", line_end)) + cut.index('"')
        assert found == content[:place] + b"MARK"
        assert stream.cut is not None
        whole = whole or (stream.cut.fault, stream.cut.line)
        assert (stream.cut.fault, stream.cut.line) == whole


def test_a_quote_without_end_in_a_large_file(tmp_path: Path) -> None:
    """It is told with its row, however much it would swallow."""
    file = tmp_path / "a.csv"
    file.write_bytes(b'a,b\n0,0\n1,"x\n' + b"1234,6789\n" * BLOCK)
    error = refused(file)
    assert (error.row, error.column) == (1, "b")
    assert "isn't closed within 4 MB" in str(error)


# Without a return: Python doesn't quote one, so that its file is that of another line end.
texts = st.text(st.sampled_from("ab ,;\t\n\"\\'|é5"), max_size=6)
tables = st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=5)
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        "doublequote": st.booleans(),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
    }
)


def check_round_trip(file: Path, rows: list[list[str]], **options: Any) -> None:
    """Make sure that a file has these rows, or is refused by one of them."""
    try:
        found = cells(file, **options)
    except CatalogError as refusal:
        if refusal.row is None:
            raise
        return
    # Rows of empty cells alone are none.
    filled = [[cell or "" for cell in row] for row in found if any(row)]
    assert filled == [row for row in rows if any(row)]


@given(tables, dialects)
@ANY_FOLDER
def test_what_python_writes_is_read_back(
    tmp_path: Path, rows: list[list[str]], dialect: dict[str, Any]
) -> None:
    """Each dialect of Python's writer comes back the same, or is refused; no row merges."""
    escape = None if dialect["doublequote"] else "\\"
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, escapechar=escape, **dialect)
    writer.writerows([["k", "t", "n"], *rows])
    file = tmp_path / "a.csv"
    file.write_bytes(buffer.getvalue().encode())
    check_round_trip(file, rows, delimiter=dialect["delimiter"], escape=escape)


@given(tables, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.booleans())
@settings(ANY_FOLDER, max_examples=40)
def test_what_pandas_and_duckdb_write_is_read_back(
    tmp_path: Path, rows: list[list[str]], quoting: int, by_duckdb: bool
) -> None:
    """Their writers' files come back the same, or are refused; no row merges."""
    frame = pd.DataFrame(rows, columns=["k", "t", "n"])
    file = tmp_path / "a.csv"
    if by_duckdb:
        relation = duckdb.from_df(frame)
        relation.write_csv(str(file), quoting="ALL" if quoting == csv.QUOTE_ALL else None)
    else:
        frame.to_csv(file, index=False, quoting=quoting)
    check_round_trip(file, rows)


@given(st.text(st.sampled_from('ab, ;\n"'), max_size=24))
@settings(max_examples=400)
def test_the_quick_look_sees_what_the_exact_one_sees(text: str) -> None:
    """Blocks whose quotes are regular are settled as they would be cell by cell."""
    scan = QuoteScan(",", '"', None, 3, trusted=False)
    data = b"\n" + text.encode()
    quick = scan._regular(data)
    if quick is None:
        return
    openers, closers, settled = scan._one_by_one(data)
    assert settled == quick[2]
    np.testing.assert_array_equal(openers, quick[0])
    np.testing.assert_array_equal(closers, quick[1])


@given(st.text(st.sampled_from('ab,\n"'), max_size=30))
@ANY_FOLDER
def test_any_text_is_read_as_written_or_refused(tmp_path: Path, text: str) -> None:
    """A file of which Python's strict reader makes other rows is refused."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"k,t,n\n" + text.encode() + b"\n")
    try:
        found = cells(file)
    except CatalogError:
        return
    strict = csv.reader(io.StringIO(f"k,t,n\n{text}\n", newline=""), strict=True)
    rows = [row for row in list(strict)[1:] if any(row)]
    assert [[cell or "" for cell in row] for row in found if any(row)] == rows
