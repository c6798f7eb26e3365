"""Last night: what a dataset tells the next run of the catalog that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.catalog import Catalog
from incarts_pipeline.engine import Before, Night, stamp_of
from incarts_pipeline.errors import PublishError
from incarts_pipeline.ledger import LedgerReader
from incarts_pipeline.mapping import Mapping as LinkMapping
from incarts_pipeline.models import Limits
from incarts_pipeline.plan import GONE, PlanOptions
from incarts_pipeline.prepare import Chosen
from incarts_pipeline.publish.buckets import changed_since
from incarts_pipeline.publish.files import resolve
from incarts_pipeline.publish.manifest import Manifest, has_its_files, is_as_noted, is_meant
from incarts_pipeline.publish.output import Output, within
from incarts_pipeline.settings import LedgerPlace

_BATCH = 65_536


def night_of(
    output: str,
    catalog: Catalog,
    mapping: LinkMapping,
    chosen: Chosen,
    options: PlanOptions,
    limits: Limits,
    ledger: LedgerReader,
    *,
    exact: bool,
) -> Night | None:
    """Look at a catalog that is published as a dataset; None for another output.

    Args:
        output: where it is published.
        catalog: what is planned.
        mapping: which rows and columns of it count.
        chosen: lets the rows through.
        options: what the plan depends on.
        limits: bounds that the API doesn't publish.
        ledger: what is planned against.
        exact: look at all rows.

    Raises:
        CatalogError: the catalog can't be read.
    """
    place = Output(links=output)
    if not place.is_dataset:
        return None
    stamp = stamp_of(options, mapping, catalog.schema, limits=limits, ledger_id=ledger.ledger_id)
    before = None if exact else last_night(ledger.file, place)
    try:
        return Night(catalog, mapping, chosen, stamp=stamp, before=before)
    except PublishError:  # another run published meanwhile
        return Night(catalog, mapping, chosen, stamp=stamp, before=None)


def last_night(ledger: LedgerPlace, output: Output) -> Before | None:
    """Return what a dataset was published from, as the ledger still has it.

    None where there is no dataset, or anything was changed since: a file of it, or what the ledger
    says of any link.
    """
    if not output.is_dataset:
        return None
    manifest = Manifest.of(output)
    if manifest is None or not manifest.state or not is_as_noted(ledger, output, manifest):
        return None
    if not has_its_files(output, manifest):
        return None
    rows, seen = manifest.bucket_names(), manifest.bucket_names("_state/")
    return LastNight(output=output, manifest=manifest, rows=rows, seen=seen)


def still_stands(ledger: LedgerPlace, output: Output, base: bytes) -> bool:
    """Say whether a dataset's manifest is the one with that checksum, and the ledger as it was."""
    manifest = Manifest.of(output)
    return (
        manifest is not None and manifest.sha256 == base and is_as_noted(ledger, output, manifest)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LastNight:
    """A dataset as `engine.Night` reads it.

    `rows` and `seen` are the names of the files that have a bucket's rows, and its snapshot.
    """

    output: Output
    manifest: Manifest
    rows: Mapping[int, str]
    seen: Mapping[int, str]

    @property
    def state(self) -> Mapping[str, Any]:
        """What the night left beside its tables."""
        return self.manifest.state

    @property
    def sha256(self) -> bytes:
        """The manifest's checksum."""
        return self.manifest.sha256

    @property
    def buckets(self) -> int:
        """How many buckets the dataset has."""
        return self.manifest.buckets

    def snapshot(self, bucket: int) -> pa.Table:
        """Return a bucket's part of the snapshot."""
        return self._read(self.seen[bucket])

    def row_keys(self, bucket: int) -> pa.Array:
        """Return the keys of a bucket's rows."""
        return self._read(self.rows[bucket], ["row_key"])["row_key"].combine_chunks()

    def missing_keys(self) -> Iterator[pa.RecordBatch]:
        """Yield the keys of all links whose row had left the catalog."""
        for name in self.manifest.below("_missing/"):
            keys = self._read(name, ["row_key"]).cast(GONE)
            yield from keys.to_batches(max_chunksize=_BATCH)

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        target, meant = within(self.output.links, name), self.manifest.files[name]
        filesystem, path = resolve(target)
        try:
            with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
                if meant.run_id and not is_meant(name, meant, file.schema_arrow):
                    raise changed_since(target)
                return file.read(columns)
        except (pa.ArrowInvalid, OSError) as error:  # it was named, and has been dropped since
            raise changed_since(target) from error
