"""Engine on the ledger's file: WAL, `synchronous=FULL`, one immediate transaction at a time."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from incarts_pipeline import sqlite
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.publications import FORGET
from incarts_pipeline.ledger.sqlite.witness import count_commits
from incarts_pipeline.ledger.store import STORE, Store
from incarts_pipeline.sqlite import write_ahead

# Most changes find nothing to delete, and looking costs less than a delete that finds nothing.
FORGET_PUBLISHED = [
    f"""CREATE TRIGGER published_{table.name}_{event.lower()} AFTER {event} ON {table.name}
        WHEN EXISTS (SELECT 1 FROM published) BEGIN DELETE FROM published; END"""  # noqa: S608
    for table in tables.PUBLISHED
    for event in ("UPDATE", "DELETE")  # for inserts see `forget_before_inserts`
]
_INSERT = re.compile(
    rf"""\s*INSERT\s+(OR\s+\w+\s+)?INTO\s+"?({"|".join(t.name for t in tables.PUBLISHED)})\b""",
    re.IGNORECASE,
)


def open_file(path: Path, store: Store, *, read_only: bool, pool: type[sa.Pool]) -> sa.Engine:
    """Return an engine on the file, of the store; one that isn't there is not made."""
    mode = "ro" if read_only else "rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=sqlite.BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not read_only:
                write_ahead(connection)
                connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()  # nobody else has it yet
            raise
        return connection

    engine = sa.create_engine(
        "sqlite://",
        creator=connect,
        poolclass=pool,
        hide_parameters=True,
        execution_options={STORE: store},
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that turns into a write can fail at once when another process
        # writes; an immediate one waits its turn.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    forget_before_inserts(engine)
    count_commits(engine)
    return engine


def forget_before_inserts(engine: sa.Engine) -> None:
    """Have an engine delete all notes before a statement that inserts into what is published.

    A trigger would do so for each of the rows that make one link, and take a tenth of the run; a
    statement inserts hundreds of them.
    """

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _forget(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if _INSERT.match(statement):
            connection.exec_driver_sql(FORGET)
