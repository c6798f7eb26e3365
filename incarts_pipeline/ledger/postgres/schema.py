"""Schema of a ledger in PostgreSQL: what it has beside the tables that all databases have.

Everything is in one schema of the ledger's own, which `engine` makes the search path of each
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.postgres.locks import PUBLISHED, key_of

# Statements that lift a ledger from the version that is the key to the next one. PostgreSQL's
# begins with version 8.
MIGRATIONS: Mapping[int, Sequence[str]] = {}

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
# nobody sees yet; and those that begin later see the note.
_FORGET = """CREATE FUNCTION forget_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({lock});
    IF EXISTS (SELECT 1 FROM published) THEN DELETE FROM published; END IF;
    RETURN NULL;
END $$"""
_TRIGGER = """CREATE TRIGGER published_{table}
    AFTER INSERT OR UPDATE OR DELETE ON "{table}"
    FOR EACH STATEMENT EXECUTE FUNCTION forget_published()"""

# What a role needs that runs with a ledger which its owner has made.
GRANTS = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
)


def create_tables(connection: sa.Connection, schema: str) -> None:
    """Make a ledger's tables in its schema, which is the search path."""
    tables.metadata.create_all(connection, checkfirst=False)
    for statement in (_RUN_COMMIT, _LINK_ID, _PACE, _FORGET.format(lock=key_of(schema, PUBLISHED))):
        connection.exec_driver_sql(statement)
    for table in tables.PUBLISHED:
        connection.exec_driver_sql(_TRIGGER.format(table=table.name))
