"""Bulk reads of the ledger into Arrow: a query, and what a ledger that is read gives of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of the ledger, and the columns that it finds."""

    sql: str
    schema: pa.Schema


class Reading(Protocol):
    """A ledger that is open for bulk reads; one query at a time, each read to its end."""

    def batches(self, query: Query, *parameters: str | int) -> Iterator[pa.RecordBatch]:
        """Yield a query's rows, all of them, as batches of its schema.

        Raises:
            LedgerError: they can't be read to their end.
        """


def scan(ledger: Reading, query: Query, *parameters: str | int) -> pa.RecordBatchReader:
    """Stream one query's rows."""
    return pa.RecordBatchReader.from_batches(query.schema, ledger.batches(query, *parameters))
