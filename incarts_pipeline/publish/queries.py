"""Queries of publishing (SQL): each row's status, from the plan's decisions and today's ledger."""

from __future__ import annotations

# The newest operation without a link for each content of a row.
LATEST = """
CREATE OR REPLACE TABLE latest AS
SELECT * FROM (
    SELECT * FROM unlinked QUALIFY ROW_NUMBER() OVER (
        PARTITION BY link_set, row_key, content_hash ORDER BY op_id DESC
    ) = 1
)
WHERE state <> 'abandoned'
"""

# What of the workspace decides a row's status, beside the requests and what is read of the ledger.
INPUTS = (
    "SELECT link_set, catalog_row, action, reason FROM decision",
    "SELECT * FROM shared",
    "SELECT * FROM left_over",
)

# Whether a run gave a row the link that it uses.
DONE_BY = "SELECT 1 FROM made WHERE changed_run_id = $run LIMIT 1"

OVER_LIMIT = """
INSERT INTO left_over SELECT link_set, row_key, 'over_limit' FROM call
ANTI JOIN left_over USING (link_set, row_key) WHERE turn > $limit
"""

CLOSED = """
INSERT INTO left_over SELECT link_set, row_key, 'circuit_open' FROM call
ANTI JOIN left_over USING (link_set, row_key) WHERE retailer = $retailer AND intent = $intent
"""

# A row's status and reason, over the request `r`, what it has (`m`), its newest operation without a
# link (`u`) and why it was not tried (`l`).
_VERDICT = """
SELECT CASE
           WHEN r.planned = 'skip' THEN 'skipped no_products'
           WHEN r.planned = 'reject' AND r.why <> 'refused_by_api' THEN 'rejected ' || r.why
           WHEN m.content_hash = r.content_hash THEN
               CASE WHEN r.planned IN ('unchanged', 'reject')
                        AND m.changed_run_id IS DISTINCT FROM $run THEN 'unchanged same'
                    WHEN r.planned = 'reuse' THEN 'reused changed_back'
                    WHEN m.action = 'replace' THEN 'replaced changed'
                    ELSE 'created new' END
           WHEN r.planned = 'unchanged' THEN 'unchanged ' || r.why
           WHEN r.planned = 'hold' AND r.why IN ('needs_review', 'earlier_in_doubt')
               THEN 'in_doubt ' || r.why
           WHEN r.planned = 'hold' THEN 'held ' || r.why
           WHEN u.state IN ('sent', 'in_doubt') THEN 'in_doubt answer_unknown'
           WHEN u.state = 'needs_review' THEN 'in_doubt needs_review'
           WHEN u.state = 'rejected' THEN 'rejected refused_by_api'
           WHEN r.why = 'earlier_in_doubt' THEN 'in_doubt ' || r.why
           ELSE 'pending ' || COALESCE(l.reason, $pending)
       END AS "incarts.status",
       -- Whether the newest operation speaks for the row, or the link that it uses.
       u.op_id IS NOT NULL AND m.content_hash IS DISTINCT FROM r.content_hash AS "incarts.latest",
       m.content_hash = r.content_hash AS "incarts.ours",
       r.catalog_row AS "incarts.row",
"""
_FROM = """
FROM (
    SELECT request.* EXCLUDE (body), COALESCE(decision.action, 'unchanged') AS planned,
           COALESCE(decision.reason, 'same') AS why
    FROM request LEFT JOIN decision USING (link_set, catalog_row)
) AS r
LEFT JOIN shared AS s ON s.link_set = r.link_set AND s.row_key = r.row_key
LEFT JOIN made AS m ON m.link_set = r.link_set AND m.row_key = r.row_key
LEFT JOIN latest AS u
    ON u.link_set = r.link_set AND u.row_key = r.row_key AND u.content_hash = r.content_hash
LEFT JOIN left_over AS l ON l.link_set = r.link_set AND l.row_key = r.row_key
"""


def rows(columns: str) -> str:
    """Return the query for a table of each row's status, in the catalog's order.

    It takes the parameters `run` and `pending`. One pass over everything: the tables are as large
    as the catalog.
    """
    return f"""
SELECT * EXCLUDE ("incarts.status", "incarts.latest", "incarts.ours", "incarts.row") FROM (
{_VERDICT}
{columns}
{_FROM}
)
ORDER BY "incarts.row", link_set
"""  # noqa: S608 - our own text


# A doubt that a run settled has made its row's plan come out as unchanged.
ACTION = """CASE WHEN r.planned = 'unchanged' AND m.changed_run_id = $run
            AND m.content_hash = r.content_hash THEN 'settle' ELSE r.planned END"""

# What links.parquet says of a row.
LINK_COLUMNS = """
{key_columns}
       r.catalog_row, r.link_set, r.row_key,
       SPLIT_PART("incarts.status", ' ', 1) AS status,
       {action} AS action,
       SPLIT_PART("incarts.status", ' ', 2) AS reason,
       m.link_id, m.short_link, m.short_id, m.target_url, m.qr_code_id, m.qr_image_url,
       m.qr_encoded_url,
       CASE WHEN m.link_id IS NULL OR r.content_hash IS NULL THEN NULL
            ELSE m.content_hash <> r.content_hash END AS is_stale,
       m.created_at AS link_created_at, m.replaces_link_id,
       LOWER(HEX(r.content_hash)) AS content_hash, LOWER(HEX(m.content_hash)) AS link_content_hash,
       CASE WHEN "incarts.latest" THEN u.idempotency_key ELSE m.idempotency_key END
           AS idempotency_key,
       CASE WHEN "incarts.latest" THEN u.correlation_id ELSE m.correlation_id END
           AS correlation_id,
       CASE WHEN "incarts.latest" THEN u.attempts ELSE m.attempts END AS attempts,
       CASE WHEN "incarts.latest" THEN u.http_status ELSE m.http_status END AS http_status,
       CASE WHEN "incarts.latest" THEN u.generation ELSE m.generation END AS generation,
       LIST_CONCAT(r.problems, r.notes, CASE WHEN s.kinds > 1 THEN [{{
           'field': 'unique_key', 'code': 'duplicate_key',
           'message': 'rows ' || ARRAY_TO_STRING(s.catalog_rows, ', ')
               || CASE WHEN s.n > 6 THEN ' and ' || (s.n - 6) || ' more' ELSE '' END
               || ' (counted from 0) share this key but differ' || COALESCE(' in ' || s.fields, '')
               || ': keep one, or add a column to unique_key'
       }}] ELSE [] END) AS problems,
       CASE WHEN "incarts.latest" THEN u.error_code END AS error_code,
       CASE WHEN "incarts.latest" THEN u.error_message END AS error_message,
       CASE WHEN "incarts.latest" THEN u.settled_at ELSE m.changed_at END AS settled_at,
       CASE WHEN "incarts.latest" THEN u.settled_run_id ELSE m.changed_run_id END
           AS settled_run_id
"""

# Links whose row is not in the catalog.
MISSING_ROWS = """
SELECT made.link_set, made.row_key, link_id, short_link, target_url,
       LOWER(HEX(content_hash)) AS content_hash, created_at AS link_created_at, idempotency_key,
       missing_since
FROM made
SEMI JOIN (
    SELECT link_set, row_key FROM own_made ANTI JOIN request USING (link_set, row_key)
) AS gone USING (link_set, row_key)
ORDER BY made.link_set, made.row_key
"""

# What qr_codes.parquet says of a row. `m` is the code that the row's identifier has now; it is the
# one only while it is of the row's link, for a replaced link's code still leads to the old one.
CODE_COLUMNS = """
{key_columns}
       r.key."row" AS catalog_row, NULLIF(r.link_set, '') AS link_set,
       r.key.link_row_key AS row_key, r.key.link_id AS link_id, r.key.identifier AS identifier,
       r.key.name AS name, SPLIT_PART("incarts.status", ' ', 1) AS status,
       {action} AS action, SPLIT_PART("incarts.status", ' ', 2) AS reason,
       CASE WHEN "incarts.ours" THEN m.link_id END AS qr_code_id,
       CASE WHEN "incarts.ours" THEN m.qr_image_url END AS qr_image_url,
       CASE WHEN "incarts.ours" THEN m.qr_encoded_url END AS encoded_url,
       CASE WHEN "incarts.ours" THEN m.created_at END AS created_at,
       CASE WHEN "incarts.ours" THEN m.replaces_link_id ELSE m.link_id END
           AS replaces_qr_code_id,
       CASE WHEN "incarts.latest" THEN u.idempotency_key
            WHEN "incarts.ours" THEN m.idempotency_key END AS idempotency_key,
       CASE WHEN "incarts.latest" THEN u.correlation_id
            WHEN "incarts.ours" THEN m.correlation_id END AS correlation_id,
       CASE WHEN "incarts.latest" THEN u.attempts
            WHEN "incarts.ours" THEN m.attempts END AS attempts,
       CASE WHEN "incarts.latest" THEN u.http_status
            WHEN "incarts.ours" THEN m.http_status END AS http_status,
       CASE WHEN "incarts.latest" THEN u.generation
            WHEN "incarts.ours" THEN m.generation END AS generation,
       LIST_CONCAT(r.problems, r.notes,
           CASE WHEN s.kinds > 1 THEN [{{
               'field': 'identifier', 'code': 'duplicate_key',
               'message': 'rows of this link ask for this identifier with different names or '
                   || 'metadata: keep one, or give each an identifier of its own'
           }}] ELSE [] END,
           CASE WHEN "incarts.latest" AND u.state = 'needs_review' AND u.http_status = 409 THEN [{{
               'field': 'identifier', 'code': '{taken}',
               'message': '{taken_message}'
           }}] ELSE [] END) AS problems,
       CASE WHEN "incarts.latest" THEN u.error_code END AS error_code,
       CASE WHEN "incarts.latest" THEN u.error_message END AS error_message,
       CASE WHEN "incarts.latest" THEN u.settled_at
            WHEN "incarts.ours" THEN m.changed_at END AS settled_at,
       CASE WHEN "incarts.latest" THEN u.settled_run_id
            WHEN "incarts.ours" THEN m.changed_run_id END AS settled_run_id
"""
