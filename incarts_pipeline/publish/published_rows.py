"""Published rows: what a table holds that was published before, in one file or in a dataset's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.publish.delta_log import log_of
from incarts_pipeline.publish.files import files_of, resolve
from incarts_pipeline.publish.manifest import Manifest
from incarts_pipeline.publish.output import Output, facts_of, is_folder, within

_PART = re.compile(r"part-(?:[0-9a-f]{32}-)?(\d+)\.parquet$")


def read_published(
    links: str, columns: Sequence[str] | None = None, filters: Any = None
) -> pa.Table:
    """Read a published table, in the order of the catalog.

    Args:
        links: its path or URI, of a dataset with a slash at its end; `delta://` and the like.
        columns: those that are wanted; all by default.
        filters: which rows, as `pyarrow.parquet.read_table` takes it.

    Raises:
        FileNotFoundError: there is none.
        pyarrow.ArrowInvalid: it can't be read.
    """
    filesystem, path = resolve(links)
    wanted: Any = path
    log = log_of(links)
    if is_folder(links) and (found := files_of(links)):
        wanted = [resolve(one)[1] for one in found]
    table = pq.read_table(
        wanted,
        columns=None if columns is None else list(columns),
        filesystem=filesystem,
        filters=filters,
        # Others who write to a Delta table have text of other kinds.
        schema=None if log is None else log.columns,
        partitioning=None,
    )
    if is_folder(links) and "catalog_row" in table.column_names:
        by = [name for name in ("catalog_row", "link_set") if name in table.column_names]
        return table.sort_by([(name, "ascending") for name in by])
    return table


def published_batches(links: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield a published table's rows, as far as they are asked for."""
    for target in files_of(links):
        filesystem, path = resolve(target)
        with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
            yield from file.iter_batches(columns=list(columns))


def published_schema(links: str) -> pa.Schema:
    """Return the columns of a published table, with what it says of itself in their metadata."""
    filesystem, path = resolve((files_of(links) or [links])[0])
    return pq.read_schema(path, filesystem=filesystem)


def published_by(links: str) -> str:
    """Return the run that wrote a published table; empty where nothing says so."""
    if not is_folder(links):
        return facts_of(published_schema(links)).get("run_id", "")
    manifest = Manifest.of(Output(links=links))
    return "" if manifest is None else manifest.facts.get("run_id", "")


def parts_of_history(output: Output) -> list[str]:
    """Return the places of a history's files: of one key's rows those of the last file count.

    A dataset's manifest says which they are, and in which order. What it doesn't name was left by a
    run that was too late or was killed, and comes before those that it names. Among such files, and
    where there is no manifest, the run's number in the ledger says which is newer.
    """
    there = files_of(output.history)
    manifest = Manifest.of(output) if output.is_dataset else None
    if manifest is None:
        return sorted(there, key=_age)
    named = [within(output.links, name) for name in manifest.below("_history/")]
    others = sorted(set(there) - {*named}, key=_age)
    return others + [one for one in named if one in there]


def part_number(part: str) -> int:
    """Return the number in the name of a part of a history, 0 for another file."""
    found = _PART.search(resolve(part)[1])
    return int(found[1]) if found else 0


def _age(part: str) -> tuple[int, int, str]:
    """Return what a part is ordered by; one that can't be read is the oldest."""
    filesystem, path = resolve(part)
    try:
        facts = facts_of(pq.read_schema(path, filesystem=filesystem))
    except (pa.ArrowException, OSError):
        facts = {}
    return int(facts.get("ledger_sequence", 0)), part_number(part), part
