"""Publication: what the ledger says of each row → Parquet tables, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from incarts_pipeline.errors import PublishError
from incarts_pipeline.ledger import History, reading
from incarts_pipeline.plan import Plan
from incarts_pipeline.publish.dataset import publish_dataset
from incarts_pipeline.publish.files import local_file, resolve, write_table
from incarts_pipeline.publish.freshness import Noting, date_anew, is_current
from incarts_pipeline.publish.output import Output, Published, facts_of, metadata_of
from incarts_pipeline.publish.ownership import existing, is_damaged, link_sets
from incarts_pipeline.publish.rows import (
    BATCH,
    Counts,
    Publication,
    at_least,
    counted,
    load_left_over,
    lost_links,
)
from incarts_pipeline.schemas import HISTORY, MISSING
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.write import LeftOver


def publish(
    plan: Plan,
    output: Output,
    *,
    ledger: LedgerPlace,
    set_ids: Mapping[str, int],
    left: LeftOver,
    facts: Mapping[str, str],
    confirms: bool = True,
    enqueued_by: str | None = None,
) -> Published:
    """Bring a plan's tables to what the ledger says, once it was carried out.

    A table that is current, what would be written, is left as it is, and dated now. `facts` go
    into the Parquet metadata; `run_id` among them names this run. Without `confirms`, what is
    published of a part is made anew by the next run. `enqueued_by` is the run whose rows are told
    as what became of them, though others made them.

    Raises:
        PublishError: a table can't be written; the old one is untouched.
    """
    load_left_over(plan.workspace, left)
    work = Publication(
        plan=plan,
        ledger=ledger,
        set_ids=set_ids,
        left=left,
        facts=facts,
        confirms=confirms,
        enqueued_by=enqueued_by,
    )
    work.choose_rows()
    return publish_dataset(work, output) if output.is_dataset else _publish_files(work, output)


def _publish_files(work: Publication, output: Output) -> Published:
    kind, ledger, made_from = work.plan.kind, work.ledger, cache(work.made_from)
    files = [local_file(target) for target in output.rows_of(kind)]
    stale = _stale_history(work, output.history) if kind.is_catalog else None
    all_current = all(is_current(ledger, file, made_from) for file in files)
    # All in one: each note of its own would be two more transactions.
    with Noting(
        ledger, *([stale.file] if stale else []), *([] if all_current else files)
    ) as noting:
        if stale is not None:
            _write_history(work, stale, output.history, noting)
        if all_current:
            return _kept(output, files)
        work.load_links()
        lasting = work.lasts(made_from)
        if kind.is_catalog:
            # One after the other: an open stream holds on to the memory of its joins.
            gone, schema = work.missing(), MISSING.with_metadata(metadata_of(work.facts))
            noting.made(files[-1], lasting, write_table(gone, schema, output.missing).sha256)
            del gone
        counts = Counts()
        written = write_table(work.rows(output.links, counts), work.schema, output.links)
        noting.made(files[0], lasting, written.sha256)
    found = dict(sorted(counts.items()))
    return Published(output=output, counts=found, made_by=work.facts["run_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _StaleHistory:
    """A history to write anew: its file, None on an object store, and what it is made from."""

    file: Path | None
    made_from: str


def _stale_history(work: Publication, target: str) -> _StaleHistory | None:
    """Say which history is to be written; leave the one that is current, and return None."""
    file, made_from = local_file(target), work.history_made_from()
    if is_current(work.ledger, file, lambda: made_from):
        date_anew(file)
        return None
    return _StaleHistory(file=file, made_from=made_from)


def _write_history(work: Publication, stale: _StaleHistory, target: str, noting: Noting) -> None:
    schema, history = HISTORY.with_metadata(metadata_of(work.facts)), work.history
    # Before the ledger is read, which only grows.
    least = _links_to_keep(target, history, work.facts)

    def too_few(found: int) -> PublishError:
        return lost_links(target, least, found, work.ledger)

    with reading(work.ledger) as connection:
        links = at_least(least, "link_id", history.batches(connection), too_few)
        noting.made(stale.file, stale.made_from, write_table(links, schema, target).sha256)


def _links_to_keep(target: str, history: History, facts: Mapping[str, str]) -> int:
    """Return how many links the history that is there has, and a new one must have.

    A link that was made stays one. Not compared are the histories of another ledger, of a link set
    that the mapping no longer has, of a partition, which rows leave for another one, and those
    that can't be read.
    """
    if is_damaged(target):
        return 0
    with existing(target) as file:
        if file is None or history.partition is not None:
            return 0
        old = facts_of(file.schema_arrow)
        if old.get("ledger_id") != facts["ledger_id"] or not link_sets(file, old) <= {
            *history.set_ids
        }:
            return 0
        at = file.schema_arrow.names.index("link_id")  # no column before it is nested
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        nulls = sum(group.column(at).statistics.null_count for group in groups)
        return int(file.metadata.num_rows - nulls)


def _kept(output: Output, files: Sequence[Path | None]) -> Published:
    """Leave the tables as they are, and say what is in the first of them."""
    for file in files:
        date_anew(file)
    filesystem, path = resolve(output.links)
    counts = Counts()
    with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
        for _ in counted(file.iter_batches(BATCH, columns=["status", "reason"]), counts):
            pass
        made_by = facts_of(file.schema_arrow).get("run_id", "")
    return Published(output=output, counts=dict(sorted(counts.items())), made_by=made_by)
