"""CSV files: all columns are text, and nothing is taken for null but an empty field.

A quoted empty field is empty text. Empty lines are no rows. The file is read in blocks, and a
marker row that is appended to it tells, when it comes out at the end, that the last quote was
closed: otherwise the parser would take the rest of the file for one field.
"""

from __future__ import annotations

import csv
import io
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from incarts_pipeline.catalog.arrow_types import Faults, name_faults
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import Option, OptionText

_SHOWN = 60  # characters of a row in a message
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(
    rb'"?sep=([^\r\n"])"?[\r\n]+', re.IGNORECASE
)  # which Excel writes and reads


class DelimitedFile:
    """One CSV file, its header read and its rows still to come; reads `source` once.

    An empty file has no `names`. Excel's `sep=;` in the first line is the delimiter, where none was
    said.

    Raises:
        CatalogError: its header looks like another delimiter's, or it can't be decoded.
    """

    def __init__(self, source: Decoded, name: str, options: ReadOptions) -> None:
        self._name = name
        self._delimiter = options.delimiter or _delimiter_of(name)
        self._source = source
        # Arrow takes the word that all columns are text only by their names, so the header is read
        # first.
        self._head, self.names = self._read_header(options.delimiter)
        if self.names and options.delimiter is None:
            self._check_delimiter()
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
            CatalogError: a row has more or fewer fields than the header, or a quote isn't closed.
        """
        if not self.names:
            return
        rows = 0
        # One batch is held back, because only the last one has the marker row. Where the file lacks
        # it, a quote swallowed it, and these rows are nobody's.
        last: pa.RecordBatch | None = None
        try:
            for batch in self._open():
                if not batch.num_rows:
                    continue
                if last is not None:
                    yield self._usable(last)
                    rows += last.num_rows
                last = batch
        except pa.ArrowInvalid as error:
            raise self._explain(error, first_row) from error
        # A quote that stays open makes the marker a part of the last field, without any error of
        # the parser: it only shows in what came out.
        if last is None or last.column(0)[-1].as_py() != self._marker:
            at = first_row + rows + (last.num_rows - 1 if last is not None else 0)
            raise self._unclosed(at)
        yield self._usable(last.slice(0, last.num_rows - 1))

    def _usable(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [batch.column(place) for place in self._places]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _read_header(self, delimiter: str | None) -> tuple[bytes, list[str]]:
        # Exports begin with empty lines; Arrow would take the first of them for the header.
        head = self._source.read(BLOCK).lstrip(b"\r\n")
        if said := _SEPARATOR.match(head):
            head = head[said.end() :]
            self._delimiter = delimiter or said[1].decode()
        if not head.strip():
            return b"", []
        text = io.StringIO(head.decode(errors="ignore"), newline="")  # may end inside a character
        try:
            names = next(csv.reader(text, delimiter=self._delimiter))
        except csv.Error as error:
            raise CatalogError(f"The header of {self._name} can't be read: {error}.") from error
        return head, names

    def _check_delimiter(self) -> None:
        # Guessing it would read some files rightly and others, one day, wrongly.
        for other in _DELIMITERS:
            inside = sum(name.count(other) for name in self.names)
            if other != self._delimiter and inside >= len(self.names):
                raise CatalogError(
                    f"The header of {self._name} has {other!r} where {self._delimiter!r} should "
                    f"be: {_shown(self._delimiter.join(self.names))}.",
                    fix=OptionText(
                        f"Say that the delimiter is {other!r}, with ",
                        Option(name="delimiter"),
                        f" {_word(other)}; or say {self._delimiter!r} if it really is that.",
                    ),
                )

    def _open(self) -> Any:
        # The line feed before it ends a last line that has none; behind one it is an empty line,
        # which is no row.
        marker = "\n" + self._delimiter.join([self._marker] * len(self.names)) + "\n"
        by_place = [str(place) for place in range(len(self.names))]
        parts = [io.BytesIO(self._head), self._source, io.BytesIO(marker.encode())]
        return pacsv.open_csv(
            io.BufferedReader(_Joined(parts), BLOCK),
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
                # Names and descriptions have line breaks.
                newlines_in_values=True,
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

    def _explain(self, error: Exception, first_row: int) -> CatalogError:
        # Arrow says no more than that; there is no class or code for it.
        if "straddling" in str(error):
            return CatalogError(
                f"A row of {self._name} is longer than {BLOCK:,} bytes.",
                fix="Most likely a quote is opened and never closed; close it.",
            )
        if not self._ragged:
            return CatalogError(f"{self._name} can't be read as a CSV: {error}.")
        row = self._ragged[0]
        at = first_row + row.number - 2  # it counts from 1, and counts the header
        if self._marker in row.text:
            return self._unclosed(at)
        return CatalogError(
            f"Row {at} of {self._name} (the first is 0) has {row.actual_columns} fields, the "
            f"header has {row.expected_columns}: {_shown(row.text)}.",
            fix="Quote the fields that contain the delimiter, or complete the row.",
            row=at,
        )

    def _unclosed(self, row: int) -> CatalogError:
        return CatalogError(
            f"Row {row} of {self._name} (the first is 0) opens a quote that is never closed.",
            fix="Close it, and check that the file is whole.",
            row=row,
        )


def filled_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that have a value: spreadsheets export rows of delimiters alone."""
    blank = None
    for column in batch.columns:
        # Most batches are through after one column or two.
        blank = column.is_null() if blank is None else pc.and_(blank, column.is_null())
        if not pc.any(blank).as_py():
            return batch
    return batch.filter(pc.invert(blank))


class _Joined(io.RawIOBase):
    """Several streams, one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._parts:
            n: int = self._parts[0].readinto(buffer)
            if n:
                return n
            self._parts.pop(0)
        return 0


def _delimiter_of(name: str) -> str:
    return "\t" if ".tsv" in name.lower()[-8:] else ","


def _word(mark: str) -> str:
    """Return a delimiter as a shell takes it."""
    return "$'\\t'" if mark == "\t" else f"'{mark}'"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
