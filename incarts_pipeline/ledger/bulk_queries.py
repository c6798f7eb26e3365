"""Bulk queries: the SQL of all that is read of the ledger by the thousand, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.ledger.bulk_read import Query, Reading, scan
from incarts_pipeline.ledger.tables import CLOSED_STATES, OPEN_STATES
from incarts_pipeline.schemas import HISTORY as HISTORY_SCHEMA

_INTEGERS = """op_id generation attempts http_status is_missing is_shared is_first first_sent_at
settled_at created_at changed_at missing_since turn"""
_TYPES = {
    "content_hash": pa.binary(),
    "first_sent_boot": pa.float64(),
    **dict.fromkeys(_INTEGERS.split(), pa.int64()),
}


def _columns(names: str) -> pa.Schema:
    """Return the schema of some columns: a name has one type in all queries, mostly text."""
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in names.split()])


# The link that each row of a set uses now: what a plan compares the catalog with.
ROWS = Query(
    sql="""
SELECT row_key, op_id, content_hash, missing_since IS NOT NULL AS is_missing
FROM row WHERE set_id = ?1
""",
    schema=_columns("row_key op_id content_hash is_missing"),
)

# The same for some rows: the first parameter is a JSON list of their keys.
ROWS_OF = Query(
    sql="""
SELECT row.row_key, op_id, content_hash, missing_since IS NOT NULL AS is_missing
FROM {wanted} JOIN row ON row.set_id = ?2 AND row.row_key = wanted.value
""",
    schema=ROWS.schema,
)

_UNLINKED = """
SELECT op_id, row_key, content_hash, state, generation, action, run_id, first_sent_at,
       first_sent_boot, boot_id, api_key_fingerprint, idempotency_key, attempts, http_status,
       correlation_id, error_code, error_message, settled_at, settled_run_id, turn
FROM operation {index}
WHERE set_id = ?1 AND ({states})
"""
# A row that uses a disputed link is held by that alone, unless another one may be on its way to it.
# The operation says so once a run has looked. The plus keeps SQLite from going through the set.
_IN_DISPUTE = """
SELECT operation.op_id, operation.row_key, operation.content_hash, 'needs_review' AS state,
       generation, action, operation.run_id, first_sent_at, first_sent_boot, boot_id,
       api_key_fingerprint, idempotency_key, attempts, http_status, correlation_id,
       'link_disputed' AS error_code,
       link.link_id || ' may be the link of another row, or hold something else' AS error_message,
       settled_at, settled_run_id, turn
FROM link {index_of_disputed}
JOIN operation ON operation.op_id = link.op_id
JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = link.op_id AND row.link_id = link.link_id
WHERE link.proof = 'disputed' AND operation.state = 'done' AND +operation.set_id = ?1
  AND NOT EXISTS (
      SELECT 1 FROM operation AS other
      WHERE other.set_id = operation.set_id AND other.row_key = operation.row_key
        AND other.state IN ('sent', 'in_doubt', 'needs_review')
  )
"""
# Operations that have no link, or a disputed one: open, refused or given up. In parts, as each has
# an index that holds just them; `state <> 'done'` would look at every operation there ever was.
UNLINKED = Query(
    sql=" UNION ALL ".join(
        _UNLINKED.format(index=index, states=" OR ".join(f"state = '{state}'" for state in states))
        for index, states in (
            ("{index_of_open}", OPEN_STATES),
            ("{index_of_closed}", CLOSED_STATES),
        )
    )
    + f" UNION ALL {_IN_DISPUTE}",
    schema=_columns(
        "op_id row_key content_hash state generation action run_id first_sent_at first_sent_boot "
        "boot_id api_key_fingerprint idempotency_key attempts http_status correlation_id "
        "error_code error_message settled_at settled_run_id turn"
    ),
)

# Whether an operation has a link that its row may use. Few have a disputed one, or two.
_IS_USABLE = """(
    operation.op_id NOT IN (SELECT op_id FROM link WHERE proof = 'disputed')
    OR EXISTS (
        SELECT 1 FROM link
        WHERE link.op_id = operation.op_id AND COALESCE(link.proof, '') <> 'disputed'
    )
)"""

# Links of earlier content, which a row may come back to.
PAST = Query(
    sql=f"""
SELECT operation.row_key, operation.content_hash, MAX(operation.op_id) AS op_id
FROM operation
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.set_id = ?1 AND operation.state = 'done' AND row.op_id IS NULL AND {_IS_USABLE}
GROUP BY operation.row_key, operation.content_hash
""",  # noqa: S608 - our own text
    schema=_columns("row_key content_hash op_id"),
)

# The same for some rows: the first parameter is a JSON list of their keys.
PAST_OF = Query(
    sql=f"""
SELECT operation.row_key, operation.content_hash, MAX(operation.op_id) AS op_id
FROM {{wanted}} JOIN operation ON operation.set_id = ?2 AND operation.row_key = wanted.value
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.state = 'done' AND row.op_id IS NULL AND {_IS_USABLE}
GROUP BY operation.row_key, operation.content_hash
""",  # noqa: S608 - our own text
    schema=PAST.schema,
)

# What the runs of one plan file have come to, and the workers of what they enqueued: for each row
# and content, what the plan had said. An
# operation that is older than the plan's first run was not the plan's to make, but to settle, or
# its link was taken up again, or moved to another key. `is_first` tells links of rows that had none
# before. The second parameter is the plan's digest.
BEGUN = Query(
    sql="""
WITH own AS (SELECT run_id FROM run WHERE approved = ?2),
     began AS (SELECT MIN(started_at) AS at FROM run WHERE approved = ?2)
SELECT row.row_key, row.content_hash,
       CASE WHEN intended_at >= began.at THEN action
            WHEN settled_at < began.at THEN 'reuse' ELSE 'settle' END AS action,
       settled_at >= began.at AND follows_op_id IS NULL AS is_first
FROM row JOIN operation ON operation.op_id = row.op_id CROSS JOIN began
WHERE row.set_id = ?1
  AND (row.run_id IN (SELECT run_id FROM own) OR enqueued_by IN (SELECT run_id FROM own))
UNION
SELECT row_key, content_hash, action, FALSE FROM operation CROSS JOIN began
WHERE set_id = ?1 AND intended_at >= began.at
  AND state IN ('sent', 'in_doubt', 'needs_review', 'rejected')
  AND (COALESCE(settled_run_id, run_id) IN (SELECT run_id FROM own)
       OR enqueued_by IN (SELECT run_id FROM own))
UNION
SELECT row_key, content_hash, state, FALSE FROM operation
WHERE set_id = ?1 AND state = 'moved' AND settled_run_id IN (SELECT run_id FROM own)
""",
    schema=_columns("row_key content_hash action is_first"),
)

# The link that an operation's link replaces. Of several it is the one that a row would use.
_REPLACED = """CASE WHEN operation.follows_op_id IS NOT NULL THEN (
    SELECT followed.link_id FROM link AS followed
    WHERE followed.op_id = operation.follows_op_id
    ORDER BY CASE followed.proof WHEN 'disputed' THEN 2 WHEN 'review' THEN 0 ELSE 1 END,
             followed.received_at, followed.link_id
    LIMIT 1
) END"""

# Links that several rows use, of those that several operations have: of a row that was re-keyed the
# old operation has it still, and a disputed one is not known to lead to the same.
_SHARED = """
    SELECT also.link_id
    FROM (SELECT link_id FROM link GROUP BY link_id HAVING COUNT(*) > 1) AS twice
    JOIN link AS also ON also.link_id = twice.link_id
    JOIN operation AS its ON its.op_id = also.op_id
    JOIN row AS used ON used.set_id = its.set_id AND used.row_key = its.row_key
         AND used.op_id = also.op_id AND used.link_id = also.link_id
    WHERE COALESCE(also.proof, '') <> 'disputed'
    GROUP BY also.link_id HAVING COUNT(*) > 1"""

# How many rows use a link, of one.
_USERS = """
    SELECT COUNT(*) FROM link AS also
    JOIN operation AS its ON its.op_id = also.op_id
    JOIN row AS used ON used.set_id = its.set_id AND used.row_key = its.row_key
         AND used.op_id = also.op_id AND used.link_id = also.link_id
    WHERE also.link_id = link.link_id AND COALESCE(also.proof, '') <> 'disputed'"""

_CURRENT = f"""
SELECT link.link_id, operation.op_id, operation.row_key, operation.content_hash,
       operation.idempotency_key, operation.generation, operation.action, operation.attempts,
       operation.http_status, operation.correlation_id,
       {_REPLACED} AS replaces_link_id,
       short_link, short_id, target_url, qr_code_id, qr_image_url, encoded_url AS qr_encoded_url,
       link.created_at, row.changed_at, row.run_id AS changed_run_id, row.missing_since,
       link.status, operation.enqueued_by,
"""
_OF_ROW = """
JOIN operation ON operation.op_id = row.op_id
JOIN link ON link.op_id = row.op_id AND link.link_id = row.link_id
"""

# The link that each row uses now, with all that links.parquet shows of it.
CURRENT = Query(
    sql=f"""
{_CURRENT} link.link_id IN ({_SHARED}) AS is_shared
FROM row {_OF_ROW} WHERE row.set_id = ?1
""",
    schema=_columns(
        "link_id op_id row_key content_hash idempotency_key generation action attempts http_status "
        "correlation_id replaces_link_id short_link short_id target_url qr_code_id qr_image_url "
        "qr_encoded_url created_at changed_at changed_run_id missing_since status "
        "enqueued_by is_shared"
    ),
)

# The same for some rows: the first parameter is a JSON list of their keys.
CURRENT_OF = Query(
    sql=f"""
{_CURRENT} ({_USERS}) > 1 AS is_shared
FROM {{wanted}} JOIN row ON row.set_id = ?2 AND row.row_key = wanted.value {_OF_ROW}
""",
    schema=CURRENT.schema,
)

# Which QR codes of a set were made, the newest one of each link and identifier.
MADE_CODES = Query(
    sql="""
SELECT row_key, for_link_id, content_hash, op_id FROM operation WHERE op_id IN (
    SELECT MAX(op_id) FROM operation
    WHERE set_id = ?1 AND state = 'done' GROUP BY row_key, for_link_id
)
""",
    schema=_columns("row_key for_link_id content_hash op_id"),
)

# The partition that each row of a set was last seen in.
MEMBERS = Query(
    sql='SELECT row_key, "partition" FROM member WHERE set_id = ?1',
    schema=_columns("row_key partition"),
)

# Everything that was ever sent for a set, with its links. In columns that are never null, links
# that were imported have an empty text or hash for what nobody knows; to others that is a null.
_HISTORY = f"""
SELECT {{name}} AS link_set, operation.row_key, link.link_id,
       COALESCE(row.link_id = link.link_id, FALSE) AS is_current,
       CASE operation.state WHEN 'sent' THEN 'in_doubt' ELSE operation.state END AS state,
       NULLIF(operation.retailer, '') AS retailer, NULLIF(operation.intent, '') AS intent,
       operation.action, short_link, short_id, target_url, qr_code_id, qr_image_url,
       encoded_url AS qr_encoded_url,
       {_REPLACED} AS replaces_link_id,
       NULLIF({{{{content_hash_as_hex}}}}, '') AS content_hash,
       {{{{body_as_text}}}} AS body, operation.idempotency_key, operation.generation,
       operation.correlation_id, operation.attempts, operation.http_status, operation.error_code,
       operation.first_sent_at, link.created_at AS link_created_at,
       COALESCE(link.received_at, operation.settled_at) AS received_at,
       COALESCE(link.run_id, operation.settled_run_id, operation.run_id) AS run_id,
       link.proof, link.status AS link_status
FROM {{source}}
LEFT JOIN link ON link.op_id = operation.op_id
LEFT JOIN body ON body.op_id = operation.op_id
LEFT JOIN row ON row.set_id = operation.set_id AND row.row_key = operation.row_key
     AND row.op_id = operation.op_id
WHERE operation.set_id = ?2 AND operation.state <> 'intended' {{only}}
ORDER BY operation.row_key, operation.op_id
"""  # noqa: S608 - our own text
_OF_PARTITION = """AND operation.row_key IN (
    SELECT row_key FROM member WHERE set_id = operation.set_id AND "partition" = ?3
)"""
# Of some rows the whole history, where a run did something to it.
_OF_RUN = """AND (
    EXISTS (
        SELECT 1 FROM operation AS own WHERE own.set_id = operation.set_id
            AND own.row_key = operation.row_key AND (
                own.run_id = ?4 OR own.settled_run_id = ?4 OR EXISTS (
                    SELECT 1 FROM attempt WHERE attempt.op_id = own.op_id AND attempt.run_id = ?4
                )
            )
    ) OR EXISTS (
        SELECT 1 FROM row AS used WHERE used.set_id = operation.set_id
            AND used.row_key = operation.row_key AND used.run_id = ?4
    )
)"""
_OF_KEYS = """
{wanted} JOIN operation ON operation.set_id = ?2 AND operation.row_key = wanted.value
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that was ever sent for some sets, or one partition of them; `set_ids` by name."""

    set_ids: Mapping[str, int]
    partition: str | None = None

    @property
    def query(self) -> Query:
        """The query that reads one set."""
        partition = "" if self.partition is None else _OF_PARTITION
        return _history("?1", "operation", partition)

    def batches(self, ledger: Reading) -> Iterator[pa.RecordBatch]:
        """Stream it by link set and row key, with the columns of `schemas.HISTORY`."""
        more = () if self.partition is None else (self.partition,)
        for name, set_id in sorted(self.set_ids.items()):
            yield from scan(ledger, self.query, name, set_id, *more)

    def of_run(
        self, ledger: Reading, run_id: str, lists: Callable[[], Iterable[str]]
    ) -> Iterator[pa.RecordBatch]:
        """Stream what there is of some rows, where a run did something to it.

        `lists` are JSON lists of their keys, asked for once for each set.
        """
        query = _history("?3", _OF_KEYS, _OF_RUN)
        for name, set_id in sorted(self.set_ids.items()):
            for keys in lists():
                yield from scan(ledger, query, keys, set_id, name, run_id)


def _history(name: str, source: str, only: str) -> Query:
    sql = _HISTORY.format(name=name, source=source, only=only)
    return Query(sql=sql, schema=HISTORY_SCHEMA)
