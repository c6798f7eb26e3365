"""Rows that are published: what each row came to, and all that this depends on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import LedgerDamagedError, PublishError
from incarts_pipeline.ledger import History
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.plan import Plan, Workspace
from incarts_pipeline.publish import note_queries, queries
from incarts_pipeline.publish.output import lasting, metadata_of
from incarts_pipeline.publish.tables import TABLES
from incarts_pipeline.schemas import HISTORY, MISSING, OUTPUT_VERSION
from incarts_pipeline.settings import LedgerPlace
from incarts_pipeline.write import LeftOver

try:
    _VERSION = version("incarts-pipeline")
except PackageNotFoundError:  # run from a folder, without being installed
    _VERSION = ""

BATCH = 50_000
_NOT_TO_KEEP = ""  # nothing that a table could be made from

Counts = Counter[tuple[Status, Reason]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is to be published: a plan that was carried out, beside what the ledger says now.

    `facts` go into the tables' metadata; `run_id` among them names this run. What isn't confirmed
    (`confirms`) is made anew by the next run. `enqueued_by` is the run whose rows are told as what
    became of them, though others made them.
    """

    plan: Plan
    ledger: LedgerPlace
    set_ids: Mapping[str, int]
    left: LeftOver
    facts: Mapping[str, str]
    confirms: bool = True
    enqueued_by: str | None = None

    @property
    def history(self) -> History:
        """All that was ever sent for the plan's rows."""
        return History(set_ids=self.set_ids, partition=self.plan.options.partition)

    @property
    def keys(self) -> dict[str, pa.Field]:
        """The key columns, by the names under which they are published."""
        return key_columns(self.plan.key_fields, TABLES[self.plan.kind].columns)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table of links, or whatever the plan makes."""
        keys = [field.with_name(name) for name, field in self.keys.items()]
        columns = TABLES[self.plan.kind].columns
        return pa.schema([*keys, *columns], metadata=metadata_of(self.facts))

    def query(self, buckets: int | None = None) -> str:
        """Return the query for these columns, in the catalog's order or by buckets."""
        select = TABLES[self.plan.kind].select
        return queries.rows(self.keys, select, self.schema.names, buckets)

    def choose_rows(self) -> None:
        """Choose what is published of the requests: of a part, the rows of its open keys."""
        only = queries.OF_PART if self.plan.is_part else ""
        self.plan.workspace.db.execute(queries.PUBLISHED + only)

    def load_links(self) -> None:
        """Read from the ledger what the rows have, and their newest operations without a link."""
        workspace = self.plan.workspace
        workspace.load_links(self.ledger, self.set_ids, self.plan.options.partition)
        workspace.db.execute(queries.LATEST)

    def missing(self) -> pa.RecordBatchReader:
        """Stream the links whose row left the catalog."""
        return self.plan.workspace.stream(queries.MISSING_ROWS, BATCH)

    def rows(
        self, target: str, counts: Counts, buckets: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream how each row stands, and count; what isn't all of them isn't put in place.

        Raises:
            LedgerDamagedError: the ledger says that a row has its link, and doesn't have it.
            PublishError: a row is lacking.
        """
        workspace = self.plan.workspace
        said = {
            "pending": self.left.reason.value,
            "run": self.facts["run_id"],
            "enqueued": self.enqueued_by,
        }
        [(has_notes,)] = workspace.db.execute(note_queries.ANY).fetchall()
        notes = TABLES[self.plan.kind].notes if has_notes else note_queries.NONE
        workspace.db.execute(notes)
        [(wanted,)] = workspace.db.execute("SELECT COUNT(*) FROM published_request").fetchall()

        def too_few(found: int) -> PublishError:
            return lacking(target, found, wanted)

        found = workspace.stream(self.query(buckets), BATCH, said)
        linked = _with_links(found, self.plan.kind.id_column)
        return at_least(wanted, "status", counted(linked, counts), too_few)

    def made_from(self) -> str:
        """Return a hash of all that the rows depend on beside the ledger, and the run."""
        workspace = self.plan.workspace
        code = [self.query(), str(self.schema.remove_metadata()), queries.LATEST]
        code += [TABLES[self.plan.kind].notes, queries.MISSING_ROWS, str(MISSING)]
        data = [workspace.requests_digest, *(workspace.digest(one) for one in queries.INPUTS)]
        return self._hash_of([*code, *data, self.left.reason.value, self.enqueued_by or ""])

    def lasts(self, made_from: Callable[[], str]) -> str:
        """Return what to note that the rows were made from, once the links are loaded.

        What this run did is told in other words by the next one, which did nothing.
        """
        run = {"run": self.facts["run_id"]}
        did = self.plan.workspace.db.execute(queries.DONE_BY, run).fetchall()
        return _NOT_TO_KEEP if did else made_from()

    def history_made_from(self) -> str:
        """Return the same hash for the history."""
        return self._hash_of([self.history.query.sql, str(HISTORY)])

    def _hash_of(self, what: Sequence[str]) -> str:
        rows = [sorted(self.set_ids.items()), self.plan.options.partition]
        text = json.dumps([*what, OUTPUT_VERSION, _VERSION, rows, lasting(self.facts)])
        return hashlib.sha256(text.encode()).hexdigest()


def at_least(
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


def counted(batches: Iterable[pa.RecordBatch], counts: Counts) -> Iterator[pa.RecordBatch]:
    """Pass batches on and count their rows."""
    for batch in batches:
        counts.update(count(batch))
        yield batch


def count(rows: pa.Table | pa.RecordBatch) -> Counts:
    """Return the number of rows per status and reason."""
    kinds = pa.table(rows.select(["status", "reason"]).columns, ["status", "reason"])
    found = kinds.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return Counts(
        {(Status(one["status"]), Reason(one["reason"])): one["count_all"] for one in found}
    )


def load_left_over(workspace: Workspace, left: LeftOver) -> None:
    """Fill the table `left_over`: the calls that were not tried for a reason of their own."""
    names = ("link_set", "row_key", "reason")
    rows = [dict(zip(names, (*row, reason), strict=True)) for row, reason in left.rows]
    workspace.fill("left_over", pa.schema([(name, pa.string()) for name in names]), rows)
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


def lacking(target: str, found: int, wanted: int) -> PublishError:
    """Return the error of rows that aren't all of them."""
    return PublishError(
        f"{target} would have {found:,} rows of {wanted:,}.",
        fix="The file is as it was. Run again; if that doesn't help, please report it.",
    )


def lost_links(target: str, least: int, found: int, ledger: LedgerPlace) -> PublishError:
    """Return the error of a history that would have fewer links than the one that is there."""
    return PublishError(
        f"{target} has {least:,} links of this ledger, and would have {found:,} now: {ledger} "
        "is older than it, or can't be read whole.",
        fix="The file is as it was. Restore the newest backup of the ledger, or let it learn "
        f"what only the file knows with `incarts import {target}`.",
    )
