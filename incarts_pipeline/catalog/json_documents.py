"""JSON catalogs: an object per line, or one document that has a list of objects somewhere.

A document is read record by record, each as a line of its own, so that both have the same rules.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from incarts_pipeline.catalog.extras import package
from incarts_pipeline.catalog.json_lines import JsonColumns, json_batches
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.catalog.source_file import FileRows, RecordStream, SourceFile, end_warnings
from incarts_pipeline.catalog.text_encoding import BLOCK, Decoded
from incarts_pipeline.errors import CatalogError, UndecidedError
from incarts_pipeline.text import Option, OptionText, suggest

_EXTRA = ("ijson", "feeds", "JSON documents")
_READ = 256 * 1024  # bytes that the parser takes at a time
_DIGITS = 1_000  # in a row: Python makes no number of more than 4,300, and ijson crashes then
_TOP = "."  # the path of a document that is a list
_LINES = None  # in place of a path: no document, an object per line


def json_rows(name: str, files: list[SourceFile], options: ReadOptions) -> FileRows:
    """Open JSON files; all of them are read once, for the columns and their types.

    Args:
        name: the catalog, for messages.
        files: JSON lines or documents; a document whose list isn't named must have just one.
        options: encoding, and `records`, the dotted path of the list, where it was said.

    Raises:
        CatalogError: a file isn't JSON, has no such list or no rows.
        UndecidedError: a document has several lists of objects.
        MissingExtraError: there is a document, and ijson isn't installed.
    """
    paths = {file.name: _records_path(file, options) for file in files}
    columns = JsonColumns()
    for file in files:
        with file.decoded(options.encoding) as text:
            source, unit = _as_lines(text, file.name, paths[file.name])
            columns.read(
                source,
                file.name,
                unit,
                most=options.max_line_bytes,
                most_columns=options.max_columns,
            )
    schema = columns.schema()
    if not schema.names:
        empty = CatalogError(f"{name} is empty.", fix="It needs at least one object.")
        raise next(iter(columns.faults.values()), empty)

    def rows_of(file: SourceFile, row: int, warnings: list[str]) -> Iterator[pa.RecordBatch]:
        path = paths[file.name]
        with file.decoded(options.encoding) as text:
            source, unit = _as_lines(text, file.name, path)
            for batch in json_batches(
                source, file.name, schema, row, unit, most=options.max_line_bytes
            ):
                row += batch.num_rows
                yield batch
            # A document says itself where it ends.
            if path is _LINES:
                warnings += end_warnings(text, file.name, row - 1)

    found = {path for path in paths.values() if path not in (_LINES, _TOP)}
    chosen = {"records": found.pop()} if len(found) == 1 else {}
    return FileRows(schema=schema, rows_of=rows_of, faults=columns.faults, chosen=chosen)


def _as_lines(text: Decoded, name: str, path: str | None) -> tuple[Any, str]:
    """Return a stream of lines with an object each, and what people call such a line."""
    return (text, "Line") if path is _LINES else (_RecordLines(text, name, path or ""), "Record")


def _records_path(file: SourceFile, options: ReadOptions) -> str | None:
    """Return the dotted path of a document's list, None for a file with an object per line."""
    if options.records is not None:
        _check_path(file, options.records, options.encoding)
        return options.records
    with file.decoded(options.encoding) as text:
        # Up to a wrong byte, which whoever reads the rows can name better.
        head = text.read1(BLOCK).lstrip()
    # No object per line begins so.
    if head.startswith(b"["):
        return _TOP
    if options.format == "jsonl" or not head or _has_lines(head, file.name):
        return _LINES
    lists = _lists(file, options.encoding)
    if not lists and _is_row(head):
        return _LINES
    if len(lists) != 1:
        raise _undecided(file.name, lists)
    return next(iter(lists))


def _has_lines(head: bytes, name: str) -> bool:
    """Say whether a file's first line is an object, and not its only one."""
    first, _, rest = head.partition(b"\n")
    # What isn't called a document is one only where it can't be lines.
    by_name = ".jsonl" in name.lower()[-12:] or ".ndjson" in name.lower()[-12:]
    return by_name or (_is_object(first) and bool(rest.strip()))


def _is_row(head: bytes) -> bool:
    """Say whether a document is one object on one line, and none whose list is empty today."""
    if b"\n" in head.strip() or not _is_object(head):
        return False
    return [] not in json.loads(head).values()


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _lists(file: SourceFile, encoding: str) -> dict[str, int]:
    """Return the lists of a document that hold objects, by dotted path, with their lengths.

    Lists inside of lists are left out: they belong to a record.
    """
    ijson = package(*_EXTRA)
    found: dict[str, int] = {}
    keys: list[str] = []  # of the objects that are open
    with file.decoded(encoding) as text:
        stream = _DocumentStream(text, file.name)
        try:
            events = ijson.basic_parse(stream, buf_size=_READ)
            for event, value in events:
                if event == "map_key":
                    keys[-1] = value
                elif event == "start_map":
                    keys.append("")
                elif event == "end_map":
                    keys.pop()
                elif event == "start_array" and (n := _objects_of_list(events, stream)):
                    found[".".join(keys) or _TOP] = n
        except ijson.JSONError as error:
            raise _no_document(file.name, error) from error
    return found


def _objects_of_list(events: Iterator[tuple[str, Any]], stream: RecordStream) -> int:
    """Take the events of a list that began, and count its objects."""
    objects, depth = 0, 1
    for event, _ in events:
        if event in ("start_map", "start_array"):
            objects += depth == 1 and event == "start_map"
            depth += 1
        elif event in ("end_map", "end_array"):
            depth -= 1
            if depth == 1:
                stream.record_ended()
            elif depth == 0:
                break
    return objects


def _check_path(file: SourceFile, path: str, encoding: str) -> None:
    with file.decoded(encoding) as text:
        if next(_records(text, file.name, path), None) is not None:
            return
    lists = _lists(file, encoding)
    if path not in lists:
        raise _undecided(file.name, lists, path)


def _undecided(name: str, lists: dict[str, int], path: str | None = None) -> CatalogError:
    said = f"no list of objects at {path!r}" if path is not None else "no list of objects"
    if not lists:
        return CatalogError(
            f"{name} has {said}.", fix='Write a list of objects, like [{"sku": "0012"}].'
        )
    if path is None:
        said = "several lists of objects"
    shown = ", ".join(f"{one} ({objects:,})" for one, objects in lists.items())
    near = suggest(path, lists) if path else ""
    return UndecidedError(
        f"{name} has {said}: there are {shown}.{near}",
        fix=OptionText(
            "Say which one has the products, with ",
            Option(name="records", value=next(iter(lists)), of_reading=True),
            ".",
        ),
        option="records",
        choices=tuple(lists),
    )


class _Members(dict[str, Any]):
    """An object that notes a name that it was given twice; plain dicts keep its last value."""

    def __init__(self, noted: list[_Members]) -> None:
        self._noted = noted
        self.twice = ""

    def __setitem__(self, name: str, value: Any) -> None:
        # Only noted: the parser behind it goes on over errors.
        if name in self:
            self.twice = name
            self._noted.append(self)
        super().__setitem__(name, value)


def _records(text: Decoded, name: str, path: str) -> Iterator[Any]:
    """Yield what is in the list at a path."""
    ijson = package(*_EXTRA)
    stream = _DocumentStream(text, name)
    prefix = "item" if path == _TOP else f"{path}.item"
    noted: list[_Members] = []
    members = functools.partial(_Members, noted)
    try:
        read = ijson.items(stream, prefix, map_type=members, buf_size=_READ)
        for n, record in enumerate(read):
            # The parser is ahead of what it gave.
            if noted and (twice := _name_twice(record)):
                raise CatalogError(
                    f"Record {n + 1} of {name} has the name {twice!r} twice in one object.",
                    fix="Drop or rename one of them.",
                    row=n,
                )
            stream.record_ended()
            yield record
    except (ijson.JSONError, RecursionError) as error:
        raise _no_document(name, error) from error


def _name_twice(value: Any) -> str:
    """Return a name that an object has twice, at any depth; empty where none is."""
    if isinstance(value, _Members):
        return value.twice or next(filter(None, map(_name_twice, value.values())), "")
    if isinstance(value, list):
        return next(filter(None, map(_name_twice, value)), "")
    return ""


class _DocumentStream(RecordStream):
    """A document's bytes, in which no number is so long that the parser would crash."""

    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream, name)
        self._document = name
        self._end = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            CatalogError: there are more digits in a row than any number has.
        """
        block = super().read(size)
        seen = self._end + block
        # A run of twice as many has one of these stretches whole.
        starts = range(0, len(seen) - _DIGITS + 1, _DIGITS)
        if any(seen[at : at + _DIGITS].isdigit() for at in starts):
            raise CatalogError(
                f"{self._document} has more than {_DIGITS:,} digits in a row.",
                fix="Check that it is what its name says: no number is that long.",
            )
        self._end = seen[-_DIGITS:]
        return block


class _RecordLines:
    """Records of a document as a stream of JSON lines."""

    def __init__(self, text: Decoded, name: str, path: str) -> None:
        self._records = _records(text, name, path)
        self._name = name
        self._taken = 0

    def read1(self, size: int) -> bytes:
        """Return whole lines, at least as many bytes as were asked for; none at the end."""
        lines: list[str] = []
        length = 0
        for n, record in enumerate(self._records, start=self._taken):
            self._taken = n + 1
            # Fractions come as decimals; as doubles they are what lines with them would be.
            try:
                lines.append(json.dumps(record, default=float))
            except RecursionError as error:
                raise _too_deep(self._name, n) from error
            length += len(lines[-1])
            if length >= size:
                break
        return "".join(f"{line}\n" for line in lines).encode()


def _too_deep(name: str, record: int) -> CatalogError:
    return CatalogError(
        f"Record {record + 1} of {name} has too many objects or lists within each other.",
        fix="Check that it is what its name says.",
        row=record,
    )


def _no_document(name: str, error: Exception) -> CatalogError:
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return CatalogError(
        f"{name} is no whole JSON document: {reason}.",
        fix="Check that it is whole; a file with an object per line is named .jsonl.",
    )
