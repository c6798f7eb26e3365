"""Requests: what somebody wants planned."""

from __future__ import annotations

from collections.abc import Mapping as Dict, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incarts_pipeline.mapping import Mapping, for_set, load_mapping
from incarts_pipeline.models import Limits, Rekeyed
from incarts_pipeline.prepare import Partition

_ENCODING = "utf-8"  # unless somebody says otherwise
_READING = ("delimiter", "quote", "escape", "sheet", "records", "query")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan: any catalog, its mapping, and how careful to be.

    `catalog` is whatever `catalog.open_catalog` takes; `mapping` a Mapping, a dict, YAML text or a
    path, None for a catalog whose columns carry the fields' own names (then `unique_key` and
    `link_set` say what the rows are). With `partition` only those rows are looked at, and guards,
    counts and missing rows are the partition's own. `rekeyed` says what becomes of new rows that
    look like ones that left the catalog under another key, `accept` which suspicions hold no row,
    beside those that the mapping accepts.
    """

    catalog: object
    mapping: Mapping | Dict[str, object] | str | Path | None = None
    link_set: str | None = None
    unique_key: Sequence[str] = ()
    catalog_format: str | None = None
    encoding: str = _ENCODING
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    sheet: str | None = None
    records: str | None = None
    query: str | None = None
    retry_rejected: bool = False
    refuse_over: int | None = None
    allow_empty: bool = False
    rekeyed: Rekeyed = Rekeyed.HOLD
    accept: Sequence[str] = ()
    partition: Partition | None = None

    def given_mapping(self, limits: Limits | None = None) -> Mapping | None:
        """Return the mapping as it was given, with the link set that wins over its own.

        Args:
            limits: how long it may be; None for the defaults.

        Raises:
            MappingError: it can't be read, or makes no sense.
        """
        if self.mapping is None:
            return None
        mapping = load_mapping(self.mapping, most_bytes=(limits or Limits()).max_mapping_bytes)
        return mapping if self.link_set is None else for_set(mapping, self.link_set)

    def reading(self, mapping: Mapping | None) -> dict[str, Any]:
        """Return how the catalog is read, as `open_catalog` takes it: as said, or as mapped."""
        return (mapping.read.said() if mapping is not None else {}) | _reading(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class QrRequest:
    """Which QR codes are wanted.

    `source` is whatever `catalog.open_catalog` takes: a published links.parquet, each of whose
    links gets a code for each of `identifiers`, or a table with the link set's key columns and,
    instead of `identifiers`, a column `identifier` with a row per code. `name` is a template over
    the table's columns and `{identifier}`; without it the column `name` is taken, or the
    identifier. An optional column `metadata` has JSON objects.
    """

    source: object
    identifiers: Sequence[str] = ()
    name: str | None = None
    link_set: str | None = None
    catalog_format: str | None = None
    encoding: str = _ENCODING
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    sheet: str | None = None
    records: str | None = None
    query: str | None = None
    retry_rejected: bool = False

    def reading(self) -> dict[str, Any]:
        """Return how the table is read, as `open_catalog` takes it."""
        return _reading(self)


def _reading(request: PlanRequest | QrRequest) -> dict[str, Any]:
    said = {name: getattr(request, name) for name in _READING if getattr(request, name) is not None}
    if request.catalog_format is not None:
        said["format"] = request.catalog_format
    return said if request.encoding == _ENCODING else said | {"encoding": request.encoding}
