"""Workbooks: one sheet of an Excel or OpenDocument file, each cell as its text.

Whole numbers have no `.0`. A number of 16 digits and more is written with an exponent: a workbook
keeps 15 of them, so that nobody knows the rest, and rules on ids see at once what it is. Dates are
ISO 8601, booleans `true` and `false`, an error is its own text, like `#N/A`. A workbook is read
whole, as its format wants it.
"""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.catalog.arrow_types import name_faults
from incarts_pipeline.catalog.csv import filled_rows
from incarts_pipeline.catalog.extras import package
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.source_file import FileRows, SourceFile, check_same_columns
from incarts_pipeline.errors import CatalogError, UndecidedError
from incarts_pipeline.text import Option, OptionText, counted, suggest

_LARGEST = 4 * 1024**3  # bytes that a workbook may unpack to
_USUAL = 64 * 1024**2  # bytes up to which nobody minds how small they were packed
_PACKED = 200  # times: sheets are packed to a fifth or a twentieth, and nothing beats 1,032
_CELLS = 60_000_000  # from the first row and column to the last: calamine makes room for all
_READ = 1024**2  # bytes
_PLACE = re.compile(rb' r="([A-Z]{1,3})([0-9]{1,7})"')
_SHOWN = 60  # characters of lines in a warning
_STYLES = "xl/styles.xml"
_PADDING = re.compile(rb'formatCode="(0{2,})"')
_TITLE_ROWS = 30  # within which the header is looked for
# As calamine names them, and as people see them.
_ERRORS = {
    "Div0": "#DIV/0!",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
    "GettingData": "#GETTING_DATA",
}
# What a workbook's date becomes as text, and a number that may have more digits than it had.
_MOMENT = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$"
_LONG = r"^-?\d{16,}(\.\d+)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """One sheet: its columns' names, its rows by place, and the lines above its header.

    `padded` is a format of the workbook that shows numbers with zeros in front.
    """

    name: str
    names: tuple[str, ...]
    rows: pa.RecordBatch
    above: tuple[str, ...]
    padded: str = ""


def workbook_rows(name: str, files: list[SourceFile], options: ReadOptions) -> FileRows:
    """Open workbooks; all columns are text, and rows without a value are no rows.

    Args:
        name: the catalog, for messages.
        files: of `.xlsx`, `.xlsm`, `.xlsb`, `.xls` or `.ods`.
        options: `sheet`, by its name or by its number from 1; else the one that has rows.

    Raises:
        CatalogError: one isn't a workbook, is encrypted or empty, or files have other columns.
        UndecidedError: several sheets have rows, or there is no such sheet.
        MissingExtraError: fastexcel isn't installed.
    """
    sheets = [_sheet(file, options.sheet) for file in files]
    first = next((sheet for sheet in sheets if sheet.names), None)
    if first is None:
        raise CatalogError(f"{name} is empty.", fix="It needs at least a row with the columns.")
    faults = name_faults(first.names, name)
    schema = pa.schema(
        [(one, pa.string()) for at, one in enumerate(first.names) if at not in faults]
    )
    # A single one isn't parsed again; of many, only one at a time is in memory.
    kept = first if len(files) == 1 else None
    del sheets

    def rows_of(file: SourceFile, _: int, warnings: list[str]) -> Iterator[pa.RecordBatch]:
        sheet = kept or _sheet(file, options.sheet)
        if not sheet.names:
            warnings.append(f"{file.name} is empty.")
            return
        if kept is None:
            usable = [one for one in sheet.names if one and sheet.names.count(one) == 1]
            check_same_columns(name, schema.names, usable, file.name)
        warnings += _said(file.name, sheet)
        places = [sheet.names.index(one) for one in schema.names]
        columns = [sheet.rows.column(place) for place in places]
        yield filled_rows(pa.RecordBatch.from_arrays(columns, schema=schema))

    return FileRows(
        schema=schema,
        rows_of=rows_of,
        faults={first.names[at]: fault for at, fault in faults.items()},
        chosen={"sheet": first.name},
    )


def _said(name: str, sheet: _Sheet) -> Iterator[str]:
    if sheet.padded:
        yield (
            f"{name}: numbers that are shown with zeros in front (as {sheet.padded!r} does) are "
            "read without them; ids that need their zeros must be text."
        )
    if sheet.above:
        shown = "; ".join(sheet.above)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        lines = counted(len(sheet.above), "line")
        yield f"{name}: {lines} above the header left out: {shown!r}."


def _sheet(file: SourceFile, wanted: str | None) -> _Sheet:
    fastexcel = package("fastexcel", "excel", "Excel files")
    with file.open() as stream:
        content = stream.read()
    padded = _looked_into(content, file.name)
    try:
        book = fastexcel.read_excel(content)
        sheet = _chosen(book, wanted, file.name)
        cells = _texts(book, sheet)
    except fastexcel.FastExcelError as error:
        raise _no_workbook(file.name, content, error) from error
    return dataclasses.replace(_under_header(cells, sheet, file.name), padded=padded)


def _looked_into(content: bytes, name: str) -> str:
    """Make sure that a workbook isn't too large; return a format that pads numbers with zeros."""
    # A few megabytes of zip may unpack to anything, and calamine unpacks a sheet whole.
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            size = sum(part.file_size for part in parts.infolist())
            if size > _LARGEST or size > max(_USUAL, _PACKED * len(content)):
                raise _too_large(name, f"unpacks to {size:,} bytes")
            for part in parts.infolist():
                _check_part(content, part, name)
            styles = parts.read(_STYLES) if _STYLES in parts.namelist() else b""
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return ""  # an .xls, or one that calamine will say more about
    found = _PADDING.search(styles)
    return found[1].decode() if found else ""


def _check_part(content: bytes, part: zipfile.ZipInfo, name: str) -> None:
    """Refuse a part that is larger than it says, or has cells so far out that all is too large."""
    columns: set[bytes] = set()
    last, end, size = 0, b"", 0
    is_xml = part.filename.endswith(".xml")  # a sheet may have any name
    for block in _unpacked(content, part):
        size += len(block)
        if size > part.file_size:
            raise _too_large(name, f"has a part that is larger than it says, {part.filename!r}")
        if is_xml:
            found = _PLACE.findall(end + block)
            columns.update(column for column, _ in found)
            last = max(last, max((int(row) for _, row in found), default=0))
            end = block[-16:]
    widest = max(map(_column_number, columns), default=0)
    if last * widest > _CELLS:
        raise _too_large(name, f"has cells in {last:,} rows and {widest:,} columns")


def _unpacked(content: bytes, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield what a part really unpacks to; zipfile itself stops where the part says it ends."""
    start = part.header_offset
    name, extra = struct.unpack("<HH", content[start + 26 : start + 30])
    start += 30 + name + extra
    packed = content[start : start + part.compress_size]
    if part.compress_type != zipfile.ZIP_DEFLATED:
        yield packed
        return
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    while block := unpacking.decompress(packed, _READ):
        yield block
        packed = unpacking.unconsumed_tail


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _too_large(name: str, why: str) -> CatalogError:
    return CatalogError(f"{name} {why}.", fix="Save the sheet as CSV, and pass that.")


def _chosen(book: Any, wanted: str | None, name: str) -> str:
    """Return the sheet that was said, else the only one that people see and that has rows."""
    names: list[str] = book.sheet_names
    if wanted is not None:
        if wanted in names:
            return wanted
        if wanted.isdecimal() and 1 <= int(wanted) <= len(names):
            return names[int(wanted) - 1]
        raise _undecided(
            f"{name} has no sheet {wanted!r}: there are {', '.join(map(repr, names))}."
            f"{suggest(wanted, names)}",
            names,
        )
    if len(names) == 1:
        return names[0]
    filled = [one for one in names if _has_rows(book, one)]
    if len(filled) > 1:
        raise _undecided(
            f"{name} has several sheets with rows: {', '.join(map(repr, filled))}.", filled
        )
    return filled[0] if filled else names[0]


def _has_rows(book: Any, sheet: str) -> bool:
    loaded = book.load_sheet(sheet, header_row=None, dtypes="string")
    return bool(loaded.visible == "visible" and loaded.height)


def _undecided(message: str, choices: Sequence[str]) -> UndecidedError:
    return UndecidedError(
        message,
        fix=OptionText(
            "Say which one, with ", Option(name="sheet", value=choices[0], of_reading=True), "."
        ),
        option="sheet",
        choices=tuple(choices),
    )


def _texts(book: Any, sheet: str) -> pa.RecordBatch:
    """Return all cells of a sheet as text, from its first row and column that have any."""

    def load(kind: str) -> Any:
        return book.load_sheet(sheet, header_row=None, dtypes=kind)

    batch, failed = load("string").to_arrow_with_errors()
    columns = list(batch.columns)
    for at, texts in _errors_by_column(failed).items():
        columns[at] = _replaced(columns[at], texts)
    # A cell says only by what it can be loaded as whether it is a number or a date; text is
    # neither, whatever it looks like.
    if any(_some(column, _LONG) for column in columns):
        numbers = load("boolean").to_arrow()
        columns = [
            _put(column, numbers.column(at), _LONG, _with_exponent)
            for at, column in enumerate(columns)
        ]
    if any(_some(column, _MOMENT) for column in columns):
        times = load("duration").to_arrow()
        columns = [
            _put(column, times.column(at), _MOMENT, _iso) for at, column in enumerate(columns)
        ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _errors_by_column(failed: Any) -> dict[int, dict[int, str]]:
    found: dict[int, dict[int, str]] = {}
    for error in failed.errors if failed else ():
        row, column = error.position
        kind = error.detail.partition("Error(")[2].partition(")")[0]
        found.setdefault(column, {})[row] = _ERRORS.get(kind, f"#{kind.upper() or 'ERROR'}!")
    return found


def _some(column: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())


def _put(
    column: pa.Array, loaded: pa.Array, pattern: str, written: Callable[[str], str]
) -> pa.Array:
    """Write those cells anew that look so and could be loaded so."""
    fits = pc.and_(pc.match_substring_regex(column, pattern).fill_null(False), loaded.is_valid())
    places = pc.indices_nonzero(fits).to_pylist()
    return _replaced(column, {at: written(column[at].as_py()) for at in places})


def _replaced(column: pa.Array, texts: dict[int, str]) -> pa.Array:
    if not texts:
        return column
    values = column.to_pylist()
    for at, text in texts.items():
        values[at] = text
    return pa.array(values, pa.string())


def _with_exponent(digits: str) -> str:
    """Return a number as Python writes doubles that are too long, with no more digits than told."""
    number = Decimal(repr(float(digits))).normalize()
    sign, figures, exponent = number.as_tuple()
    mantissa = "".join(map(str, figures))
    fraction = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{'-' * sign}{mantissa[0]}{fraction}e+{int(exponent) + len(mantissa) - 1}"


def _iso(moment: str) -> str:
    day, _, time = moment.partition(" ")
    if day == "1899-12-31":  # a time without a day
        return time
    return day if time == "00:00:00" else f"{day}T{time}"


def _under_header(cells: pa.RecordBatch, sheet: str, file: str) -> _Sheet:
    """Find the header: the first row that fills half as many columns as any row near it does.

    A title, a date or a note stands in one or two cells above.
    """
    head = [_values(cells, at) for at in range(min(cells.num_rows, _TITLE_ROWS))]
    filled = [sum(value is not None for value in row) for row in head]
    if not any(filled):
        return _Sheet(name=sheet, names=(), rows=cells, above=())
    header = next(at for at, n in enumerate(filled) if 2 * n >= max(filled))
    above = [" ".join(filter(None, row)) for row in head[:header] if any(row)]
    names = tuple(value or "" for value in head[header])
    if above and len({*filter(None, names)}) < len([*filter(None, names)]):
        raise CatalogError(
            f"Which row of the sheet {sheet!r} of {file} has the columns' names can't be told: "
            f"above row {header + 1} there is {above[0]!r}.",
            fix="Delete what is above the row with the names.",
        )
    return _Sheet(name=sheet, names=names, rows=cells.slice(header + 1), above=tuple(above))


def _values(cells: pa.RecordBatch, row: int) -> list[str | None]:
    return [column[row].as_py() or None for column in cells.columns]


def _no_workbook(name: str, content: bytes, error: Exception) -> CatalogError:
    if "password" in str(error).lower():
        return CatalogError(
            f"{name} is protected by a password.", fix="Save it without one, and pass that."
        )
    if content.startswith(b"UEsD"):
        return CatalogError(
            f"{name} is no workbook but the base64 text of a zip file.",
            fix="Decode it (base64 -d), and check what it holds.",
        )
    reason = str(error).splitlines()[0].rstrip(".")
    return CatalogError(
        f"{name} can't be read as a workbook: {reason}.",
        fix="Open it in Excel or LibreOffice, and save it as .xlsx or CSV.",
    )
