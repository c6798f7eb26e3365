"""SQL of publishing: what each row came to, by the plan's decisions and the ledger as it is now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from incarts_pipeline.plan.queries import verdict

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

# What of the workspace decides how rows stand, beside the requests and what is read of the ledger.
INPUTS = (
    "SELECT link_set, catalog_row, action, reason FROM decision",
    "SELECT * FROM rekeyed",
    "SELECT * FROM zeroless",
    "SELECT * FROM odd_id",
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

# Whether a row's link was made, or taken up again, for the plan that a run has enqueued.
_MADE_FOR = "COALESCE(m.enqueued_by = $enqueued, FALSE)"
_MOVED_FOR = "COALESCE(m.changed_run_id = $enqueued, FALSE)"

# What a row came to, over the request `r` with its plan (`planned`, `why`), what it has (`m`), its
# newest operation without a link (`u`), and why it was not tried (`l`). The first one counts.
_VERDICT = verdict(
    ("status", "reason"),
    ("r.planned = 'skip'", "skipped", "no_products"),
    ("r.planned = 'reject' AND r.why <> 'refused_by_api'", "rejected", "r.why"),
    ("u.op_id = m.op_id", "in_doubt", "needs_review"),
    (
        "m.content_hash = r.content_hash AND r.planned IN ('unchanged', 'reject') "
        "AND m.changed_run_id IS DISTINCT FROM $run "
        f"AND NOT ({_MADE_FOR} OR {_MOVED_FOR})",
        "unchanged",
        "same",
    ),
    (
        f"m.content_hash = r.content_hash AND {_MOVED_FOR} AND m.action <> 'rekey'",
        "reused",
        "changed_back",
    ),
    ("m.content_hash = r.content_hash AND r.planned = 'reuse'", "reused", "changed_back"),
    ("m.content_hash = r.content_hash AND m.action = 'rekey'", "rekeyed", "rekeyed"),
    ("m.content_hash = r.content_hash AND m.action = 'replace'", "replaced", "changed"),
    ("m.content_hash = r.content_hash", "created", "new"),
    ("r.planned = 'unchanged'", "unchanged", "r.why"),
    (
        "r.planned = 'hold' AND r.why IN ('needs_review', 'earlier_in_doubt')",
        "in_doubt",
        "r.why",
    ),
    ("r.planned = 'hold'", "held", "r.why"),
    ("u.state IN ('sent', 'in_doubt')", "in_doubt", "answer_unknown"),
    ("u.state = 'needs_review'", "in_doubt", "needs_review"),
    ("u.state = 'rejected'", "rejected", "refused_by_api"),
    ("r.why = 'earlier_in_doubt'", "in_doubt", "r.why"),
    ("u.state = 'intended' AND u.turn IS NOT NULL AND l.reason IS NULL", "pending", "enqueued"),
    ("TRUE", "pending", "COALESCE(l.reason, $pending)"),
)
_JUDGED = f"""
SELECT {_VERDICT} AS "incarts.verdict",
       -- A doubt that a run settled has made its row's plan come out as unchanged.
       CASE WHEN r.planned <> 'unchanged' OR m.content_hash IS DISTINCT FROM r.content_hash
            THEN r.planned
            WHEN m.changed_run_id = $run THEN 'settle'
            WHEN {_MOVED_FOR} AND m.action <> 'rekey' THEN 'reuse'
            WHEN {_MADE_FOR} OR {_MOVED_FOR} THEN m.action
            ELSE r.planned END AS action,
       -- Whether the newest operation speaks for the row, or the link that it uses.
       u.op_id IS NOT NULL AND (
           m.content_hash IS DISTINCT FROM r.content_hash OR u.op_id = m.op_id
       ) AS "incarts.latest",
       m.content_hash = r.content_hash AS "incarts.ours",
       r.catalog_row AS "incarts.row",
"""  # noqa: S608 - our own text
_FROM = """
FROM (
    SELECT request.* EXCLUDE (body), COALESCE(decision.action, 'unchanged') AS planned,
           COALESCE(decision.reason, 'same') AS why
    FROM published_request AS request LEFT JOIN decision USING (link_set, catalog_row)
) AS r
LEFT JOIN noted AS n ON n.link_set = r.link_set AND n.catalog_row = r.catalog_row
LEFT JOIN made AS m ON m.link_set = r.link_set AND m.row_key = r.row_key
LEFT JOIN latest AS u
    ON u.link_set = r.link_set AND u.row_key = r.row_key AND u.content_hash = r.content_hash
LEFT JOIN left_over AS l ON l.link_set = r.link_set AND l.row_key = r.row_key
"""


# In which of `n` buckets a row is, a power of two: by the first bytes of its key's MD5 as a number,
# little-endian. That is the same everywhere, and whoever reads the table can work it out, too.
BUCKET = "(MD5_NUMBER(COALESCE(row_key, '')) & ({n} - 1)::UHUGEINT)::UINTEGER"
BUCKETS = f"SELECT {BUCKET} AS bucket, COUNT(*) FROM published_request GROUP BY bucket"  # noqa: S608

# The requests whose rows are published. Of a part of a catalog there may be others, to see what its
# ids are like.
PUBLISHED = "CREATE OR REPLACE VIEW published_request AS SELECT * FROM request"
OF_PART = " WHERE row_key IS NULL OR row_key IN (SELECT row_key FROM open_key)"
OPEN_KEYS = f"""
SELECT DISTINCT {BUCKET} AS "incarts.bucket", row_key FROM open_key ORDER BY ALL
"""  # noqa: S608 - our own text


def rows(
    keys: Mapping[str, pa.Field],
    columns: str,
    names: Sequence[str],
    buckets: int | None = None,
) -> str:
    """Return the query for a table of what each row came to, in the catalog's order.

    `keys` are the key columns of the requests by the names under which they are published, `names`
    all the table's columns in their order. It takes the parameters `run`, `pending` and `enqueued`,
    the run that enqueued what others carried out, or null. One pass over everything: the tables are
    as large as the catalog. With `buckets` the rows come by bucket, `incarts.bucket` before the
    other columns, and in it by link set and key.
    """
    order, first = '"incarts.row", link_set', ""
    if buckets is not None:
        order = '"incarts.bucket", link_set, row_key, catalog_row'
        first = BUCKET.format(n=buckets) + ' AS "incarts.bucket", '
    key_columns = "".join(f"r.key.{quote(f.name)} AS {quote(name)}, " for name, f in keys.items())
    return f"""
SELECT {first}{", ".join(quote(name) for name in names)} FROM (
{_JUDGED}
{key_columns}
{columns}
{_FROM}
)
ORDER BY {order}
"""  # noqa: S608 - our own text


def quote(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


# What links.parquet says of a row.
LINK_COLUMNS = """
       r.catalog_row, r.link_set, r.row_key,
       "incarts.verdict"['status'] AS status,
       "incarts.verdict"['reason'] AS reason,
       m.link_id, m.short_link, m.short_id,
       m.target_url, m.qr_code_id,
       m.qr_image_url,
       m.qr_encoded_url,
       CASE WHEN m.link_id IS NULL OR r.content_hash IS NULL THEN NULL
            ELSE m.content_hash <> r.content_hash END AS is_stale,
       m.created_at AS link_created_at,
       m.replaces_link_id,
       LOWER(HEX(r.content_hash)) AS content_hash, LOWER(HEX(m.content_hash)) AS link_content_hash,
       CASE WHEN "incarts.latest" THEN u.idempotency_key ELSE m.idempotency_key END
           AS idempotency_key,
       CASE WHEN "incarts.latest" THEN u.correlation_id ELSE m.correlation_id END
           AS correlation_id,
       CASE WHEN "incarts.latest" THEN u.attempts ELSE m.attempts END AS attempts,
       CASE WHEN "incarts.latest" THEN u.http_status ELSE m.http_status END
           AS http_status,
       CASE WHEN "incarts.latest" THEN u.generation ELSE m.generation END AS generation,
       LIST_CONCAT(r.problems, n.problems, CASE WHEN LOWER(m.status) <> 'active' THEN [{
           'severity': 'note', 'field': 'link_id', 'code': 'not_active',
           'message': 'Incarts said when it made the link that its status is ' || m.status
       }] ELSE [] END, CASE WHEN m.is_shared = 1 THEN [{
           'severity': 'note', 'field': 'link_id', 'code': 'shared_link',
           'message': 'another row that leads to the same has this link as well'
       }] ELSE [] END) AS problems,
       CASE WHEN "incarts.latest" THEN u.error_code END AS error_code,
       CASE WHEN "incarts.latest" THEN u.error_message END AS error_message,
       CASE WHEN "incarts.latest" THEN u.settled_at ELSE m.changed_at END AS settled_at,
       CASE WHEN "incarts.latest" THEN u.settled_run_id ELSE m.changed_run_id END
           AS settled_run_id
"""

# What qr_codes.parquet says of a row. `m` is the code that the row's identifier has now; it is the
# one only while it is of the row's link, for a replaced link's code still leads to the old one.
CODE_COLUMNS = """
       r.code."row" AS catalog_row, NULLIF(r.link_set, '') AS link_set,
       r.code.link_row_key AS row_key, r.code.link_id AS link_id, r.code.identifier AS identifier,
       r.code.name AS name, "incarts.verdict"['status'] AS status,
       "incarts.verdict"['reason'] AS reason,
       CASE WHEN "incarts.ours" THEN m.link_id END AS qr_code_id,
       CASE WHEN "incarts.ours" THEN m.qr_image_url END AS qr_image_url,
       CASE WHEN "incarts.ours" THEN m.qr_encoded_url END AS encoded_url,
       CASE WHEN "incarts.ours" THEN m.created_at END AS created_at,
       CASE WHEN "incarts.ours" THEN m.replaces_link_id ELSE m.link_id END
           AS replaces_qr_code_id,
       CASE WHEN "incarts.latest" THEN u.idempotency_key
            WHEN "incarts.ours" THEN m.idempotency_key END
           AS idempotency_key,
       CASE WHEN "incarts.latest" THEN u.correlation_id
            WHEN "incarts.ours" THEN m.correlation_id END
           AS correlation_id,
       CASE WHEN "incarts.latest" THEN u.attempts
            WHEN "incarts.ours" THEN m.attempts END AS attempts,
       CASE WHEN "incarts.latest" THEN u.http_status
            WHEN "incarts.ours" THEN m.http_status END
           AS http_status,
       CASE WHEN "incarts.latest" THEN u.generation
            WHEN "incarts.ours" THEN m.generation END AS generation,
       LIST_CONCAT(r.problems, n.problems,
           CASE WHEN "incarts.latest" AND u.state = 'needs_review' AND u.http_status = 409 THEN [{
               'severity': 'error', 'field': 'identifier', 'code': 'identifier_taken',
               'message': 'the link has a QR code of this identifier that this ledger does not '
                   || 'know: take another identifier, or adopt the code with '
                   || '`incarts review adopt KEY QR_CODE_ID`'
           }] ELSE [] END) AS problems,
       CASE WHEN "incarts.latest" THEN u.error_code END AS error_code,
       CASE WHEN "incarts.latest" THEN u.error_message END AS error_message,
       CASE WHEN "incarts.latest" THEN u.settled_at
            WHEN "incarts.ours" THEN m.changed_at END
           AS settled_at,
       CASE WHEN "incarts.latest" THEN u.settled_run_id
            WHEN "incarts.ours" THEN m.changed_run_id END
           AS settled_run_id
"""


# Links whose row is not in the catalog.
MISSING_ROWS = """
SELECT made.link_set, made.row_key, link_id, short_link,
       target_url, LOWER(HEX(content_hash)) AS content_hash,
       created_at AS link_created_at, idempotency_key,
       missing_since
FROM made
SEMI JOIN (
    SELECT link_set, row_key FROM own_made ANTI JOIN request USING (link_set, row_key)
) AS gone USING (link_set, row_key)
ORDER BY made.link_set, made.row_key
"""
