"""Ledgers of earlier versions, made by taking back what came later."""

from __future__ import annotations

from pathlib import Path

from tests.support.sqlite_files import opened

VERSION_8 = """
DROP INDEX operation_enqueued;
ALTER TABLE operation DROP COLUMN turn;
ALTER TABLE operation DROP COLUMN enqueued_by;
ALTER TABLE operation DROP COLUMN for_history;
ALTER TABLE run DROP COLUMN task;
ALTER TABLE run DROP COLUMN "partition";
ALTER TABLE run DROP COLUMN made;
ALTER TABLE run DROP COLUMN remaining;
UPDATE meta SET value = '8' WHERE name = 'schema_version';
"""

VERSION_5 = (
    VERSION_8
    + """
DROP INDEX link_disputed;
ALTER TABLE link DROP COLUMN proof;
ALTER TABLE link DROP COLUMN status;
DROP TABLE lost_key;
DELETE FROM meta WHERE name = 'commits';
DROP INDEX one_open_operation_per_row;
CREATE UNIQUE INDEX one_open_operation_per_row ON operation (set_id, row_key)
    WHERE state IN ('intended', 'sent', 'in_doubt', 'needs_review');
DROP INDEX operation_closed;
CREATE INDEX operation_closed ON operation (set_id, row_key)
    WHERE state IN ('rejected', 'abandoned');
UPDATE meta SET value = '5' WHERE name = 'schema_version';
"""
)


_WATCHED = ("operation", "body", "link", "row", "member")


VERSION_1 = (
    VERSION_5
    + "".join(
        f"DROP TRIGGER published_{table}_{event};"
        for table in _WATCHED
        for event in ("update", "delete")
    )
    + """
DROP INDEX operation_closed;
DROP TABLE published;
DROP TABLE rate;
DROP TABLE member;
DROP TABLE link;
CREATE TABLE link (
    link_id TEXT NOT NULL, op_id INTEGER NOT NULL, short_link TEXT, short_id TEXT, target_url TEXT,
    qr_code_id TEXT, qr_image_url TEXT, encoded_url TEXT, created_at INTEGER,
    received_at INTEGER NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (link_id),
    FOREIGN KEY(op_id) REFERENCES operation (op_id)
);
CREATE INDEX ix_link_op_id ON link (op_id);
ALTER TABLE operation DROP COLUMN for_link_id;
CREATE TABLE old_link_set (
    set_id INTEGER NOT NULL, project_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (set_id),
    UNIQUE (project_id, name)
);
INSERT INTO old_link_set SELECT set_id, project_id, name FROM link_set;
DROP TABLE link_set;
ALTER TABLE old_link_set RENAME TO link_set;
UPDATE meta SET value = '1' WHERE name = 'schema_version';
INSERT INTO link (link_id, op_id, received_at, run_id) VALUES ('lnk_old', 1, 5, 'r1');
"""
)


def schema_of(file: Path) -> list[tuple[object, ...]]:
    """Return a ledger's tables and columns, references, indexes, partial ones, and triggers."""
    with opened(file) as connection:
        found = [
            connection.execute(
                f"SELECT m.name, {columns} FROM sqlite_master AS m, pragma_{what}(m.name) AS c "
                f"{more} WHERE m.type = 'table' ORDER BY 1, 2, 3, 4"
            ).fetchall()
            for what, columns, more in (
                ("table_info", 'c.name, c.type, c.pk, c."notnull"', ""),
                ("foreign_key_list", 'c."table", c."from", c."to"', ""),
                ("index_list", 'c."unique", c.origin, i.name', ", pragma_index_info(c.name) AS i"),
            )
        ]
        for those in ("type = 'trigger'", "type = 'index' AND sql LIKE '%WHERE%'"):
            query = f"SELECT name, tbl_name, sql FROM sqlite_master WHERE {those} ORDER BY 1"
            found += [
                [(name, table, " ".join(sql.split()))]
                for name, table, sql in connection.execute(query)
            ]
    return [one for rows in found for one in rows]
