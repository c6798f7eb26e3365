"""Workbooks: each cell as the text that a person means by it, and what is no table refused."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
import xlsxwriter
import xlwt
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, UndecidedError


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


def warnings_of(source: object) -> list[str]:
    catalog = open_catalog(source)
    list(catalog.batches())
    return catalog.warnings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "book.xlsx"


def write(file: Path, *rows: list[Any], **more: list[list[Any]]) -> Path:
    """Write a workbook with a sheet `Products`, and others by their names."""
    book = openpyxl.Workbook()
    book.active.title = "Products"
    for name, lines in {"Products": rows, **more}.items():
        sheet = book[name] if name in book.sheetnames else book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    book.save(file)
    return file


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("0012", "0012"),
        (550098467.0, "550098467"),
        (550098467, "550098467"),
        (-5, "-5"),
        (19.9, "19.9"),
        (123456789012345, "123456789012345"),
        # Excel keeps 15 digits: what has more was rounded, and says so.
        (4006381333931000, "4.006381333931e+15"),
        (1.2345678901234567e19, "1.234567890123457e+19"),  # openpyxl writes 16
        (10**20, "1e+20"),
        ("4006381333931000", "4006381333931000"),
        ("1.2345678901234568e+19", "1.2345678901234568e+19"),
        (True, "true"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (dt.time(3, 4), "03:04:00"),
        ("2026-01-02 00:00:00", "2026-01-02 00:00:00"),
        ("#N/A", "#N/A"),  # openpyxl makes errors of these
        ("#DIV/0!", "#DIV/0!"),
        ("#NAME?", "#NAME?"),
        (" 7 ", " 7 "),
        ("a\nb", "a\nb"),
        ("TRUE", "TRUE"),
        ("1e5", "1e5"),
        (None, None),
    ],
)
def test_cells_are_their_texts(file: Path, cell: object, text: str | None) -> None:
    """Whole numbers have no .0, rounded ones have an exponent, text stays as it is."""
    write(file, ["sku", "cell"], ["1", cell])
    assert rows_of(file) == [{"sku": "1", "cell": text}]


def test_zeros_that_only_a_format_shows(file: Path) -> None:
    """They are no part of the number; a warning says so, since ids lose them so."""
    book = openpyxl.Workbook()
    book.active.append(["sku"])
    book.active.append([12])
    book.active["A2"].number_format = "00000"
    book.save(file)
    assert rows_of(file) == [{"sku": "12"}]
    [warning] = warnings_of(file)
    assert "shown with zeros in front (as '00000' does) are read without them" in warning
    assert warnings_of(write(file, ["sku"], [12])) == []


def test_numbers_and_text_in_one_column(file: Path) -> None:
    """Ids of which a spreadsheet made numbers and ids that stayed text don't touch each other."""
    ids = ["0012", 13, "4006381333931000", 4006381333931000, "N-1", dt.date(2026, 1, 2)]
    write(file, ["id", "n"], *([one, 1] for one in ids))
    assert [row["id"] for row in rows_of(file)] == [
        "0012",
        "13",
        "4006381333931000",
        "4.006381333931e+15",
        "N-1",
        "2026-01-02",
    ]


def test_blank_rows_and_lines_above_the_header(file: Path) -> None:
    """Blank rows are no rows, wherever they are; a title above the header is left out and told."""
    blank: list[Any] = [None, None, None]
    body = [["sku", "title", "price"], ["1", "x", 2], blank, ["2", None, None], blank]
    write(file, *body)
    expected = [
        {"sku": "1", "title": "x", "price": "2"},
        {"sku": "2", "title": None, "price": None},
    ]
    assert rows_of(file) == expected
    assert warnings_of(file) == []
    write(file, ["Price list 2026"], blank, *body)
    assert rows_of(file) == expected
    assert warnings_of(file) == [f"{file}: 1 line above the header left out: 'Price list 2026'."]


def test_a_sheet_is_said_where_there_are_several(file: Path) -> None:
    """The one sheet with rows is taken; of several one must be said, by name or number from 1."""
    book = write(file, ["sku"], ["1"], Notes=[])
    assert open_catalog(book).chosen == {"sheet": "Products"}
    book = write(file, ["sku"], ["1"], Prices=[["price"], [2]], Notes=[])
    with pytest.raises(UndecidedError, match="'Products', 'Prices'") as caught:
        open_catalog(book)
    assert (caught.value.option, caught.value.choices) == ("sheet", ("Products", "Prices"))
    assert "--sheet Products" in str(caught.value)
    assert rows_of(book, sheet="Prices") == rows_of(book, sheet="2") == [{"price": "2"}]
    with pytest.raises(UndecidedError, match=r'no sheet .prices.* Did you mean "Prices"'):
        open_catalog(book, sheet="prices")
    with pytest.raises(UndecidedError, match="no sheet '4'"):
        open_catalog(book, sheet="4")


def test_hidden_sheets_are_no_choice(file: Path) -> None:
    """A list that a workbook hides is not what somebody means."""
    book = openpyxl.Workbook()
    book.active.append(["sku"])
    book.active.append(["1"])
    hidden = book.create_sheet("Lists")
    hidden.append(["a"])
    hidden.sheet_state = "hidden"
    book.save(file)
    assert rows_of(file) == [{"sku": "1"}]


def test_columns_without_a_name_of_their_own(file: Path) -> None:
    """They stop nothing until they are mapped."""
    write(file, ["sku", None, "a", "a"], ["1", "x", "y", "z"])
    catalog = open_catalog(file)
    assert catalog.schema.names == ["sku"]
    with pytest.raises(CatalogError, match="both named 'a'"):
        catalog.require(["a"])


def test_other_formats_of_workbooks(tmp_path: Path) -> None:
    """Old Excel files and OpenDocument sheets have the same texts."""
    frame = pd.DataFrame(
        {
            "sku": ["0012", "0013"],
            "n": [550098467.0, 4006381333931000.0],
            "day": dt.date(2026, 1, 2),
        }
    )
    expected = [
        {"sku": "0012", "n": "550098467", "day": "2026-01-02"},
        {"sku": "0013", "n": "4.006381333931e+15", "day": "2026-01-02"},
    ]
    frame.to_excel(tmp_path / "new.xlsx", index=False)
    frame.to_excel(tmp_path / "open.ods", index=False)
    old = xlwt.Workbook()
    sheet = old.add_sheet("S")
    style = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for row, values in enumerate([list(frame), *frame.itertuples(index=False)]):
        for column, value in enumerate(values):
            sheet.write(row, column, value, *([style] if isinstance(value, dt.date) else []))
    old.save(tmp_path / "old.xls")
    for name in ("new.xlsx", "open.ods", "old.xls"):
        assert rows_of(tmp_path / name) == expected


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    """Workbooks of one export may have their columns in another order, not other columns."""
    write(tmp_path / "1.xlsx", ["sku", "n"], ["1", 1])
    write(tmp_path / "2.xlsx", ["n", "sku"], [2, "2"])
    assert rows_of(tmp_path) == [{"sku": "1", "n": "1"}, {"sku": "2", "n": "2"}]
    write(tmp_path / "3.xlsx", ["sku"], ["3"])
    with pytest.raises(CatalogError, match="have different columns: 'n'"):
        rows_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read as a workbook"),
        (b"sku,n\n1,2\n", "can't be read as a workbook"),
        (base64.b64encode(b"PK\x03\x04" + b"\0" * 30), "is no workbook but the base64 text"),
        (b"PK\x03\x04 half of it", "can't be read as a workbook"),
    ],
)
def test_what_is_no_workbook_is_refused(file: Path, content: bytes, message: str) -> None:
    """Another file under the name of one, and half of one, are told in words."""
    file.write_bytes(content)
    with pytest.raises(CatalogError, match=message):
        open_catalog(file)


def test_an_empty_workbook_is_refused(file: Path) -> None:
    """Without a row there are no columns."""
    with pytest.raises(CatalogError, match="is empty"):
        open_catalog(write(file))
    assert rows_of(write(file, ["sku", "n"])) == []


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=9)
cells = (
    st.none()
    | texts
    | st.integers(-(10**15) + 1, 10**15 - 1)
    | st.booleans()
    | st.dates(dt.date(1900, 3, 1), dt.date(9999, 12, 31))
)


def meant(cell: object) -> str | None:
    """Return the text that a person means by a cell."""
    if cell is None or isinstance(cell, str):
        return cell or None
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


@given(rows=st.lists(st.tuples(cells, cells), max_size=6))
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_writers_write_is_read_back(file: Path, rows: list[tuple[Any, Any]]) -> None:
    """Text, whole numbers, booleans and dates of xlsxwriter come back as what was meant."""
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for at, row in enumerate([("first", "second"), *rows]):
            for column, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(at, column, cell)
                elif isinstance(cell, dt.date):
                    sheet.write_datetime(at, column, cell, day)
                elif isinstance(cell, bool):
                    sheet.write_boolean(at, column, cell)
                elif cell is not None:
                    sheet.write_number(at, column, cell)
    expected = [{"first": meant(a), "second": meant(b)} for a, b in rows]
    assert rows_of(file) == [row for row in expected if any(row.values())]
