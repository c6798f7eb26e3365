"""Tables of the ledger.

Times are whole microseconds since 1970 UTC, hashes 32 raw bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SCHEMA_VERSION = 10

# The states of operations without a link, as the indexes name them.
OPEN_STATES = ("intended", "sent", "in_doubt", "needs_review")
CLOSED_STATES = ("rejected", "abandoned")

# Moments and ids need eight bytes, which SQLite's integers have anyhow; texts are compared and
# sorted by their bytes, which is what SQLite does.
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

metadata = sa.MetaData()

# name → value: ledger_id, base_url, schema_version, recipe, sequence, commits (`witness`), and for
# each key's fingerprint a proof that the key may go to the base URL's host (`keep_word`)
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

link_set = sa.Table(
    "link_set",
    metadata,
    sa.Column("set_id", BIG, primary_key=True),
    sa.Column("project_id", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("key_columns", TEXT),  # the unique key's columns, a JSON list
    sa.Column("kind", TEXT, nullable=False),  # what its operations make, a `models.Kind`
    sa.UniqueConstraint("project_id", "name", "kind"),
)

# What was learned of the rate limit of an API key; `learned` is JSON.
rate = sa.Table(
    "rate",
    metadata,
    sa.Column("api_key_fingerprint", TEXT, primary_key=True),
    sa.Column("learned", TEXT, nullable=False),
    sa.Column("learned_at", BIG, nullable=False),
    sqlite_with_rowid=False,
)

# One row per process that ever wrote. Its lease covers every operation that it has claimed.
run = sa.Table(
    "run",
    metadata,
    sa.Column("run_id", TEXT, primary_key=True),
    sa.Column("link_sets", TEXT, nullable=False),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_namespace", TEXT, nullable=False),
    sa.Column("process_started", TEXT, nullable=False),
    sa.Column("boot_id", TEXT, nullable=False),
    sa.Column("started_at", BIG, nullable=False),
    sa.Column("lease_until", BIG, nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("approved", TEXT),
    sa.Column("ended_at", BIG),
    sa.Column("outcome", TEXT),
    sa.Column("task", TEXT),  # a `runs.Task`; null for earlier versions' runs
    sa.Column("partition", TEXT),  # of its catalog, where it is about one alone
    # Links that it made: of a worker so far, as it renewed its lease last; null where it made none
    # of a catalog's, or didn't come to it.
    sa.Column("made", BIG),
    sa.Column("remaining", BIG),  # links that a run over a catalog left to later ones
)

# One row per idempotency key: everything that was ever meant to be sent.
operation = sa.Table(
    "operation",
    metadata,
    sa.Column("op_id", BIG, primary_key=True),
    sa.Column("idempotency_key", TEXT, nullable=False, unique=True),
    sa.Column("set_id", sa.ForeignKey("link_set.set_id"), nullable=False),
    sa.Column("row_key", TEXT, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("action", TEXT, nullable=False),
    sa.Column("retailer", TEXT, nullable=False),
    sa.Column("intent", TEXT, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, nullable=False),
    sa.Column("destination_hash", sa.LargeBinary, nullable=False),
    sa.Column("tracking_hash", sa.LargeBinary, nullable=False),
    sa.Column("label_hash", sa.LargeBinary, nullable=False),
    sa.Column("recipe", sa.Integer, nullable=False),
    sa.Column("follows_op_id", BIG),  # whose link this one replaces
    sa.Column("state", TEXT, nullable=False),
    sa.Column("run_id", TEXT),  # who has claimed it
    sa.Column("epoch", sa.Integer, nullable=False, default=0),  # +1 for each claim
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("first_sent_at", BIG),  # of the oldest attempt that may have taken effect
    sa.Column("first_sent_boot", sa.Float),
    sa.Column("boot_id", TEXT),
    sa.Column("api_key_fingerprint", TEXT),
    sa.Column("http_status", sa.Integer),
    sa.Column("correlation_id", TEXT),
    sa.Column("error_code", TEXT),
    sa.Column("error_message", TEXT),
    sa.Column("intended_at", BIG, nullable=False),
    sa.Column("settled_at", BIG),
    sa.Column("settled_run_id", TEXT),
    sa.Column("for_link_id", TEXT),  # whose QR code it makes; null when it makes a link
    sa.Column("turn", BIG),  # its place among what workers carry out; null when it isn't theirs
    sa.Column("enqueued_by", TEXT),  # the run that said so last
    sa.Column("for_history", sa.Boolean),  # its row keeps the link that it uses, said that run
)
# SQLite compares with each in turn, where a list would be made anew for every row that is written.
# A query that says it in these words can be answered from the index of what is open.
IS_OPEN = sa.or_(*(operation.c.state == sa.literal_column(f"'{s}'") for s in OPEN_STATES))
# At most one operation of a row is open: two runs can't both be making its link.
sa.Index(
    "one_open_operation_per_row",
    operation.c.set_id,
    operation.c.row_key,
    unique=True,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
# To go with it where the open ones of some sets are wanted: SQLite, which doesn't know how few are
# open, would rather go through all of a set's operations. The plus keeps it from looking a set up.
SET_ID: sa.ColumnElement[int] = sa.literal_column("+operation.set_id")
IS_CLOSED = sa.or_(*(operation.c.state == sa.literal_column(f"'{s}'") for s in CLOSED_STATES))
# Planning reads what has no link without looking at all that has one. It costs a link nothing.
sa.Index(
    "operation_closed",
    operation.c.set_id,
    operation.c.row_key,
    sqlite_where=IS_CLOSED,
    postgresql_where=IS_CLOSED,
)
# What workers take on, in their order. What nobody has enqueued costs nothing.
IS_ENQUEUED = sa.and_(operation.c.turn.is_not(None), IS_OPEN)
sa.Index(
    "operation_enqueued",
    operation.c.turn,
    operation.c.set_id,
    sqlite_where=IS_ENQUEUED,
    postgresql_where=IS_ENQUEUED,
)
sa.Index("operation_by_row", operation.c.set_id, operation.c.row_key, operation.c.content_hash)

# The exact bytes of each operation; apart, so that scanning operations stays cheap.
body = sa.Table(
    "body",
    metadata,
    sa.Column("op_id", sa.ForeignKey("operation.op_id"), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("op_id", sa.ForeignKey("operation.op_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("correlation_id", TEXT, nullable=False),
    sa.Column("echoed_id", TEXT),
    sa.Column("sent_at", BIG, nullable=False),
    sa.Column("answered_at", BIG),
    sa.Column("kind", TEXT),
    sa.Column("http_status", sa.Integer),
    sa.Column("error_code", TEXT),
    sa.Column("error_message", TEXT),
    sqlite_with_rowid=False,
)

# Every link that was ever answered, and every further QR code (whose id `link_id` is then); two
# for one operation are an alarm, and both are kept. One id for two operations is a doubt about the
# later one, unless both lead to the same (`link_owners`).
link = sa.Table(
    "link",
    metadata,
    sa.Column("op_id", sa.ForeignKey("operation.op_id"), primary_key=True),
    sa.Column("link_id", TEXT, primary_key=True, index=True),
    sa.Column("short_link", TEXT),
    sa.Column("short_id", TEXT),
    sa.Column("target_url", TEXT),
    sa.Column("qr_code_id", TEXT),
    sa.Column("qr_image_url", TEXT),
    sa.Column("encoded_url", TEXT),
    sa.Column("created_at", BIG),
    sa.Column("received_at", BIG, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("proof", TEXT),  # a `models.Proof`; null where nobody looked
    sa.Column("status", TEXT),  # as Incarts told it when it answered
    sqlite_with_rowid=False,
)

IS_DISPUTED = link.c.proof == sa.literal_column("'disputed'")
# Each plan asks for these, and there are few. It costs a link nothing.
sa.Index("link_disputed", link.c.op_id, sqlite_where=IS_DISPUTED, postgresql_where=IS_DISPUTED)

# The link that a catalog row uses now. Lean, because planning scans it whole.
row = sa.Table(
    "row",
    metadata,
    sa.Column("set_id", sa.ForeignKey("link_set.set_id"), primary_key=True),
    sa.Column("row_key", TEXT, primary_key=True),
    sa.Column("op_id", sa.ForeignKey("operation.op_id"), nullable=False),
    sa.Column("content_hash", sa.LargeBinary, nullable=False),
    sa.Column("link_id", TEXT, nullable=False),
    sa.Column("changed_at", BIG, nullable=False),
    sa.Column("run_id", TEXT, nullable=False),
    sa.Column("missing_since", BIG),
    sqlite_with_rowid=False,
)

# The partition in which a run over one saw a catalog row last; such runs count by it.
member = sa.Table(
    "member",
    metadata,
    sa.Column("set_id", sa.ForeignKey("link_set.set_id"), primary_key=True),
    sa.Column("row_key", TEXT, primary_key=True),
    sa.Column("partition", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

# Files that were published from the ledger as it is, with their checksums (null until they are in
# place): what `publications.py` keeps here, any change to what is published deletes.
published = sa.Table(
    "published",
    metadata,
    sa.Column("place", TEXT, primary_key=True),
    sa.Column("mark", TEXT, nullable=False),
    sa.Column("made_from", TEXT),
    sa.Column("sha256", sa.LargeBinary),
    sqlite_with_rowid=False,
)
# Digests of idempotency keys that a lost, newer state of this ledger had marked as sent: whether
# their links exist is not known, and they are not made anew (`lost_keys`).
lost_key = sa.Table(
    "lost_key",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

# All that published files are made from.
PUBLISHED = (operation, body, link, row, member)


def row_values(
    key: tuple[int, str],
    op_id: int,
    content_hash: bytes,
    link_id: str,
    *,
    changed_at: int,
    run_id: str,
    missing_since: int | None = None,
) -> dict[str, Any]:
    """Return what `row` says of the link that a catalog row uses, `key` its set's id and key."""
    set_id, row_key = key
    return {
        "set_id": set_id,
        "row_key": row_key,
        "op_id": op_id,
        "content_hash": content_hash,
        "link_id": link_id,
        "changed_at": changed_at,
        "run_id": run_id,
        "missing_since": missing_since,
    }


def drop_operations(connection: sa.Connection, op_ids: Sequence[int]) -> None:
    """Delete operations that were never sent, as if nobody had meant them."""
    for table in (attempt, body, operation):
        connection.execute(sa.delete(table).where(table.c.op_id.in_(op_ids)))


def replacing(table: sa.Table) -> postgresql.Insert:
    """Return an insert that replaces what is there under the same primary key.

    PostgreSQL's kind of insert is the text of both databases.
    """
    insert = postgresql.insert(table)
    return insert.on_conflict_do_update(
        index_elements=[c.name for c in table.primary_key],
        set_={c.name: insert.excluded[c.name] for c in table.c if not c.primary_key},
    )


def replace_row_by(column: str) -> postgresql.Insert:
    """Return the insert into `row` that replaces what is there if it has less in a column."""
    insert = postgresql.insert(row)
    return insert.on_conflict_do_update(
        index_elements=["set_id", "row_key"],
        set_={c.name: insert.excluded[c.name] for c in row.c if not c.primary_key},
        where=insert.excluded[column] > row.c[column],
    )
