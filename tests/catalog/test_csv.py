"""CSV catalogs: all text, nothing guessed, and every broken file named with its place."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

BLOCK = 4 * 1024 * 1024


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_all_columns_are_text(tmp_path: Path) -> None:
    """Ids keep their zeros, and words that look like nulls, numbers or dates stay as they are."""
    file = write(tmp_path / "a.csv", b"sku,qty,day\n000000545155200,NA,2026-01-02\nnull,1.0,nan\n")
    catalog = open_catalog(file)
    assert catalog.schema == pa.schema([(name, pa.string()) for name in ("sku", "qty", "day")])
    assert rows_of(file) == [
        {"sku": "000000545155200", "qty": "NA", "day": "2026-01-02"},
        {"sku": "null", "qty": "1.0", "day": "nan"},
    ]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'a,b\n1,\n"",2\n', [["1", None], ["", "2"]]),
        (b"a,b\r\n1,2\r\n", [["1", "2"]]),
        (b"a,b\r1,2\r3,4", [["1", "2"], ["3", "4"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [["1", "2"]]),
        (b'"a","b"\n"x\ny","say ""hi"""\n', [["x\ny", 'say "hi"']]),
        (b'a,b\n1,15.6" screen\n', [["1", '15.6" screen']]),
        (b"\n\na,b\n\n1,2\n\n\n3,4\n", [["1", "2"], ["3", "4"]]),
        (b"a,b\n1,2", [["1", "2"]]),
        (b"a,b\n", []),
        (b"a,b", []),
    ],
    ids=[
        "nulls", "crlf", "cr", "bom", "quotes", "inches", "blank-lines", "no-newline", "header",
        "header-only",
    ],
)  # fmt: skip
def test_forms_of_csv(tmp_path: Path, content: bytes, rows: list[list[str | None]]) -> None:
    """Line ends, marks and quotes of all kinds are read; an empty field is null, a quoted text."""
    file = write(tmp_path / "a.csv", content)
    assert rows_of(file) == [dict(zip("ab", row, strict=True)) for row in rows]


def test_delimiters_and_compression(tmp_path: Path) -> None:
    """Tabs go with .tsv, any other delimiter is said, and compressed files are read."""
    assert rows_of(write(tmp_path / "a.tsv", b"a\tb\n1\t2,3\n")) == [{"a": "1", "b": "2,3"}]
    zipped = write(tmp_path / "a.tsv.gz", gzip.compress(b"a\tb\n1\t2\n"))
    assert rows_of(zipped) == [{"a": "1", "b": "2"}]
    semicolons = write(tmp_path / "b.csv", b"a;b\n1;2\n")
    assert rows_of(semicolons, delimiter=";") == [{"a": "1", "b": "2"}]
    with pytest.raises(CatalogError, match="is ';', with --delimiter ';';"):
        open_catalog(semicolons)
    assert rows_of(semicolons, delimiter=",") == [{"a;b": "1;2"}]


def test_rows_across_blocks(tmp_path: Path) -> None:
    """Rows, quotes and characters that lie across the blocks of reading come out whole."""
    text = "é\n" * 1000
    lines = [[str(i), text] for i in range(3 * BLOCK // len(text.encode()))]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["id", "text"], *lines])
    file = write(tmp_path / "a.csv", buffer.getvalue().encode())
    catalog = open_catalog(file, batch_rows=100)
    batches = list(catalog.batches())
    assert max(batch.num_rows for batch in batches) <= 100
    assert [list(row.values()) for b in batches for row in b.to_pylist()] == lines


@pytest.mark.parametrize(
    ("content", "row", "message"),
    [
        (b"a,b\n1,2\n3\n", 1, "has 1 fields, the header has 2"),
        (b'a,b\n"1\n\n",2\n\n\n3,4,5\n', 1, "has 3 fields"),
        (b'a,b\n1,2\n3,"x\n5,6\n', 1, "opens a quote that is never closed"),
        (b'a,b\n1,2\n"3,x\n5,6\n', 1, "opens a quote that is never closed"),
    ],
    ids=["short", "long", "quote-at-last", "quote-at-first"],
)
def test_broken_rows_are_named(tmp_path: Path, content: bytes, row: int, message: str) -> None:
    """A ragged row and an open quote are errors that carry the catalog row."""
    with pytest.raises(CatalogError, match=message) as caught:
        rows_of(write(tmp_path / "a.csv", content))
    assert caught.value.row == row
    assert caught.value.fix


def test_ragged_row_behind_the_first_block(tmp_path: Path) -> None:
    """Row numbers go on from block to block."""
    good = 2 * BLOCK // 10
    file = write(tmp_path / "a.csv", b"a,b\n" + b"1234,6789\n" * good + b"1,2,3\n")
    with pytest.raises(CatalogError) as caught:
        rows_of(file)
    assert caught.value.row == good


def test_open_quote_in_a_large_file(tmp_path: Path) -> None:
    """A quote that swallows more than a block is recognized for what it is."""
    file = write(tmp_path / "a.csv", b'a,b\n1,"x\n' + b"1234,6789\n" * BLOCK)
    with pytest.raises(CatalogError, match="a quote is opened and never closed"):
        rows_of(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\x1f\x8b\x08\x00", "looks like gzip"),
        (b"PK\x03\x04\x90", "zip or Excel"),
        ("a,b\n1,2\n".encode("utf-16-le"), "looks like utf-16-le"),
    ],
)  # fmt: skip
def test_files_that_are_no_csv(tmp_path: Path, content: bytes, message: str) -> None:
    """Empty files, bad headers and files of another kind are refused with what they look like."""
    with pytest.raises(CatalogError, match=message):
        open_catalog(write(tmp_path / "a.csv", content))


def test_wrong_encoding_names_the_cell_and_a_guess(tmp_path: Path) -> None:
    """The first byte that doesn't fit is named by row, column and offset."""
    content = b"a,b\n" + b"1,2\n" * BLOCK + "é,1\n".encode("cp1252")
    file = write(tmp_path / "a.csv", content)
    with pytest.raises(CatalogError, match=r"0xe9 at offset .* may be cp1252") as caught:
        rows_of(file)
    assert caught.value.byte_offset == content.index(b"\xe9")
    assert (caught.value.row, caught.value.column) == (BLOCK, "a")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig", "latin-1", "utf-16-be"])
def test_said_encoding_is_used(tmp_path: Path, encoding: str) -> None:
    """A file in another encoding is read when the encoding is said."""
    file = write(tmp_path / "a.csv", "é,b\nü,2\n".encode(encoding))
    assert rows_of(file, encoding=encoding) == [{"é": "ü", "b": "2"}]


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "utf-9"},
        {"format": "cvs"},
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"batch_rows": 0},
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any]) -> None:
    """Unknown formats and encodings and impossible delimiters are refused before reading."""
    with pytest.raises(CatalogError):
        open_catalog(write(tmp_path / "a.csv", b"a,b\n"), **options)


def test_truncated_gzip_is_no_shorter_catalog(tmp_path: Path) -> None:
    """Half a compressed file is an error, not fewer rows."""
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % i for i in range(100_000)))
    file = write(tmp_path / "a.csv.gz", whole[: len(whole) // 2])
    with pytest.raises(CatalogError):
        rows_of(file)


def test_files_of_a_folder_follow_each_other(tmp_path: Path) -> None:
    """Files are read in the order of their names, columns by name, rows counted through."""
    write(tmp_path / "1.csv", b"a,b\n1,2\n")
    write(tmp_path / "2.csv", b"b,a\n4,3\n")
    write(tmp_path / "_SUCCESS", b"")
    write(tmp_path / "notes.md", b"")
    assert rows_of(tmp_path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    write(tmp_path / "3.csv", b"a,b\n1,2,3\n")
    with pytest.raises(CatalogError, match="Row 2 ") as caught:
        rows_of(tmp_path)
    assert caught.value.row == 2
    write(tmp_path / "3.csv", b"a,c\n1,2\n")
    with pytest.raises(CatalogError, match="different columns: 'b'"):
        rows_of(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tables = st.lists(st.tuples(st.none() | texts, texts), max_size=20)


@given(tables, st.sampled_from(["\n", "\r\n"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_round_trips(tmp_path: Path, rows: list[tuple[str | None, str]], end: str) -> None:
    """Whatever text a CSV writer quotes comes back, character for character."""

    def field(value: str | None) -> str:
        return "" if value is None else '"' + value.replace('"', '""') + '"'

    lines = ["a,b", *(f"{field(a)},{field(b)}" for a, b in rows), ""]
    file = write(tmp_path / "a.csv", end.join(lines).encode())
    assert [(row["a"], row["b"]) for row in rows_of(file)] == rows


def warnings_of(source: object, **options: Any) -> list[str]:
    """Read a catalog to its end and return what it warns of."""
    catalog = open_catalog(source, **options)
    for _ in range(2):  # as often as one likes
        list(catalog.batches())
    return catalog.warnings


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_every_cut_is_noticed(tmp_path: Path, end: str, encoding: str) -> None:
    """Wherever a file is cut but at a line's end, it is refused by row, or warned of."""
    whole = end.join(["sku,item", *(f"é{i},55000004{i}" for i in range(4)), ""])
    file = tmp_path / "a.csv"
    for at in range(whole.index(end), len(whole)):
        cut = whole[:at]
        file.write_bytes(cut.encode(encoding))
        if cut.endswith(("\n", "\r")):
            assert warnings_of(file, encoding=encoding) == []
            continue
        row, last = len(cut.split(end)) - 2, cut.split(end)[-1]
        if "," not in last:
            with pytest.raises(CatalogError, match="has 1 fields, the header has 2") as caught:
                rows_of(file, encoding=encoding)
            assert caught.value.row == row
            continue
        [warning] = warnings_of(file, encoding=encoding)
        where = f"row {row} (the first is 0), its last" if row >= 0 else "its header"
        assert warning == (
            f"{file} ends without a line end, so it may be cut off: look at {where}, which ends "
            f"in {last!r}."
        )


def test_last_line_of_each_file_is_looked_at(tmp_path: Path) -> None:
    """In a folder the file is named, its row counted through, a long line shortened."""
    write(tmp_path / "1.csv", b"a,b\n1,2\n3,4")
    write(tmp_path / "2.csv", b"a,b\n5,6\n")
    write(tmp_path / "3.csv", b"b,a\n7," + "é".encode() * 200)
    first, third = warnings_of(tmp_path)
    assert first.startswith(f"{tmp_path}/1.csv ends without")
    assert first.endswith("look at row 1 (the first is 0), its last, which ends in '3,4'.")
    assert "row 3 (the first is 0)" in third
    assert third.endswith("which ends in '…" + "é" * 60 + "'.")


@pytest.mark.parametrize("codec", ["gzip", "bz2", "zstd", "lz4"])
def test_no_cut_of_a_compressed_file_is_a_shorter_catalog(tmp_path: Path, codec: str) -> None:
    """Wherever a compressed file is cut, it is refused."""
    ending = {"gzip": "gz", "bz2": "bz2", "zstd": "zst", "lz4": "lz4"}[codec]
    file = tmp_path / f"a.csv.{ending}"
    with pa.output_stream(str(file), compression=codec) as out:
        out.write(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1000) for i in range(2000)))
    whole = file.read_bytes()
    for at in {*range(0, len(whole), len(whole) // 50), *range(len(whole) - 20, len(whole))}:
        file.write_bytes(whole[:at])
        with pytest.raises(CatalogError, match=r"is empty|Truncated compressed stream"):
            rows_of(file)


def test_empty_files_of_a_folder(tmp_path: Path) -> None:
    """A part without rows may lack even its header, as Spark leaves it; it is warned of."""
    for n, content in enumerate([b"", b"a,b\n1,2\n", b"", b"b,a\n4,3\n", b"\n"]):
        write(tmp_path / f"part-{n}.csv", content)
    assert rows_of(tmp_path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert warnings_of(tmp_path) == [f"{tmp_path}/part-{n}.csv is empty." for n in (0, 2)]
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CatalogError, match="is empty"):
        open_catalog(tmp_path)


@pytest.mark.parametrize("line", [b"sep=;\r\n", b'"sep=;"\n', b"SEP=;\n\n", b"\xef\xbb\xbfsep=;\n"])
def test_separator_of_excel(tmp_path: Path, line: bytes) -> None:
    """Excel's first line says the delimiter, and is no header; what was said otherwise wins."""
    file = write(tmp_path / "a.csv", line + b"sku;title\n0012;Oats, big\n")
    assert rows_of(file) == rows_of(file, delimiter=";") == [{"sku": "0012", "title": "Oats, big"}]
    write(file, b"sep=;\nsku,title\n0012,Oats; big\n")
    assert rows_of(file, delimiter=",") == [{"sku": "0012", "title": "Oats; big"}]
    write(file, b"sep=;\n")
    with pytest.raises(CatalogError, match="is empty"):
        open_catalog(file)


@pytest.mark.parametrize(
    ("name", "header", "other"),
    [
        ("a.csv", "sku;title;price, EUR;item_id;qty", "';'"),
        ("a.csv", 'sku;"price, EUR";"size, cm";item_id', "';'"),
        ("a.csv", "sku|title", "'|'"),
        ("a.tsv", "sku,title", "','"),
        ("a.csv", 'sku,"a;b",c', None),
        ("a.csv", "sku,a|b,c", None),
        ("a.tsv", "sku\tprice, EUR", None),
    ],
)
def test_header_that_looks_like_another_delimiter(
    tmp_path: Path, name: str, header: str, other: str | None
) -> None:
    """A mark that is in the names more often than between them is most likely the delimiter."""
    file = write(tmp_path / name, f"{header}\n".encode())
    if other is None:
        open_catalog(file)
        return
    with pytest.raises(CatalogError, match="The header of") as caught:
        open_catalog(file)
    assert f"Say that the delimiter is {other}, with --delimiter" in str(caught.value)


def test_rows_of_delimiters_alone(tmp_path: Path) -> None:
    """A row without any value is no row; one with a value, or with quoted empty text, is."""
    file = write(tmp_path / "a.csv", b'a,b\n,\n1,\n,\n,2\n"",\n' + b",\n" * 3)
    rows = [{"a": "1", "b": None}, {"a": None, "b": "2"}, {"a": "", "b": None}]
    assert rows_of(file) == rows
    assert warnings_of(file) == [f"{file}: 5 rows without any value left out."]
    assert warnings_of(write(file, b"a,b\n,\n")) == [f"{file}: 1 row without any value left out."]
    assert rows_of(file) == []


@pytest.mark.parametrize(
    ("content", "row", "column", "message"),
    [
        (b"a,b,a\n1,2,3\n", {"b": "2"}, "a", "Columns 1 and 3 of .* are both named 'a'"),
        (b"a,,b\n1,2,3\n", {"a": "1", "b": "3"}, "", "Column 2 of .* has no name"),
        (b"a,b, \n1,2,3\n", {"a": "1", "b": "2"}, " ", "Column 3 of .* has no name"),
        (b"a,b,,\n1,2,,\n", {"a": "1", "b": "2"}, "", "Column [34] of .* has no name"),
        (b",a,b,a,,a\n0,1,2,3,4,5\n", {"b": "2"}, "a", "are both named 'a'"),
    ],
)
def test_columns_without_a_name_of_their_own(
    tmp_path: Path, content: bytes, row: dict[str, str], column: str, message: str
) -> None:
    """They can't be mapped, and stop nothing as long as nobody does."""
    file = write(tmp_path / "1.csv", content)
    assert rows_of(file) == [row]
    with pytest.raises(CatalogError, match=message):
        open_catalog(file).require([*row, column])
    write(tmp_path / "2.csv", content)
    assert rows_of(tmp_path) == [row] * 2


@pytest.mark.parametrize(
    "content",
    [
        b"Products of November\nsku,title,item\n1,a,5\n2,b,6\n",
        b"Products,,\n\nsku,title,item\n1,a,5\n2,,6\n",
        b"Products\nMade on,2026-11-28\n,,\nsku,title,item\n1,a,5\n2,b,6\n",
        b'"Shop, Berlin"\r\n\r\nsku,title,item\r\n1,a,5\r\n2,b,6\r\n',
    ],
)
def test_lines_above_the_header(tmp_path: Path, content: bytes) -> None:
    """A title is no header; what seems to be one is named, and what to do."""
    with pytest.raises(CatalogError, match="the columns' names seem to be 'sku, title, item'"):
        open_catalog(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"sku\n1\n2,3\n", ["sku"]),
        (b"sku,title\n1,a,b\n2,c\n", ["sku", "title"]),
        (b"sku,,\n1,2,3\n2,,\n", ["sku"]),
        (b"sku,title\n1,2\n", ["sku", "title"]),
        (b"title\nWhite, large\nBlack\n", ["title"]),
    ],
)
def test_headers_that_are_no_titles(tmp_path: Path, content: bytes, names: list[str]) -> None:
    """A header of few names, above rows that are like it or broken, is one."""
    assert open_catalog(write(tmp_path / "a.csv", content)).schema.names == names


def test_a_page_in_place_of_a_file(tmp_path: Path) -> None:
    """What a login puts in place of a download is told for what it is."""
    with pytest.raises(CatalogError, match="is no CSV: it begins with '<!DOCTYPE html>"):
        open_catalog(write(tmp_path / "a.csv", b"<!DOCTYPE html>\n<html><body>Log in"))


def test_a_comma_in_a_name_is_no_delimiter(tmp_path: Path) -> None:
    """Of several signs in a header the one is advised that parts the rows as the header."""
    (tmp_path / "a.csv").write_text("sku|name, long|price\n1|Soap, white|2\n2|Tea|3\n")
    with pytest.raises(CatalogError) as caught:
        open_catalog(tmp_path / "a.csv")
    assert "has '|' where ',' should be" in caught.value.message
    (tmp_path / "a.tsv").write_text("sku|name, a, b, c\n1|Soap\n2|Tea\n")
    with pytest.raises(CatalogError, match=r"has '\|' where"):
        open_catalog(tmp_path / "a.tsv")
