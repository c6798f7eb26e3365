"""Bulk reads of a ledger in PostgreSQL into Arrow: one snapshot, rows by the thousand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pyarrow as pa

from incarts_pipeline.ledger.bulk_read import Query, Reading, Words
from incarts_pipeline.ledger.postgres.engine import begin_reading, connect
from incarts_pipeline.ledger.postgres.errors import explain
from incarts_pipeline.settings import DatabasePlace

_BATCH_ROWS = 20_000
_WORDS = Words(
    content_hash_as_hex="encode(operation.content_hash, 'hex')",
    body_as_text="convert_from(body.body, 'UTF8')",
    wanted="json_array_elements_text(CAST(?1 AS json)) AS wanted (value)",
    index_of_open="",
    index_of_closed="",
    index_of_disputed="",
)
_PARAMETER = re.compile(r"\?(\d+)")


@contextmanager
def open_reading(place: DatabasePlace) -> Iterator[Reading]:
    """Open the ledger for bulk reads, all of one snapshot.

    Raises:
        LedgerError: it can't be read.
    """
    try:
        with closing(connect(place)) as connection:
            begin_reading(connection, place)
            yield _Reading(connection)
    except psycopg.Error as error:
        raise explain(error, place) from error


class _Reading:
    """Reads with a cursor of the server, so that no result is in memory as a whole."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def batches(self, query: Query, *parameters: str | int) -> Iterator[pa.RecordBatch]:
        text, values = _numbered(query.text(_WORDS), parameters)
        with self._connection.cursor("bulk", binary=True) as cursor:
            cursor.itersize = _BATCH_ROWS
            cursor.execute(text.encode(), values)
            while rows := cursor.fetchmany(_BATCH_ROWS):
                columns = zip(*rows, strict=True)
                fields = zip(columns, query.schema, strict=True)
                arrays = [_array(column, field.type) for column, field in fields]
                yield pa.record_batch(arrays, schema=query.schema)


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    """Return a column as what it means: moments, and yes and no, are whole numbers at times."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(values).cast(kind)


def _numbered(text: str, parameters: tuple[str | int, ...]) -> tuple[str, list[str | int]]:
    """Return a query as psycopg takes it: each place has a value of its own."""
    order = [int(found[1]) for found in _PARAMETER.finditer(text)]
    return _PARAMETER.sub("%s", text.replace("%", "%%")), [parameters[n - 1] for n in order]
