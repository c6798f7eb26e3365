"""CSV files: all columns are text, and nothing is taken for null but an empty field.

A quoted empty field is empty text. Empty lines are no rows. The file is read in blocks, each of
which is checked before Arrow parses it: Arrow takes any quotes, and would merge rows by them.
"""

from __future__ import annotations

import csv
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from incarts_pipeline.catalog.arrow_types import Faults, name_faults
from incarts_pipeline.catalog.csv_form import check_form, read_header
from incarts_pipeline.catalog.csv_stream import CheckedStream, Cut
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.quoting import QuoteFault, QuoteScan
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded, UndecodableError
from incarts_pipeline.catalog.width import check_width
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText

_SHOWN = 60  # characters of a row in a message
_SEPARATOR = re.compile(
    rb'"?sep=([^\r\n"])"?[\r\n]+', re.IGNORECASE
)  # which Excel writes and reads


class DelimitedFile:
    """One CSV file, its header read and its rows still to come; reads `source` once.

    An empty file has no `names`. Excel's `sep=;` in the first line is the delimiter, where none was
    said.

    Raises:
        CatalogError: its header looks like another delimiter's, its quotes can't be trusted, or it
            can't be decoded.
    """

    def __init__(self, source: Decoded, name: str, options: ReadOptions) -> None:
        self._name = name
        self._delimiter = options.delimiter or _delimiter_of(name)
        self._options = options
        self._source = source
        self._line = 1
        # Arrow takes the word that all columns are text only by their names, so the header is read
        # first.
        self._head, self.names = self._read_header()
        if self.names:
            check_form(self._head, self.names, self._delimiter, name, options)
        faults = name_faults(self.names, name)
        self._places = [place for place in range(len(self.names)) if place not in faults]
        self.faults: Faults = {self.names[place]: fault for place, fault in faults.items()}
        self._ragged: list[pacsv.InvalidRow] = []
        # Nobody has such a value, so that a row of it can only be ours.
        self._marker = uuid.uuid4().hex

    @property
    def schema(self) -> pa.Schema:
        """The columns that have a name of their own, all text."""
        return pa.schema([(self.names[place], pa.string()) for place in self._places])

    def batches(self, first_row: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield the rows; `first_row` is what the first one counts as in errors.

        Raises:
            CatalogError: a row has more or fewer fields than the header, a cell's quotes can't be
                trusted, or a byte isn't the encoding's; names row, line and column.
        """
        if not self.names:
            return
        rows = 0
        # One batch is held back, because only the last one has the marker row.
        last: pa.RecordBatch | None = None
        stream = self._checked()
        try:
            for batch in self._open(stream):
                if not batch.num_rows:
                    continue
                if last is not None:
                    yield self._usable(last)
                    rows += last.num_rows
                last = batch
        except pa.ArrowInvalid as error:
            # Each batch before was read to its end: the row in question is the next one.
            at = first_row + rows + (0 if last is None else last.num_rows)
            raise self._explain(error, stream.cut, first_row, at) from error
        if last is None:
            raise AssertionError("the marker row is the last one")
        at = first_row + rows + last.num_rows - 1
        if stream.cut is not None:  # in the last column, so that its row looks whole
            raise self._distrusted(stream.cut, at, len(self.names))
        yield self._usable(last.slice(0, last.num_rows - 1))

    def _usable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [batch.column(place) for place in self._places]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _read_header(self) -> tuple[bytes, list[str]]:
        raw, error = _first_block(self._source)
        # Exports begin with empty lines; Arrow would take the first of them for the header.
        head = raw.lstrip(b"\r\n")
        if said := _SEPARATOR.match(head):
            head = head[said.end() :]
            self._delimiter = self._options.delimiter or said[1].decode()
        skipped = raw[: len(raw) - len(head)]
        self._line += max(skipped.count(b"\n"), skipped.count(b"\r"))
        if not head.strip():
            if error is not None:
                raise error
            return b"", []
        try:
            names, ended = read_header(head, self._delimiter, self._options)
        except csv.Error as wrong:
            raise CatalogError(
                f"The header of {self._name} (line {self._line}) can't be read: {wrong}.",
                fix=self._advice(is_escaped=b'\\"' in head.partition(b"\n")[0]),
            ) from wrong
        if error is not None and not ended:
            raise error.at(f"The header of {self._name}", None, None)
        check_width(f"The header of {self._name}", len(names), self._options.max_columns)
        return head, names

    def _checked(self) -> CheckedStream:
        # The line feed before it ends a last line that has none; behind one it is an empty line,
        # which is no row.
        end = "\n" + self._delimiter.join([self._marker] * len(self.names)) + "\n"
        options = self._options
        scan = QuoteScan(
            self._delimiter,
            options.quote_mark,
            options.escape_mark,
            len(self.names),
            trusted=options.quote is not None,
        )
        return CheckedStream(
            self._head,
            self._source,
            scan,
            line=self._line,
            marker=self._marker.encode(),
            end=end.encode(),
        )

    def _open(self, stream: CheckedStream) -> Any:
        by_place = [str(place) for place in range(len(self.names))]
        quote, escape = self._options.quote_mark, self._options.escape_mark
        return pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                # A row longer than a block is an error of Arrow's, which `_explain` turns into
                # words.
                block_size=BLOCK,
                use_threads=False,  # rows have numbers only so
                column_names=by_place,  # their own may be there twice
                skip_rows_after_names=1,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=quote or False,
                double_quote=quote is not None,
                escape_char=escape or False,
                # Names and descriptions have line breaks.
                newlines_in_values=quote is not None or escape is not None,
                invalid_row_handler=self._note_ragged,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(by_place, pa.string()),
                # Arrow's own list has NA, NULL and nan, which are somebody's brand.
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _note_ragged(self, row: pacsv.InvalidRow) -> str:
        self._ragged.append(row)
        # "skip" would lose the row silently; the parser's own error, which comes next, lacks its
        # fields.
        return "error"

    def _explain(self, error: Exception, cut: Cut | None, first_row: int, at: int) -> CatalogError:
        # Arrow says no more than that; there is no class or code for it.
        if "straddling" in str(error):
            return CatalogError(
                f"Row {at} of {self._name} (the first is 0) is longer than {BLOCK:,} bytes.",
                fix="Look for a line break that is missing, or for a file that is no CSV.",
                row=at,
            )
        if not self._ragged:
            return CatalogError(f"{self._name} can't be read as a CSV: {error}.")
        row = self._ragged[0]
        at = first_row + row.number - 2  # it counts from 1, and counts the header
        if cut is not None and self._marker in row.text:
            return self._distrusted(cut, at, row.actual_columns)
        fix = "Quote the fields that contain the delimiter, or complete the row."
        if self._options.quote is None and '"' in row.text:
            fix = OptionText(
                f"{fix} If its quotes are text, like inches, say ",
                Option(name="quote", value="none", of_reading=True),
                ".",
            )
        return CatalogError(
            f"Row {at} of {self._name} (the first is 0) has {row.actual_columns} fields, the "
            f"header has {row.expected_columns}: {_shown(row.text)}.",
            fix=fix,
            row=at,
        )

    def _distrusted(self, cut: Cut, row: int, columns: int) -> CatalogError:
        where = f"Row {row} of {self._name} (the first is 0; line {cut.line})"
        column = self.names[columns - 1] if columns <= len(self.names) else None
        if cut.error is not None:
            return cut.error.at(where, row, column)
        return CatalogError(
            f"{where}, column {column!r}: the cell {_told(cut.fault)}: {_shown(cut.text)}.",
            fix=self._advice(cut.fault, is_escaped=cut.is_escaped),
            row=row,
            column=column,
        )

    def _advice(self, fault: QuoteFault | None = None, *, is_escaped: bool) -> str:
        """Return the way out: what the cell looks like comes first."""
        if fault is QuoteFault.ESCAPE:
            return OptionText(
                "Take ", Option(name="escape", of_reading=True), " out, if the file has no escapes."
            )
        if fault is QuoteFault.SPACED:
            return "Take out the white space between the delimiter and the quote."
        if is_escaped and self._options.escape is None:
            return OptionText(
                "If the file escapes quotes by backslashes, say ",
                Option(name="escape", value="\\", stand_in="'\\'", of_reading=True),
                "; or write each quote inside of a cell twice.",
            )
        text = OptionText(
            "If the file's quotes are text, like inches, say ",
            Option(name="quote", value="none", of_reading=True),
            "; or quote the cell, and write each quote inside of it twice.",
        )
        if fault in (QuoteFault.UNCLOSED, QuoteFault.TOO_LONG):
            return OptionText("Most likely a quote is opened and never closed: close it. ", text)
        if fault is QuoteFault.HOLDS_ROWS:
            whole = Option(name="quote", value='"', stand_in="'\"'", of_reading=True)
            return OptionText(text, " If it is one cell, say ", whole, ".")
        return text


def _told(fault: QuoteFault | None) -> str:
    return "" if fault is None else fault.value


def _first_block(source: Decoded) -> tuple[bytes, UndecodableError | None]:
    """Return what a file begins with, and the wrong byte that ends it."""
    parts: list[bytes] = []
    try:
        while sum(map(len, parts)) < BLOCK and (part := source.read1(BLOCK)):
            parts.append(part)
    except UndecodableError as error:
        return b"".join(parts), error
    return b"".join(parts), None


def filled_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that have a value: spreadsheets export rows of delimiters alone."""
    blank = None
    for column in batch.columns:
        # Most batches are through after one column or two.
        blank = column.is_null() if blank is None else pc.and_(blank, column.is_null())
        if not pc.any(blank).as_py():
            return batch
    return batch.filter(pc.invert(blank))


def _delimiter_of(name: str) -> str:
    return "\t" if ".tsv" in name.lower()[-8:] else ","


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
