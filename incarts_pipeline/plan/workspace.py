"""Workspace of one run: a temporary DuckDB database that joins more than memory holds.

It lives in memory up to a bound, and beyond that in a temporary folder. A database file instead
would compress every column on its way in: five times the work, for what is read once or twice.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from incarts_pipeline.ledger import Query, Reading, bulk_queries, reading
from incarts_pipeline.plan import queries
from incarts_pipeline.plan.quiet import GONE, QUIET, Quiet
from incarts_pipeline.settings import LedgerPlace

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_MEMORY = "512MB"
_PUBLISH_MEMORY = "1GB"  # every published column takes part in one join and one sort

_COMPARED_SCHEMA = pa.schema(
    [
        ("catalog_row", pa.int64()),
        ("link_set", pa.string()),
        ("row_key", pa.string()),
        ("current_op", pa.int64()),
        ("link_hash", pa.binary()),
        ("is_missing", pa.int64()),
        ("is_disputed", pa.bool_()),
    ]
)
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
}
_HASHED_AT_ONCE = 50_000  # rows
_LOOKED_UP_AT_ONCE = 10_000  # rows
_SCAN_FROM = 0.05  # as a share of the ledger's rows: then reading them all is faster


class Workspace:
    """A temporary database with a bound on its memory; close it to remove it."""

    def __init__(self) -> None:
        self.key_fields: list[pa.Field] = []
        self.requests_digest = ""  # of all that the requests are, but for the bodies
        self.is_part = False  # whether it has a part of a catalog, whose other rows are quiet
        self._folder = tempfile.TemporaryDirectory(prefix="incarts-")
        self.db = duckdb.connect(
            config={
                "memory_limit": _MEMORY,
                "preserve_insertion_order": "false",
                "temp_directory": self._folder.name,
            },
        )
        self.fill("quiet", QUIET, [])

    def close(self) -> None:
        """Drop everything."""
        self.db.close()
        self._folder.cleanup()

    def stream(
        self, query: str, batch_rows: int, parameters: Mapping[str, str | None] | None = None
    ) -> pa.RecordBatchReader:
        """Run a query on a connection of its own and stream its result."""
        return self.db.cursor().sql(query, params=parameters).to_arrow_reader(batch_rows)

    def digest(self, query: str) -> str:
        """Return a hash of what a query finds, in whatever order."""
        digest = hashlib.sha256()
        for _ in _hashed(self.stream(f"{query} ORDER BY ALL", _HASHED_AT_ONCE), digest):
            pass
        return digest.hexdigest()

    def load(
        self,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        path: LedgerPlace | None,
        set_ids: Mapping[str, int],
        partition: str | None = None,
    ) -> None:
        """Store link requests in the table `request`, and read the ledger at the same time."""
        if "key" in schema.names:
            self.key_fields = list(schema.field("key").type.fields)
        with ThreadPoolExecutor(1, thread_name_prefix="incarts-workspace") as pool:
            ledger = pool.submit(self.load_ledger, path, set_ids, partition)
            digest = hashlib.sha256()
            incoming = _hashed(_until_failed(batches, ledger), digest)
            with _scanned(self.db, schema, incoming):
                self.db.execute("CREATE TABLE request AS SELECT * FROM incoming")
            ledger.result()
            self.requests_digest = digest.hexdigest()

    def load_quiet(self, quiet: Quiet) -> None:
        """Note what isn't loaded, as it is quiet; of the ledger, the rest alone is read then."""
        self.is_part = True
        self.add("quiet", quiet.counts.cast(QUIET))
        for table, keys in (("touched", quiet.open_keys), ("gone", quiet.gone)):
            self.fill(table, GONE, [])
            with _scanned(self.db, GONE, keys):
                self.db.execute(f"INSERT INTO {table} SELECT DISTINCT * FROM incoming")  # noqa: S608

    def link_sets(self) -> tuple[str, ...]:
        """Return the link sets that the requests name."""
        return tuple(name for (name,) in self.db.execute(queries.LINK_SETS).fetchall())

    def load_ledger(
        self, path: LedgerPlace | None, set_ids: Mapping[str, int], partition: str | None = None
    ) -> None:
        """Read what a plan needs of the ledger; `path` None stands for one that isn't there yet."""
        with _maybe_reading(path) as ledger:
            if self.is_part:
                self.db.execute(queries.ASKED)
                some, whole = bulk_queries.ROWS_OF, bulk_queries.ROWS
                self._load_of("asked", "ledger_row", some, whole, ledger, set_ids)
            else:
                self._fill("ledger_row", bulk_queries.ROWS, ledger, set_ids)
            self._load_unlinked(ledger, set_ids, partition)

    def load_links(
        self, path: LedgerPlace | None, set_ids: Mapping[str, int], partition: str | None = None
    ) -> None:
        """Read the link that each row uses into the table `made`, and the operations without.

        What the plan was made from makes room for it. Of a part, those of `open_key` are read.
        """
        self.db.execute(f"SET memory_limit = '{_PUBLISH_MEMORY}'")
        self.fill(
            "ledger_row", pa.schema([("link_set", pa.string()), *bulk_queries.ROWS.schema]), []
        )
        with _maybe_reading(path) as ledger:
            if self.is_part:
                some, whole = bulk_queries.CURRENT_OF, bulk_queries.CURRENT
                self._load_of("open_key", "made", some, whole, ledger, set_ids)
            else:
                self._fill("made", bulk_queries.CURRENT, ledger, set_ids)
            self._load_unlinked(ledger, set_ids, partition)
        self._own("made", partition)

    def load_made_codes(self, path: LedgerPlace | None, set_ids: Mapping[str, int]) -> None:
        """Read which QR codes were made, for which links, into the table `made_code`."""
        with _maybe_reading(path) as ledger:
            self._fill("made_code", bulk_queries.MADE_CODES, ledger, set_ids)

    def load_begun(self, path: LedgerPlace | None, set_ids: Mapping[str, int], digest: str) -> None:
        """Read what the runs of a plan file have come to into the table `begun`."""
        with _maybe_reading(path) as ledger:
            self._fill("begun", bulk_queries.BEGUN, ledger, set_ids, digest)

    def compare(self, link_sets: Iterable[str], partition: str | None = None) -> None:
        """Fill the table `compared`, once requests and ledger have been loaded."""
        self.fill("compared", _COMPARED_SCHEMA, [])
        for name in link_sets:  # each by itself, as a join on one column takes half of the time
            self.db.execute(f"INSERT INTO compared {queries.COMPARED}", {"link_set": name})
        self.db.execute(queries.OPEN_REQUESTS)
        self._own("ledger_row", partition)
        self._own("compared", partition)

    def load_past(self, path: LedgerPlace | None, set_ids: Mapping[str, int]) -> None:
        """Read the earlier links of rows whose content is not their link's; after the requests."""
        straying = self._count(f"SELECT COUNT(*) {queries.STRAYING}", link_sets=list(set_ids))
        few = self._is_few(straying, "SELECT COUNT(*) FROM ledger_row")
        with _maybe_reading(path if straying else None) as ledger:
            self._fill("past", bulk_queries.PAST, None if few else ledger, set_ids)
            if few and ledger is not None:
                self._look_up_past(ledger, set_ids)

    def fill(self, table: str, schema: pa.Schema, rows: Sequence[Mapping[str, object]]) -> None:
        """Make a table of a few rows; most tables begin with none, which has to cost little."""
        columns = ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in schema)
        with self.db.cursor() as db:
            db.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
        if rows:
            self.add(table, pa.Table.from_pylist(list(rows), schema=schema))

    def add(self, table: str, rows: pa.Table) -> None:
        """Add rows to a table of the same columns."""
        with self.db.cursor() as db:
            db.register("incoming", rows)
            db.execute(f"INSERT INTO {table} SELECT * FROM incoming")  # noqa: S608

    def _is_few(self, keys: int, links: str) -> bool:
        """Say whether so many keys are better looked up than found among all of the ledger."""
        known = self._count(links) + self._count("SELECT SUM(key_count) FROM quiet")
        return keys <= max(_LOOKED_UP_AT_ONCE, _SCAN_FROM * known)

    def _count(self, query: str, **parameters: object) -> int:
        [(found,)] = self.db.execute(query, parameters).fetchall()
        return int(found or 0)

    def read(
        self,
        statement: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        parameters: Mapping[str, str | int] | None = None,
    ) -> None:
        """Execute a statement that reads batches as `incoming`; raise what making them raises."""
        with self.db.cursor() as db, _scanned(db, schema, batches):
            db.execute(statement, parameters)

    def _look_up_past(self, ledger: Reading, set_ids: Mapping[str, int]) -> None:
        query = f"SELECT DISTINCT row_key {queries.STRAYING}"
        for name, set_id in set_ids.items():
            for keys in self.key_lists(query, link_sets=[name]):
                self._add("past", name, bulk_queries.PAST_OF, ledger, keys, set_id)

    def _load_of(
        self,
        keys: str,
        table: str,
        some: Query,
        whole: Query,
        ledger: Reading | None,
        set_ids: Mapping[str, int],
    ) -> None:
        """Make a table of what is known of the row keys in another one.

        `some` finds it for a list of keys, `whole` for all there are, which is faster for many.
        """
        self._fill(table, whole, None, set_ids)
        if ledger is None:
            return
        asked = f"SELECT COUNT(*) FROM {keys}"  # noqa: S608 - our own name
        if not self._is_few(self._count(asked), asked):
            only = queries.OF_KEYS.format(keys=keys)
            for name, set_id in set_ids.items():
                self._add(table, name, whole, ledger, set_id, only=only)
            return
        for listed in self.key_lists(f"SELECT row_key FROM {keys}"):  # noqa: S608
            for name, set_id in set_ids.items():
                self._add(table, name, some, ledger, listed, set_id)

    def key_lists(self, query: str, **parameters: object) -> Iterator[str]:
        """Yield the keys that a query finds as JSON lists, each of as many as are looked up."""
        found = self.db.cursor().execute(query, parameters)
        while rows := found.fetchmany(_LOOKED_UP_AT_ONCE):
            yield json.dumps([key for (key,) in rows])

    def _load_unlinked(
        self, ledger: Reading | None, set_ids: Mapping[str, int], partition: str | None
    ) -> None:
        self._fill("unlinked", bulk_queries.UNLINKED, ledger, set_ids)
        if partition is not None:
            self._fill("member", bulk_queries.MEMBERS, ledger, set_ids)

    def _own(self, table: str, partition: str | None) -> None:
        """Make the view of a table's rows that the run answers for."""
        own = queries.OWN.format(table=table)
        if partition is not None:
            quoted = "'" + partition.replace("'", "''") + "'"
            own += queries.OF_PARTITION.format(partition=quoted)
        self.db.execute(own)

    def _fill(
        self,
        table: str,
        query: Query,
        ledger: Reading | None,
        set_ids: Mapping[str, int],
        *parameters: str,
    ) -> None:
        """Make a table of what a query finds for each link set."""
        self.fill(table, pa.schema([("link_set", pa.string()), *query.schema]), [])
        if ledger is not None:
            for name, set_id in set_ids.items():
                self._add(table, name, query, ledger, set_id, *parameters)

    def _add(
        self,
        table: str,
        link_set: str,
        query: Query,
        ledger: Reading,
        *parameters: str | int,
        only: str = "",
    ) -> None:
        rows = ledger.batches(query, *parameters)
        with self.db.cursor() as db, _scanned(db, query.schema, rows):
            db.execute(
                f"INSERT INTO {table} SELECT $name, * FROM incoming {only}",  # noqa: S608
                {"name": link_set},
            )


@contextmanager
def _scanned(
    db: duckdb.DuckDBPyConnection, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[None]:
    """Let a block read batches as `incoming`, and raise what making them raises.

    DuckDB tells an error within a scan as one of its own, with a traceback in its message.
    """
    raised: list[Exception] = []

    def kept() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            raised.append(error)
            raise

    db.register("incoming", pa.RecordBatchReader.from_batches(schema, kept()))
    try:
        yield
    except duckdb.Error:
        if raised:
            raise raised[0] from None
        raise
    finally:
        db.unregister("incoming")


def _until_failed(
    batches: Iterable[pa.RecordBatch], other: Future[None]
) -> Iterator[pa.RecordBatch]:
    """Yield batches, but no more once the other work has failed."""
    for batch in batches:
        if other.done() and other.exception() is not None:
            return
        yield batch


def _hashed(batches: Iterable[pa.RecordBatch], digest: Hash) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and add them to a hash; a body is there by its content hash."""
    for batch in batches:
        names = [name for name in batch.schema.names if name != "body"]
        digest.update(batch.select(names).serialize())
        yield batch


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[kind]


def _maybe_reading(path: LedgerPlace | None) -> AbstractContextManager[Reading | None]:
    return nullcontext() if path is None else reading(path)
