"""Outcomes → links.parquet and its companions, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.ledger import History, reading
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.plan import Workspace
from incarts_pipeline.publish import queries
from incarts_pipeline.publish.files import local_file, resolve, write_table
from incarts_pipeline.publish.freshness import Noting, keep, stands
from incarts_pipeline.publish.output import Output, Published, facts_of, metadata_of
from incarts_pipeline.schemas import HISTORY, LINKS, MISSING, OUTPUT_VERSION
from incarts_pipeline.write import LeftOver

try:
    _VERSION = version("incarts-pipeline")
except PackageNotFoundError:  # run from a folder, without being installed
    _VERSION = ""

_BATCH = 50_000
_NOT_TO_KEEP = ""  # nothing that a table could be made from
_OF_ONE_RUN = ("ledger_sequence", "run_id")  # facts that the next run over the same differs in


def publish(
    workspace: Workspace,
    output: Output,
    *,
    ledger: Path,
    history: History,
    left: LeftOver,
    facts: Mapping[str, str],
) -> Published:
    """Bring the three tables to what the ledger says, for a plan that was carried out.

    A table that is what would be written is left as it is, and dated now. `facts` go into the
    Parquet metadata; `run_id` among them names this run.

    Raises:
        PublishError: a table can't be written; the old one is untouched.
    """
    _publish_history(ledger, history, output.history, facts)
    load_left_over(workspace, left)
    keys = key_columns(workspace.key_fields, LINKS)
    select = "".join(f"r.key.{quote(f.name)} AS {quote(name)}, " for name, f in keys.items())
    schema = pa.schema([*(f.with_name(name) for name, f in keys.items()), *LINKS])
    query = queries.rows(queries.LINK_COLUMNS.format(key_columns=select, action=queries.ACTION))
    code = [query, str(schema), queries.LATEST, queries.MISSING_ROWS, str(MISSING)]
    data = [workspace.requests_digest, *(workspace.digest(table) for table in queries.INPUTS)]
    made_from = _made_from([*code, *data, left.reason.value], history, facts)
    links, missing = local_file(output.links), local_file(output.missing)
    if stands(ledger, links, made_from) and stands(ledger, missing, made_from):
        return _kept(output)
    with Noting(ledger, links, missing) as noting:
        workspace.load_links(ledger, history.set_ids, history.partition)
        # One after the other: an open stream holds on to the memory of its joins.
        gone = workspace.stream(queries.MISSING_ROWS, _BATCH)
        sha256 = write_table(gone, MISSING.with_metadata(metadata_of(facts)), output.missing)
        del gone
        noting.made(missing, made_from, sha256)
        counts, sha256 = write_rows(workspace, query, left.reason, facts, schema, output.links)
        # What this run did is told in other words by the next one, which did nothing.
        did = workspace.db.execute(queries.DONE_BY, {"run": facts["run_id"]}).fetchall()
        noting.made(links, _NOT_TO_KEEP if did else made_from, sha256)
    return Published(output=output, counts=counts, made_by=facts["run_id"])


def _publish_history(ledger: Path, history: History, target: str, facts: Mapping[str, str]) -> None:
    file = local_file(target)
    made_from = _made_from([history.query.sql, str(HISTORY)], history, facts)
    if stands(ledger, file, made_from):
        keep(file)
        return
    schema = HISTORY.with_metadata(metadata_of(facts))
    with Noting(ledger, file) as noting, reading(ledger) as connection:
        sha256 = write_table(history.batches(connection), schema, target)
        noting.made(file, made_from, sha256)


def _made_from(what: Sequence[str], history: History, facts: Mapping[str, str]) -> str:
    """Return a hash of all that a table depends on beside the ledger's rows, and the run."""
    lasting = {name: fact for name, fact in facts.items() if name not in _OF_ONE_RUN}
    rows = [sorted(history.set_ids.items()), history.partition]
    text = json.dumps([*what, OUTPUT_VERSION, _VERSION, rows, lasting])
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(output: Output) -> Published:
    """Leave links.parquet and its companion as they are, and say what is in them."""
    for target in (output.missing, output.links):
        keep(local_file(target))
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
) -> tuple[dict[tuple[Status, Reason], int], bytes]:
    """Write the table of how each row stands, once it is known what was left over.

    `query` is one of `queries.rows`; `pending` is why rows were not tried that have no reason of
    their own.

    Returns:
        The rows per status and reason, and the SHA-256 of what was written.
    """
    workspace.db.execute(queries.LATEST)
    counts: Counter[tuple[Status, Reason]] = Counter()
    run = {"pending": pending.value, "run": facts["run_id"]}
    rows = _counted(workspace.stream(query, _BATCH, run), counts)
    sha256 = write_table(rows, schema.with_metadata(metadata_of(facts)), target)
    return dict(sorted(counts.items())), sha256


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


def quote(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
