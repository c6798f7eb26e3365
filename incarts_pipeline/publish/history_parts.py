"""History of a dataset in parts: each run that changed something appends what it changed.

Of the rows of one idempotency key those of the newest part count. All that a part tells is in the
ledger, so that a history which isn't as it was published begins anew with one part.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import PublishError
from incarts_pipeline.ledger import Reading, reading
from incarts_pipeline.plan import length_prefixed
from incarts_pipeline.plan.queries import HAS_UNKNOWN
from incarts_pipeline.publish.files import files_of, write_table
from incarts_pipeline.publish.manifest import Files
from incarts_pipeline.publish.output import Output, facts_of, metadata_of, within
from incarts_pipeline.publish.ownership import existing, is_damaged, link_sets
from incarts_pipeline.publish.published_rows import part_number, parts_of_history
from incarts_pipeline.publish.rows import BATCH, Publication, at_least, lost_links
from incarts_pipeline.schemas import HISTORY

_MOST_PARTS = 100  # then they become one


def write_history(work: Publication, output: Output, kept: Files) -> Files:
    """Append what the ledger's history has more than the parts that are there.

    Args:
        work: the publication; its ledger has the history.
        output: the dataset.
        kept: the parts that are as they were published; none of them when one isn't.

    Returns:
        The parts that the history consists of now.

    Raises:
        PublishError: it would lose links.
    """
    there = parts_of_history(output)
    named = [within(output.links, name) for name in kept]
    parts = named or [one for one in there if not is_damaged(one, or_other=True)]
    published = _Published(work, output, parts)
    with reading(work.ledger) as ledger:
        changed = published.changed(ledger) if 0 < len(kept) < _MOST_PARTS else None
        if changed is not None and not len(changed):
            return kept
        rows = work.history.batches(ledger)
        if changed is None:
            kept, rows = {}, at_least(published.links, "link_id", rows, published.lost)
        else:
            rows = _of_keys(rows, changed)
        name = _new_name(there)
        schema = HISTORY.with_metadata(metadata_of(work.facts))
        return {**kept, name: write_table(rows, schema, within(output.links, name))}


def append_history(work: Publication, output: Output, kept: Files) -> tuple[Files, bool]:
    """Append what a run did to the rows of a part, and no more.

    Returns:
        The parts that the history consists of now, and whether they are sure to be all of it.
    """
    db = work.plan.workspace.db
    [(learned,)] = db.execute(HAS_UNKNOWN).fetchall()
    is_all = not learned and len(kept) < _MOST_PARTS  # else the next run looks at all of it

    def lists() -> Iterator[str]:
        return work.plan.workspace.key_lists("SELECT DISTINCT row_key FROM open_key")

    with reading(work.ledger) as ledger:
        found = list(work.history.of_run(ledger, work.facts["run_id"], lists))
    rows = [batch for batch in found if batch.num_rows]
    if not rows:
        return kept, is_all
    name = _new_name(files_of(output.history))
    schema = HISTORY.with_metadata(metadata_of(work.facts))
    written = write_table(rows, schema, within(output.links, name))
    return {**kept, name: written}, is_all


class _Published:
    """The parts that are there, row by row as hashes in the plan's workspace.

    `links` are those that they have, and a new history must have: a link that was made stays one.
    Not compared are the histories of another ledger, of a link set that the mapping no longer has,
    and of a partition, which rows leave for another one.
    """

    def __init__(self, work: Publication, output: Output, parts: Sequence[str]) -> None:
        self._work, self._output = work, output
        self._is_comparable = work.history.partition is None
        self._has_our_columns = True
        for table in ("history_published", "history_now"):
            work.plan.workspace.db.execute(_TABLE.format(table=table))
        for number, part in enumerate(parts):
            self._load(number, part)
        [(links,)] = work.plan.workspace.db.execute(_LINKS_PUBLISHED).fetchall()
        self.links = int(links) if self._is_comparable else 0

    def _load(self, number: int, part: str) -> None:
        with existing(part) as file:
            if file is None:
                return
            facts = facts_of(file.schema_arrow)
            ours = facts.get("ledger_id") == self._work.facts["ledger_id"]
            self._is_comparable &= ours and link_sets(file, facts) <= {*self._work.set_ids}
            if file.schema_arrow.equals(HISTORY):
                self._hash("history_published", file.iter_batches(BATCH), number)
            else:
                self._has_our_columns = False

    def changed(self, ledger: Reading) -> pa.Array | None:
        """Return the keys whose rows differ from the ledger's; None when all must be written.

        Raises:
            PublishError: the ledger has fewer links.
        """
        db = self._work.plan.workspace.db
        self._hash("history_now", self._work.history.batches(ledger), 0)
        [(found, gone)] = db.execute(_NOW).fetchall()
        if found < self.links:
            raise self.lost(found)
        if gone or not self._has_our_columns:
            return None
        changed = self._work.plan.workspace.stream(_CHANGED, BATCH).read_all()
        return changed.column(0).combine_chunks()

    def lost(self, found: int) -> PublishError:
        """Return the error of a history that would have only so many links."""
        return lost_links(self._output.history, self.links, found, self._work.ledger)

    def _hash(self, table: str, batches: Iterable[pa.RecordBatch], part: int) -> None:
        statement = _HASHED.format(table=table)
        self._work.plan.workspace.read(statement, HISTORY, batches, {"part": part})


def _of_keys(batches: Iterable[pa.RecordBatch], keys: pa.Array) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = batch.filter(pc.is_in(batch.column("idempotency_key"), keys))
        if found.num_rows:
            yield found


def _new_name(there: Iterable[str]) -> str:
    """Return the name of the part after those that are there, which no other run gives to one."""
    last = max(map(part_number, there), default=0)
    # Its number at the end, where earlier versions look for it.
    return f"_history/part-{uuid.uuid4().hex}-{last + 1:06d}.parquet"


_TABLE = """
CREATE OR REPLACE TABLE {table} (
    part INTEGER, idempotency_key VARCHAR, link_id VARCHAR, hash UHUGEINT
)
"""
_TEXT = " || ".join(
    length_prefixed(
        f'EPOCH_US("{field.name}")::VARCHAR'
        if pa.types.is_timestamp(field.type)
        else f'"{field.name}"::VARCHAR'
    )
    for field in HISTORY
)
_HASHED = f"""
INSERT INTO {{table}} SELECT $part, idempotency_key, link_id, MD5_NUMBER({_TEXT}) FROM incoming
"""  # noqa: S608 - our own text
_NEWEST = """
SELECT * FROM history_published QUALIFY part = MAX(part) OVER (PARTITION BY idempotency_key)
"""
_LINKS_PUBLISHED = f"SELECT COUNT(link_id) FROM ({_NEWEST})"  # noqa: S608 - our own text
# How many links the ledger has, and how many keys it doesn't have any more.
_NOW = """
SELECT (SELECT COUNT(link_id) FROM history_now), (
    SELECT COUNT(*) FROM history_published ANTI JOIN history_now USING (idempotency_key)
)
"""
_CHANGED = f"""
WITH newest AS (
    SELECT idempotency_key, LIST_SORT(LIST(hash)) AS hashes FROM ({_NEWEST}) GROUP BY ALL
), now AS (
    SELECT idempotency_key, LIST_SORT(LIST(hash)) AS hashes FROM history_now GROUP BY ALL
)
SELECT idempotency_key FROM now LEFT JOIN newest USING (idempotency_key)
WHERE now.hashes IS DISTINCT FROM newest.hashes
"""  # noqa: S608 - our own text
