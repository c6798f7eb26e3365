"""Checked table: the destinations that `incarts check` found dead, and that a mapping holds."""

from __future__ import annotations

import pyarrow as pa

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, MappingError
from incarts_pipeline.mapping import Mapping
from incarts_pipeline.prepare import DeadDestinations
from incarts_pipeline.schemas import DESTINATIONS

_READ = ("url", "verdict", "http_status", "reason", "checked_at")
_FIX = "Make it with `incarts check CATALOG -m MAPPING -o TABLE`, or take hold_dead out."


def dead_destinations(mapping: Mapping) -> DeadDestinations | None:
    """Read the table that a mapping's `hold_dead` names; None where it names none.

    Raises:
        MappingError: there is no such table, it can't be read, or it is another one.
    """
    if mapping.hold_dead is None:
        return None
    try:
        table = open_catalog(mapping.hold_dead, format="parquet")
        batches = [batch.select(_READ) for batch in table.batches() if _fits(batch.schema)]
    except CatalogError as error:
        raise MappingError(f"hold_dead: {error.message}", fix=_FIX, path="hold_dead") from error
    if not _fits(table.schema):
        raise MappingError(
            f"hold_dead: {table.name} is no table of `incarts check`.", fix=_FIX, path="hold_dead"
        )
    wanted = pa.schema([DESTINATIONS.field(name).with_nullable(True) for name in _READ])
    return DeadDestinations.of(pa.Table.from_batches(batches, wanted))


def _fits(schema: pa.Schema) -> bool:
    return all(
        name in schema.names and schema.field(name).type == DESTINATIONS.field(name).type
        for name in _READ
    )
