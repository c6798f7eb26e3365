"""Queries: the rows that one SELECT finds in a DuckDB or SQLite file, which is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
from pyarrow import fs

from incarts_pipeline.catalog.catalog import Catalog, cannot_read
from incarts_pipeline.catalog.fingerprint import fingerprint
from incarts_pipeline.catalog.options import ReadOptions
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.system import at_home
from incarts_pipeline.text import suggest_file

_SQLITE = b"SQLite format 3\0"
_DUCKDB, _DUCKDB_AT = b"DUCK", 8  # its mark, and where in the file it stands
_HEAD = 16  # bytes
# A query, or a view that came with the file, reads this database alone: no other file, nothing over
# a network, no code that DuckDB would fetch for it; and nothing in it can change that.
_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
}

# Gives the stream of a query, or only its columns.
_Run = Callable[[bool], AbstractContextManager[pa.RecordBatchReader]]


def open_query(source: str, query: str, options: ReadOptions) -> Catalog:
    """Open what a query finds; it runs anew each time that its rows are read.

    Args:
        source: the database's file, which is opened to be read only, and nothing but it.
        query: one SELECT. With ORDER BY, rows have the same numbers each time.
        options: of these only the batch size counts.

    Raises:
        CatalogError: there is no such database, or the query is wrong or no SELECT.
    """
    path = at_home(source).absolute()
    name = f"the query of {source}"
    run = _run(path, query)
    files = fingerprint(name, fs.LocalFileSystem(), lambda: _files(path))
    try:
        with run(True) as stream:
            schema = stream.schema
    except CatalogError:
        raise
    except Exception as error:  # of the database
        raise cannot_read(name, error) from error

    def batches() -> Iterator[pa.RecordBatch]:
        with run(False) as stream:
            yield from stream

    return Catalog(name, schema, batches, batch_rows=options.batch_rows, fingerprint=files)


def _files(path: Path) -> list[str]:
    """Return the database's file, and the ones beside it with what was written last."""
    logs = [path.with_name(path.name + suffix) for suffix in ("-wal", ".wal")]
    return [str(path), *(str(log) for log in logs if log.is_file())]


def _run(path: Path, query: str) -> _Run:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise CatalogError(
            f"There is no database {path}.{suggest_file(path)}",
            fix="A query goes with the file of a DuckDB or SQLite database.",
        ) from error
    _check_select(query)
    if head.startswith(_SQLITE):
        return lambda _: _sqlite(path, query)
    if head[_DUCKDB_AT:].startswith(_DUCKDB):
        return lambda only_columns: _duckdb(path, query, only_columns=only_columns)
    raise CatalogError(
        f"{path} is no database of DuckDB or SQLite.",
        fix="Leave the query out to read a file; of another database, pass a table or an Arrow "
        "stream from Python.",
    )


def _check_select(query: str) -> None:
    """Refuse whatever isn't one SELECT: others change the database, or write files."""
    with duckdb.connect(config=_ALONE) as parser:
        try:
            kinds = [one.type for one in parser.extract_statements(query)]
        except duckdb.Error as error:
            raise CatalogError(
                f"The query can't be read: {str(error).splitlines()[0]}", fix="Correct it."
            ) from error
    if kinds != [duckdb.StatementType.SELECT]:
        raise CatalogError("The query is not one SELECT.", fix="Give one that only reads.")


@contextmanager
def _duckdb(path: Path, query: str, *, only_columns: bool) -> Iterator[pa.RecordBatchReader]:
    with duckdb.connect(str(path), read_only=True, config=_ALONE) as connection:
        found: Any = connection.sql(query)
        yield pa.RecordBatchReader.from_stream(found.limit(0) if only_columns else found)


@contextmanager
def _sqlite(path: Path, query: str) -> Iterator[pa.RecordBatchReader]:
    import adbc_driver_sqlite.dbapi as adbc  # which would load Polars for everybody

    uri = f"file:{quote(str(path))}?mode=ro"
    with adbc.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        yield cursor.fetch_record_batch()
