"""Schema of a ledger in PostgreSQL: what it has beside the tables that all databases have.

Everything is in one schema of the ledger's own, which `engine` makes the search path of each
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.postgres.locks import PUBLISHED, key_of

# How many groups of a run are on disk: after a lost connection this says whether the last one is.
_RUN_COMMIT = """CREATE TABLE run_commit (
    run_id text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL
) WITH (fillfactor = 50)"""

# Every id of a link that was ever kept. Two transactions that are about to keep the same one can't
# see each other; here the second waits for the first.
_LINK_ID = 'CREATE TABLE link_id (link_id text COLLATE "C" PRIMARY KEY)'

# What all processes of an API key share of their pace. Not logged: it is written some ten times a
# second, and what is lost with it can be learned again.
_PACE = """CREATE UNLOGGED TABLE pace (
    name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, state text NOT NULL,
    changed_at double precision NOT NULL
) WITH (fillfactor = 50)"""

# Whoever notes what is about to be published waits for those that are changing it, whose changes
# nobody sees yet; and those that begin later see the note. A statement that finds no row to change
# is no change. A trigger that is told of the rows can be of one event only.
_FORGET = """CREATE OR REPLACE FUNCTION forget_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM changed) THEN
        PERFORM pg_advisory_xact_lock_shared({lock});
        IF EXISTS (SELECT 1 FROM published) THEN DELETE FROM published; END IF;
    END IF;
    RETURN NULL;
END $$"""
_TRIGGERS = [
    f"""CREATE TRIGGER published_{table.name}_{event.lower()} AFTER {event} ON "{table.name}"
    REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION forget_published()"""
    for table in tables.PUBLISHED
    for event, rows in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD"))
]

# What a role needs that runs with a ledger which its owner has made.
GRANTS = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
)


def create_tables(connection: sa.Connection, schema: str) -> None:
    """Make a ledger's tables in its schema, which is the search path."""
    tables.metadata.create_all(connection, checkfirst=False)
    statements = (_RUN_COMMIT, _LINK_ID, _PACE, *_forgetting(schema))
    for statement in statements:
        connection.exec_driver_sql(statement)


def _forgetting(schema: str) -> list[str]:
    """Return what has the notes of published files deleted by whatever changes these."""
    return [_FORGET.format(lock=key_of(schema, PUBLISHED)), *_TRIGGERS]


def migrations_of(schema: str) -> Mapping[int, Sequence[str]]:
    """Return the statements that lift a ledger from the version that is the key to the next one.

    PostgreSQL's begin with version 8.
    """
    return {
        8: [
            "ALTER TABLE operation ADD COLUMN turn bigint, "
            'ADD COLUMN enqueued_by text COLLATE "C", ADD COLUMN for_history boolean',
            'ALTER TABLE run ADD COLUMN task text COLLATE "C", '
            'ADD COLUMN "partition" text COLLATE "C", ADD COLUMN made bigint, '
            "ADD COLUMN remaining bigint",
            "CREATE INDEX operation_enqueued ON operation (turn, set_id) "
            "WHERE turn IS NOT NULL AND (state = 'intended' OR state = 'sent' "
            "OR state = 'in_doubt' OR state = 'needs_review')",
        ],
        9: [
            # All at once: a lock for each in turn could wait for whoever waits for the one before.
            "LOCK TABLE " + ", ".join(f'"{one.name}"' for one in tables.PUBLISHED),
            *(f'DROP TRIGGER published_{one.name} ON "{one.name}"' for one in tables.PUBLISHED),
            *_forgetting(schema),
        ],
    }
