"""Bulk reads of the ledger into Arrow: a query, and what a ledger that is read gives of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a database says in its own words, where SQL has none for all of them."""

    content_hash_as_hex: str
    body_as_text: str
    wanted: str  # the JSON list `?1` as a table `wanted` of `value`, up to the word JOIN
    index_of_open: str  # to be used for the operations that are open
    index_of_closed: str  # and for those that were given up
    index_of_disputed: str  # for links that are disputed


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query of the ledger, and the columns that it finds.

    Its parameters are `?1`, `?2`; what is in braces is one of a database's `Words`.
    """

    sql: str
    schema: pa.Schema

    def text(self, words: Words) -> str:
        """Return the query as a database has it."""
        return self.sql.format(**asdict(words))


class Reading(Protocol):
    """A ledger that is open for bulk reads; one query at a time, each read to its end."""

    def batches(self, query: Query, *parameters: str | int) -> Iterator[pa.RecordBatch]:
        """Yield a query's rows, all of them, as batches of its schema.

        Raises:
            LedgerError: they can't be read to their end.
        """


def scan(ledger: Reading, query: Query, *parameters: str | int) -> pa.RecordBatchReader:
    """Stream one query's rows."""
    import pyarrow as pa  # which takes long, and most that is asked of a ledger does without

    return pa.RecordBatchReader.from_batches(query.schema, ledger.batches(query, *parameters))
