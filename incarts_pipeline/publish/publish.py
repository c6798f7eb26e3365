"""Publication: what the ledger says of each row → Parquet tables, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from incarts_pipeline.errors import LedgerDamagedError, PublishError
from incarts_pipeline.ledger import History, reading
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.plan import Plan, Workspace
from incarts_pipeline.publish import queries
from incarts_pipeline.publish.files import local_file, resolve, write_table
from incarts_pipeline.publish.freshness import Noting, date_anew, is_current
from incarts_pipeline.publish.output import Output, Published, facts_of, metadata_of
from incarts_pipeline.publish.ownership import existing, is_damaged, link_sets
from incarts_pipeline.publish.tables import TABLES
from incarts_pipeline.schemas import HISTORY, MISSING, OUTPUT_VERSION
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.write import LeftOver

try:
    _VERSION = version("incarts-pipeline")
except PackageNotFoundError:  # run from a folder, without being installed
    _VERSION = ""

_BATCH = 50_000
_NOT_TO_KEEP = ""  # nothing that a table could be made from
_OF_ONE_RUN = ("ledger_sequence", "run_id")  # facts that the next run over the same differs in


def publish(
    plan: Plan,
    output: Output,
    *,
    ledger: LedgerPlace,
    set_ids: Mapping[str, int],
    left: LeftOver,
    facts: Mapping[str, str],
) -> Published:
    """Bring a plan's tables to what the ledger says, once it was carried out.

    A table that is current, what would be written, is left as it is, and dated now. `facts` go
    into the Parquet metadata; `run_id` among them names this run.

    Raises:
        PublishError: a table can't be written; the old one is untouched.
    """
    workspace, is_catalog = plan.workspace, plan.kind.is_catalog
    history = History(set_ids=set_ids, partition=plan.options.partition)
    load_left_over(workspace, left)
    table = TABLES[plan.kind]
    keys = key_columns(plan.key_fields, table.columns)
    schema = pa.schema([*(f.with_name(name) for name, f in keys.items()), *table.columns])
    query = queries.rows(keys, table.select, schema.names)
    code = [query, str(schema), queries.LATEST, queries.MISSING_ROWS, str(MISSING)]

    @cache
    def inputs() -> str:
        data = [workspace.requests_digest, *(workspace.digest(one) for one in queries.INPUTS)]
        return _hash_of([*code, *data, left.reason.value], history, facts)

    files = [local_file(target) for target in output.rows_of(plan.kind)]
    stale = _stale_history(ledger, history, output.history, facts) if is_catalog else None
    all_current = all(is_current(ledger, file, inputs) for file in files)
    # All in one: each note of its own would be two more transactions.
    with Noting(
        ledger, *([stale.file] if stale else []), *([] if all_current else files)
    ) as noting:
        if stale is not None:
            _write_history(ledger, history, stale, output.history, facts, noting)
        if all_current:
            return _kept(output, files)
        workspace.load_links(ledger, set_ids, history.partition)
        did = workspace.db.execute(queries.DONE_BY, {"run": facts["run_id"]}).fetchall()
        # What this run did is told in other words by the next one, which did nothing.
        lasting = _NOT_TO_KEEP if did else inputs()
        if is_catalog:
            # One after the other: an open stream holds on to the memory of its joins.
            gone = workspace.stream(queries.MISSING_ROWS, _BATCH)
            schema_gone = MISSING.with_metadata(metadata_of(facts))
            noting.made(files[-1], lasting, write_table(gone, schema_gone, output.missing))
            del gone
        counts, sha256 = write_rows(
            workspace, query, left.reason, facts, schema, output.links, plan.kind.id_column
        )
        noting.made(files[0], lasting, sha256)
    return Published(output=output, counts=counts, made_by=facts["run_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _StaleHistory:
    """A history to write anew: its file, None on an object store, and what it is made from."""

    file: Path | None
    made_from: str


def _stale_history(
    ledger: LedgerPlace, history: History, target: str, facts: Mapping[str, str]
) -> _StaleHistory | None:
    """Say which history is to be written; leave the one that is current, and return None."""
    file = local_file(target)
    made_from = _hash_of([history.query.sql, str(HISTORY)], history, facts)
    if is_current(ledger, file, lambda: made_from):
        date_anew(file)
        return None
    return _StaleHistory(file=file, made_from=made_from)


def _write_history(
    ledger: LedgerPlace,
    history: History,
    stale: _StaleHistory,
    target: str,
    facts: Mapping[str, str],
    noting: Noting,
) -> None:
    schema = HISTORY.with_metadata(metadata_of(facts))
    least = _links_to_keep(target, history, facts)  # before the ledger is read, which only grows

    def too_few(found: int) -> PublishError:
        return PublishError(
            f"{target} has {least:,} links of this ledger, and would have {found:,} now: {ledger} "
            "is older than it, or can't be read whole.",
            fix="The file is as it was. Restore the newest backup of the ledger, or let it learn "
            f"what only the file knows with `incarts import {target}`.",
        )

    with reading(ledger) as connection:
        links = _at_least(least, "link_id", history.batches(connection), too_few)
        noting.made(stale.file, stale.made_from, write_table(links, schema, target))


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


def _at_least(
    least: int,
    column: str,
    batches: Iterable[pa.RecordBatch],
    too_few: Callable[[int], PublishError],
) -> Iterator[pa.RecordBatch]:
    """Pass batches on; raise at their end when too few rows had a value in a column.

    That is before the new file takes the old one's place.
    """
    found = 0
    for batch in batches:
        found += batch.num_rows - batch.column(column).null_count
        yield batch
    if found < least:
        raise too_few(found)


def _hash_of(what: Sequence[str], history: History, facts: Mapping[str, str]) -> str:
    """Return a hash of all that a table depends on beside the ledger's rows, and the run."""
    lasting = {name: fact for name, fact in facts.items() if name not in _OF_ONE_RUN}
    rows = [sorted(history.set_ids.items()), history.partition]
    text = json.dumps([*what, OUTPUT_VERSION, _VERSION, rows, lasting])
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(output: Output, files: Sequence[Path | None]) -> Published:
    """Leave the tables as they are, and say what is in the first of them."""
    for file in files:
        date_anew(file)
    filesystem, path = resolve(output.links)
    counts: Counter[tuple[Status, Reason]] = Counter()
    with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
        for _ in _counted(file.iter_batches(_BATCH, columns=["status", "reason"]), counts):
            pass
        made_by = facts_of(file.schema_arrow).get("run_id", "")
    return Published(output=output, counts=dict(sorted(counts.items())), made_by=made_by)


def write_rows(
    workspace: Workspace,
    query: str,
    pending: Reason,
    facts: Mapping[str, str],
    schema: pa.Schema,
    target: str,
    id_column: str,
) -> tuple[dict[tuple[Status, Reason], int], bytes]:
    """Write the table of how each row stands, once it is known what was left over.

    `query` is one of `queries.rows`, `id_column` what of it is null for a row without a link;
    `pending` is why rows were not tried that have no reason of their own.

    Returns:
        The rows per status and reason, and the SHA-256 of what was written.
    """
    workspace.db.execute(queries.LATEST)
    counts: Counter[tuple[Status, Reason]] = Counter()
    run = {"pending": pending.value, "run": facts["run_id"]}
    [(wanted,)] = workspace.db.execute("SELECT COUNT(*) FROM request").fetchall()

    def too_few(found: int) -> PublishError:
        return PublishError(
            f"{target} would have {found:,} rows of {wanted:,}.",
            fix="The file is as it was. Run again; if that doesn't help, please report it.",
        )

    found = _with_links(workspace.stream(query, _BATCH, run), id_column)
    rows = _at_least(wanted, "status", _counted(found, counts), too_few)
    sha256 = write_table(rows, schema.with_metadata(metadata_of(facts)), target)
    return dict(sorted(counts.items())), sha256


def _with_links(batches: Iterable[pa.RecordBatch], id_column: str) -> Iterator[pa.RecordBatch]:
    """Pass batches on in which each row that has its link has one.

    Raises:
        LedgerDamagedError: the ledger says that a row has its link, and doesn't have it.
    """
    for batch in batches:
        without = pc.and_(
            pc.equal(batch.column("status"), Status.UNCHANGED.value),
            pc.is_null(batch.column(id_column)),
        )
        for row_key in batch.filter(without).column("row_key").slice(0, 1).to_pylist():
            raise LedgerDamagedError(
                f"The ledger says that the row {row_key} has what was made for it, but doesn't "
                "have it: it is damaged.",
                fix="See `incarts ledger check`; put a backup in place with `incarts ledger "
                "restore BACKUP`. The table that was published before is as it was.",
            )
        yield batch


def _counted(
    batches: Iterable[pa.RecordBatch], counts: Counter[tuple[Status, Reason]]
) -> Iterator[pa.RecordBatch]:
    """Pass batches on and count their rows."""
    for batch in batches:
        kinds = pa.table(batch.select(["status", "reason"]).columns, ["status", "reason"])
        for kind in kinds.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist():
            counts[Status(kind["status"]), Reason(kind["reason"])] += kind["count_all"]
        yield batch


def load_left_over(workspace: Workspace, left: LeftOver) -> None:
    """Fill the table `left_over`: the calls that were not tried for a reason of their own."""
    names = ("link_set", "row_key", "reason")
    rows = [dict(zip(names, (*row, reason), strict=True)) for row, reason in left.rows]
    table = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))
    workspace.db.register("incoming", table)
    workspace.db.execute("CREATE OR REPLACE TABLE left_over AS SELECT * FROM incoming")
    workspace.db.unregister("incoming")
    if left.limit is not None:
        workspace.db.execute(queries.OVER_LIMIT, {"limit": left.limit})
    for retailer, intent in left.closed:
        workspace.db.execute(queries.CLOSED, {"retailer": retailer, "intent": intent})


def key_columns(key_fields: Sequence[pa.Field], others: pa.Schema) -> dict[str, pa.Field]:
    """Return the key columns by the names under which they are published beside other columns."""
    taken = set(others.names)
    return {
        f"{field.name}_catalog" if field.name in taken else field.name: field
        for field in key_fields
    }
