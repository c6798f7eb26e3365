"""The workspace of one run: a temporary DuckDB database that joins more than memory holds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from incarts_pipeline.ledger import bulk, snapshot

_MEMORY = "256MB"

# Link requests beside the link that their row uses now. The body of a row that has a link of the
# same content is dropped at once, so a night in which nothing changed stores no bodies.
_REQUESTS = """
CREATE TABLE request AS
SELECT incoming.* EXCLUDE (body),
       CASE WHEN current.content_hash = incoming.content_hash THEN NULL ELSE incoming.body END
           AS body,
       current.op_id AS current_op, current.content_hash AS link_hash
FROM incoming
LEFT JOIN ledger_row AS current USING (link_set, row_key)
"""

_LEDGER_TABLES: Mapping[str, tuple[str, pa.Schema]] = {
    "ledger_row": (snapshot.ROWS, snapshot.ROWS_SCHEMA),
    "unlinked": (snapshot.UNLINKED, snapshot.UNLINKED_SCHEMA),
    "past": (snapshot.PAST, snapshot.PAST_SCHEMA),
}

# The rows that a run answers for: the whole set's, or those that were last in its partition.
_OWN = "CREATE OR REPLACE VIEW own_row AS SELECT * FROM ledger_row"
_OF_PARTITION = """
SEMI JOIN (SELECT link_set, row_key FROM member WHERE "partition" = {partition})
USING (link_set, row_key)
"""


class Stage:
    """A temporary database on disk with a bound on its memory; close it to remove it."""

    def __init__(self) -> None:
        self.key_fields: list[pa.Field] = []
        self._folder = tempfile.TemporaryDirectory(prefix="incarts-")
        self.db = duckdb.connect(
            str(Path(self._folder.name) / "stage.duckdb"),
            config={"memory_limit": _MEMORY, "preserve_insertion_order": "false"},
        )

    def close(self) -> None:
        """Drop everything."""
        self.db.close()
        self._folder.cleanup()

    def stream(self, query: str, batch_rows: int) -> pa.RecordBatchReader:
        """Run a query on a connection of its own and stream its result."""
        return self.db.cursor().sql(query).to_arrow_reader(batch_rows)

    def load_ledger(
        self, path: Path | None, set_ids: Mapping[str, int], partition: str | None = None
    ) -> None:
        """Read what a plan needs of the ledger; `path` None stands for one that isn't there yet."""
        for table in _LEDGER_TABLES:
            self._load_ledger_table(table, path, set_ids)
        own = _OWN
        if partition is not None:
            self._fill("member", snapshot.MEMBERS, snapshot.MEMBERS_SCHEMA, path, set_ids)
            quoted = "'" + partition.replace("'", "''") + "'"
            own += _OF_PARTITION.format(partition=quoted)
        self.db.execute(own)

    def load_links(self, path: Path | None, set_ids: Mapping[str, int]) -> None:
        """Read the link that each row uses into the table `made`."""
        self._fill("made", snapshot.CURRENT, snapshot.CURRENT_SCHEMA, path, set_ids)

    def load_made_codes(self, path: Path | None, set_ids: Mapping[str, int]) -> None:
        """Read which QR codes were made, for which links, into the table `made_code`."""
        self._fill("made_code", snapshot.MADE_CODES, snapshot.MADE_CODES_SCHEMA, path, set_ids)

    def load_requests(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Store link requests in the table `request`; the ledger must have been loaded."""
        self.key_fields = list(schema.field("key").type.fields)
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        self.db.register("incoming", reader)
        try:
            self.db.execute(_REQUESTS)
        finally:
            self.db.unregister("incoming")

    def _load_ledger_table(self, table: str, path: Path | None, set_ids: Mapping[str, int]) -> None:
        query, schema = _LEDGER_TABLES[table]
        self._fill(table, query, schema, path, set_ids)

    def _fill(
        self,
        table: str,
        query: str,
        schema: pa.Schema,
        path: Path | None,
        set_ids: Mapping[str, int],
    ) -> None:
        empty = schema.empty_table()
        self.db.register("incoming", empty)
        self.db.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT ''::VARCHAR AS link_set, * FROM incoming"  # noqa: S608
        )
        self.db.unregister("incoming")
        if path is None:
            return
        with bulk.reading(path) as connection:
            for name, set_id in set_ids.items():
                self.db.register("incoming", bulk.scan(connection, query, schema, set_id))
                self.db.execute(
                    f"INSERT INTO {table} SELECT $name, * FROM incoming",  # noqa: S608
                    {"name": name},
                )
                self.db.unregister("incoming")
