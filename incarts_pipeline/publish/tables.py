"""Tables that are published: for each kind its columns, and the SQL for them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline import kinds, schemas
from incarts_pipeline.publish import note_queries, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The table that is published of a kind: its columns behind the key's, and the SQL for them.

    `notes` makes the table `noted` that `select` joins.
    """

    columns: pa.Schema
    select: str
    notes: str


TABLES = {
    kinds.LINKS: Table(
        columns=schemas.LINKS, select=queries.LINK_COLUMNS, notes=note_queries.OF_LINKS
    ),
    kinds.QR_CODES: Table(
        columns=schemas.QR_CODES, select=queries.CODE_COLUMNS, notes=note_queries.OF_CODES
    ),
}
