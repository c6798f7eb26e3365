"""Migrations of an SQLite ledger: how a ledger of an older version becomes one of this version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from incarts_pipeline.ledger.sqlite.engine import FORGET_PUBLISHED

# Statements that lift a ledger from the version that is the key to the next one.
MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: [
        "ALTER TABLE link_set ADD COLUMN key_columns TEXT",
        """CREATE TABLE new_link (
            op_id INTEGER NOT NULL REFERENCES operation (op_id), link_id TEXT NOT NULL,
            short_link TEXT, short_id TEXT, target_url TEXT, qr_code_id TEXT, qr_image_url TEXT,
            encoded_url TEXT, created_at INTEGER, received_at INTEGER NOT NULL,
            run_id TEXT NOT NULL, PRIMARY KEY (op_id, link_id)
        ) WITHOUT ROWID""",
        """INSERT INTO new_link SELECT op_id, link_id, short_link, short_id, target_url, qr_code_id,
            qr_image_url, encoded_url, created_at, received_at, run_id FROM link""",
        "DROP TABLE link",
        "ALTER TABLE new_link RENAME TO link",
        "CREATE INDEX ix_link_link_id ON link (link_id)",
        """CREATE TABLE rate (
            api_key_fingerprint TEXT NOT NULL, learned TEXT NOT NULL, learned_at INTEGER NOT NULL,
            PRIMARY KEY (api_key_fingerprint)
        ) WITHOUT ROWID""",
    ],
    2: [
        """CREATE TABLE member (
            set_id INTEGER NOT NULL REFERENCES link_set (set_id), row_key TEXT NOT NULL,
            "partition" TEXT NOT NULL, PRIMARY KEY (set_id, row_key)
        ) WITHOUT ROWID""",
    ],
    3: [
        """CREATE TABLE new_link_set (
            set_id INTEGER NOT NULL, project_id TEXT NOT NULL, name TEXT NOT NULL,
            key_columns TEXT, kind TEXT NOT NULL,
            PRIMARY KEY (set_id), UNIQUE (project_id, name, kind)
        )""",
        """INSERT INTO new_link_set
            SELECT set_id, project_id, name, key_columns, 'links' FROM link_set""",
        "DROP TABLE link_set",
        "ALTER TABLE new_link_set RENAME TO link_set",
        "ALTER TABLE operation ADD COLUMN for_link_id TEXT",
    ],
    4: [
        """CREATE TABLE published (
            place TEXT NOT NULL, mark TEXT NOT NULL, made_from TEXT, sha256 BLOB,
            PRIMARY KEY (place)
        ) WITHOUT ROWID""",
        *FORGET_PUBLISHED,
    ],
    5: [
        "DROP INDEX one_open_operation_per_row",
        "CREATE UNIQUE INDEX one_open_operation_per_row ON operation (set_id, row_key) WHERE "
        "state = 'intended' OR state = 'sent' OR state = 'in_doubt' OR state = 'needs_review'",
        "DROP INDEX IF EXISTS operation_closed",
        "CREATE INDEX operation_closed ON operation (set_id, row_key) WHERE "
        "state = 'rejected' OR state = 'abandoned'",
    ],
    6: [
        "ALTER TABLE link ADD COLUMN proof TEXT",
        "ALTER TABLE link ADD COLUMN status TEXT",
        "CREATE TABLE lost_key (digest BLOB NOT NULL, PRIMARY KEY (digest)) WITHOUT ROWID",
        "INSERT INTO meta (name, value) VALUES ('commits', '0')",
    ],
    7: ["CREATE INDEX link_disputed ON link (op_id) WHERE proof = 'disputed'"],
    8: [
        "ALTER TABLE operation ADD COLUMN turn INTEGER",
        "ALTER TABLE operation ADD COLUMN enqueued_by TEXT",
        "ALTER TABLE operation ADD COLUMN for_history BOOLEAN",
        "ALTER TABLE run ADD COLUMN task TEXT",
        'ALTER TABLE run ADD COLUMN "partition" TEXT',
        "ALTER TABLE run ADD COLUMN made INTEGER",
        "ALTER TABLE run ADD COLUMN remaining INTEGER",
        "CREATE INDEX operation_enqueued ON operation (turn, set_id) WHERE turn IS NOT NULL AND "
        "(state = 'intended' OR state = 'sent' OR state = 'in_doubt' OR state = 'needs_review')",
    ],
    9: [],  # its notes were never deleted for nothing
}
