"""Sessions that stand still in the middle of a transaction, and are ended so that others go on.

Of a client that is stopped between two of its statements the database rolls the transaction back by
itself (`idle_in_transaction_session_timeout`). One that is stopped while it sends a pipeline isn't
idle to it: the database waits for the rest, for ever. So whoever waits for a lock in vain looks
whether such a session has it.
"""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg

from incarts_pipeline.ledger.postgres.locks import LEDGER, PUBLISHED, key_of
from incarts_pipeline.outgoing import logger_of

logger = logger_of(__name__)

SECONDS = 60.0  # without a word, as for a session that is idle in its transaction
# One that takes in what it asked for waits for its client now and then; whoever is stopped, always.
_LOOKS, _BETWEEN = 5, 0.2  # times, and seconds
# A look that waits for a lock itself helps nobody.
_BOUNDED = (
    "SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '5s', true)"
)
# A COPY is one statement, however long its client takes to send the rows. Whoever only reads is in
# nobody's way. Only a role's own sessions say what they do, and may be ended by it.
_STALLED = """
SELECT pid, query_start, state_change
FROM pg_stat_activity AS session
WHERE datname = current_database() AND usename = current_user AND state = 'active'
AND wait_event IN ('ClientRead', 'ClientWrite') AND query NOT ILIKE 'copy%%'
AND state_change < clock_timestamp() - %(seconds)s * interval '1 second'
AND EXISTS (
    SELECT FROM pg_locks AS held
    WHERE held.pid = session.pid AND granted AND mode <> 'AccessShareLock' AND (
        relation IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s))
        OR locktype = 'advisory' AND objsubid = 1
        AND (classid::bigint << 32) | objid::bigint = ANY(%(keys)s)
    )
)
"""
_END = f"""
WITH stalled AS MATERIALIZED ({_STALLED})
SELECT extract(epoch FROM clock_timestamp() - state_change)::float8 FROM stalled
WHERE (pid, query_start, state_change) = (%(pid)s, %(began)s, %(changed)s)
AND pg_terminate_backend(pid)
"""  # noqa: S608 - words of ours


def end_stalled(connection: psycopg.Connection, schema: str) -> None:
    """End the sessions that hold a ledger's locks and have stood still for a minute.

    What they had not committed is undone, which they see by their own count when they go on.

    Args:
        connection: one of the ledger's database, outside of a transaction.
        schema: the ledger's.
    """
    with suppress(psycopg.Error):  # the lock is what is told of then
        asked = {"seconds": SECONDS, "schema": f'"{schema}"', "keys": _keys(connection, schema)}
        stalled = set(connection.execute(_STALLED, asked).fetchall())
        for _ in range(_LOOKS - 1):
            if not stalled:
                return
            time.sleep(_BETWEEN)
            stalled &= set(connection.execute(_STALLED, asked).fetchall())
        for pid, began, changed in stalled:
            which = {"pid": pid, "began": began, "changed": changed}
            for (seconds,) in connection.execute(_END, asked | which).fetchall():
                logger.warning(
                    "A process had stood still for %.0f seconds in the middle of a transaction of "
                    "the ledger, and was in the way: its connection was ended. Nothing is lost.",
                    seconds,
                )


def _keys(connection: psycopg.Connection, schema: str) -> list[int]:
    """Return the numbers of a ledger's locks; without its link sets if their table is locked."""
    ids: list[tuple[int]] = []
    with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
        connection.execute(_BOUNDED)
        sets = f'SELECT set_id FROM "{schema}".link_set'.encode()  # noqa: S608 - a name of ours
        ids = connection.execute(sets).fetchall()
    what: list[str | int] = [LEDGER, PUBLISHED, *(set_id for (set_id,) in ids)]
    return [key_of(schema, one) for one in what]
