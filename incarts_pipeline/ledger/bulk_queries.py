"""What is read of the ledger in bulk: the queries and the schemas of their results.

Large ledgers are read by ADBC, which guesses a column's type from the first rows that it sees, so
no column here is ever null: text and bytes that are absent come as empty, numbers as -1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.ledger.bulk_read import Reading, scan
from incarts_pipeline.ledger.tables import CLOSED_STATES, OPEN_STATES

# The link that each row of a set uses now: what a plan compares the catalog with.
ROWS = """
SELECT row_key, op_id, content_hash, missing_since IS NOT NULL AS is_missing
FROM row WHERE set_id = ?
"""
ROWS_SCHEMA = pa.schema(
    [
        ("row_key", pa.string()),
        ("op_id", pa.int64()),
        ("content_hash", pa.binary()),
        ("is_missing", pa.int64()),
    ]
)

# Operations that have no link: open, refused or given up. In two halves, as each has an index that
# holds just them; `state <> 'done'` would look at every operation there ever was.
_UNLINKED = """
SELECT op_id, row_key, content_hash, state, generation, action, COALESCE(run_id, '') AS run_id,
       COALESCE(first_sent_at, -1) AS first_sent_at,
       CAST(COALESCE(first_sent_boot, -1.0) AS REAL) AS first_sent_boot,
       COALESCE(boot_id, '') AS boot_id,
       COALESCE(api_key_fingerprint, '') AS api_key_fingerprint,
       idempotency_key, attempts, COALESCE(http_status, -1) AS http_status,
       COALESCE(correlation_id, '') AS correlation_id, COALESCE(error_code, '') AS error_code,
       COALESCE(error_message, '') AS error_message, COALESCE(settled_at, -1) AS settled_at,
       COALESCE(settled_run_id, '') AS settled_run_id
FROM operation INDEXED BY {index}
WHERE set_id = ?1 AND ({states})
"""
UNLINKED = " UNION ALL ".join(
    _UNLINKED.format(index=index, states=" OR ".join(f"state = '{state}'" for state in states))
    for index, states in (
        ("one_open_operation_per_row", OPEN_STATES),
        ("operation_closed", CLOSED_STATES),
    )
)
UNLINKED_SCHEMA = pa.schema(
    [
        ("op_id", pa.int64()),
        ("row_key", pa.string()),
        ("content_hash", pa.binary()),
        ("state", pa.string()),
        ("generation", pa.int64()),
        ("action", pa.string()),
        ("run_id", pa.string()),
        ("first_sent_at", pa.int64()),
        ("first_sent_boot", pa.float64()),
        ("boot_id", pa.string()),
        ("api_key_fingerprint", pa.string()),
        ("idempotency_key", pa.string()),
        ("attempts", pa.int64()),
        ("http_status", pa.int64()),
        ("correlation_id", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("settled_at", pa.int64()),
        ("settled_run_id", pa.string()),
    ]
)

# Links of earlier content, which a row may come back to.
PAST = """
SELECT operation.row_key, operation.content_hash, MAX(operation.op_id) AS op_id
FROM operation
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.set_id = ? AND operation.state = 'done' AND row.op_id IS NULL
GROUP BY operation.row_key, operation.content_hash
"""
PAST_SCHEMA = pa.schema(
    [("row_key", pa.string()), ("content_hash", pa.binary()), ("op_id", pa.int64())]
)

# The same for some rows: the first parameter is a JSON list of their keys.
PAST_OF = """
SELECT operation.row_key, operation.content_hash, MAX(operation.op_id) AS op_id
FROM json_each(?1) AS wanted
CROSS JOIN operation ON operation.set_id = ?2 AND operation.row_key = wanted.value
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.state = 'done' AND row.op_id IS NULL
GROUP BY operation.row_key, operation.content_hash
"""

# What the runs of one plan file have come to: for each row and content, what the plan had said. An
# operation that is older than the plan's first run was not the plan's to make, but to settle, or
# its link was taken up again. The second parameter is the plan's digest.
BEGUN = """
WITH own AS (SELECT run_id FROM run WHERE approved = ?2),
     began AS (SELECT MIN(started_at) AS at FROM run WHERE approved = ?2)
SELECT row.row_key, row.content_hash,
       CASE WHEN intended_at >= began.at THEN action
            WHEN settled_at < began.at THEN 'reuse' ELSE 'settle' END AS action
FROM row JOIN operation ON operation.op_id = row.op_id CROSS JOIN began
WHERE row.set_id = ?1 AND row.run_id IN (SELECT run_id FROM own)
UNION
SELECT row_key, content_hash, action FROM operation CROSS JOIN began
WHERE set_id = ?1 AND intended_at >= began.at
  AND state IN ('sent', 'in_doubt', 'needs_review', 'rejected')
  AND COALESCE(settled_run_id, run_id) IN (SELECT run_id FROM own)
"""
BEGUN_SCHEMA = pa.schema(
    [("row_key", pa.string()), ("content_hash", pa.binary()), ("action", pa.string())]
)

# The link that each row uses now, with all that links.parquet shows of it.
CURRENT = """
SELECT link.link_id, operation.row_key, operation.content_hash, operation.idempotency_key,
       operation.generation, operation.action, operation.attempts,
       COALESCE(operation.http_status, -1) AS http_status,
       COALESCE(operation.correlation_id, '') AS correlation_id,
       COALESCE((
           SELECT MIN(followed.link_id) FROM link AS followed
           WHERE followed.op_id = operation.follows_op_id
       ), '') AS replaces_link_id,
       COALESCE(short_link, '') AS short_link, COALESCE(short_id, '') AS short_id,
       COALESCE(target_url, '') AS target_url, COALESCE(qr_code_id, '') AS qr_code_id,
       COALESCE(qr_image_url, '') AS qr_image_url, COALESCE(encoded_url, '') AS qr_encoded_url,
       COALESCE(link.created_at, -1) AS created_at,
       row.changed_at, row.run_id AS changed_run_id,
       COALESCE(row.missing_since, -1) AS missing_since
FROM row
JOIN operation ON operation.op_id = row.op_id
JOIN link ON link.op_id = row.op_id AND link.link_id = row.link_id
WHERE row.set_id = ?
"""
CURRENT_SCHEMA = pa.schema(
    [
        ("link_id", pa.string()),
        ("row_key", pa.string()),
        ("content_hash", pa.binary()),
        ("idempotency_key", pa.string()),
        ("generation", pa.int64()),
        ("action", pa.string()),
        ("attempts", pa.int64()),
        ("http_status", pa.int64()),
        ("correlation_id", pa.string()),
        ("replaces_link_id", pa.string()),
        ("short_link", pa.string()),
        ("short_id", pa.string()),
        ("target_url", pa.string()),
        ("qr_code_id", pa.string()),
        ("qr_image_url", pa.string()),
        ("qr_encoded_url", pa.string()),
        ("created_at", pa.int64()),
        ("changed_at", pa.int64()),
        ("changed_run_id", pa.string()),
        ("missing_since", pa.int64()),
    ]
)

# Which QR codes of a set were made, the newest one of each link and identifier.
MADE_CODES = """
SELECT row_key, for_link_id, content_hash, MAX(op_id) AS op_id FROM operation
WHERE set_id = ? AND state = 'done' GROUP BY row_key, for_link_id
"""
MADE_CODES_SCHEMA = pa.schema(
    [
        ("row_key", pa.string()),
        ("for_link_id", pa.string()),
        ("content_hash", pa.binary()),
        ("op_id", pa.int64()),
    ]
)

# The partition that each row of a set was last seen in.
MEMBERS = 'SELECT row_key, "partition" FROM member WHERE set_id = ?'
MEMBERS_SCHEMA = pa.schema([("row_key", pa.string()), ("partition", pa.string())])

# Everything that was ever sent for a set, with its links; the columns are those of
# `schemas.HISTORY`, but for nulls.
HISTORY = """
SELECT ? AS link_set, operation.row_key, COALESCE(link.link_id, '') AS link_id,
       row.op_id IS NOT NULL AND row.link_id IS link.link_id AS is_current,
       CASE operation.state WHEN 'sent' THEN 'in_doubt' ELSE operation.state END AS state,
       operation.retailer, operation.intent, operation.action,
       COALESCE(short_link, '') AS short_link, COALESCE(short_id, '') AS short_id,
       COALESCE(target_url, '') AS target_url, COALESCE(qr_code_id, '') AS qr_code_id,
       COALESCE(qr_image_url, '') AS qr_image_url, COALESCE(encoded_url, '') AS qr_encoded_url,
       COALESCE((
           SELECT MIN(followed.link_id) FROM link AS followed
           WHERE followed.op_id = operation.follows_op_id
       ), '') AS replaces_link_id,
       LOWER(HEX(operation.content_hash)) AS content_hash,
       COALESCE(CAST(body.body AS TEXT), '') AS body,
       operation.idempotency_key, operation.generation,
       COALESCE(operation.correlation_id, '') AS correlation_id, operation.attempts,
       COALESCE(operation.http_status, -1) AS http_status,
       COALESCE(operation.error_code, '') AS error_code,
       COALESCE(operation.first_sent_at, -1) AS first_sent_at,
       COALESCE(link.created_at, -1) AS link_created_at,
       COALESCE(link.received_at, operation.settled_at, -1) AS received_at,
       COALESCE(link.run_id, operation.settled_run_id, operation.run_id, '') AS run_id
FROM operation
LEFT JOIN link ON link.op_id = operation.op_id
LEFT JOIN body ON body.op_id = operation.op_id
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.set_id = ? AND operation.state <> 'intended' {partition}
ORDER BY operation.row_key, operation.op_id
"""
_OF_PARTITION = """AND operation.row_key IN (
    SELECT row_key FROM member WHERE set_id = operation.set_id AND "partition" = ?
)"""
HISTORY_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("link_set", "row_key", "link_id")),
        ("is_current", pa.int64()),
        *(
            (name, pa.string())
            for name in (
                "state",
                "retailer",
                "intent",
                "action",
                "short_link",
                "short_id",
                "target_url",
                "qr_code_id",
                "qr_image_url",
                "qr_encoded_url",
                "replaces_link_id",
                "content_hash",
                "body",
                "idempotency_key",
            )
        ),
        ("generation", pa.int64()),
        ("correlation_id", pa.string()),
        ("attempts", pa.int64()),
        ("http_status", pa.int64()),
        ("error_code", pa.string()),
        ("first_sent_at", pa.int64()),
        ("link_created_at", pa.int64()),
        ("received_at", pa.int64()),
        ("run_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that was ever sent for some sets, or one partition of them; `set_ids` by name."""

    set_ids: Mapping[str, int]
    partition: str | None = None

    @property
    def query(self) -> str:
        """The SQL that reads one set."""
        return HISTORY.format(partition="" if self.partition is None else _OF_PARTITION)

    def batches(self, connection: Reading) -> Iterator[pa.RecordBatch]:
        """Stream it by link set and row key, with the columns of `HISTORY_SCHEMA`."""
        more = () if self.partition is None else (self.partition,)
        for name, set_id in sorted(self.set_ids.items()):
            yield from scan(connection, self.query, HISTORY_SCHEMA, name, set_id, *more)
