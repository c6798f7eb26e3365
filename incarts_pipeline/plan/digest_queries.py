"""SQL of a plan's digest: what it looks at, also when runs have come to some of the plan's rows."""

from __future__ import annotations

# What a plan file had said of each row, now that its runs have come to some of them. A row that is
# still to be made stands as it is: what will be sent must be what the file said.
BEGUN = """
CREATE OR REPLACE TABLE begun_decision AS
WITH said AS (
    SELECT DISTINCT link_set, row_key, content_hash, action, CASE action
               WHEN 'create' THEN 'new' WHEN 'replace' THEN 'changed'
               WHEN 'reuse' THEN 'changed_back' WHEN 'rekey' THEN 'rekeyed'
               ELSE 'answer_unknown' END AS reason
    FROM begun WHERE action <> 'moved'
), earlier AS (
    SELECT request.link_set, request.catalog_row, request.row_key, request.content_hash,
           said.action, said.reason
    FROM request JOIN said USING (link_set, row_key, content_hash)
    ANTI JOIN (SELECT * FROM decision WHERE action IN ('create', 'replace', 'reuse', 'rekey')) AS d
        ON d.link_set = request.link_set AND d.catalog_row = request.catalog_row
)
SELECT * FROM earlier
UNION ALL
SELECT link_set, catalog_row, row_key, content_hash, action, reason
FROM decision ANTI JOIN earlier USING (link_set, catalog_row)
"""

# The rows that had left the catalog then: without those whose first link came home since, and with
# those whose link has moved.
BEGUN_MISSING = """
CREATE OR REPLACE TABLE begun_missing AS
SELECT link_set, row_key FROM missing
ANTI JOIN (SELECT * FROM begun WHERE is_first) USING (link_set, row_key)
UNION ALL
SELECT link_set, row_key FROM begun WHERE action = 'moved'
"""

# What a digest looks at. Rows that stay as they are count only by number: which they are follows
# from the ledger, and from those that left.
DECIDED = "SELECT action, reason, link_set, row_key, content_hash FROM {table}"

LEFT = """
SELECT 'missing' AS action, 'missing' AS reason, link_set, row_key, NULL::BLOB AS content_hash
FROM {table}
"""

# All that a catalog asks for: a row that stays as it is, too.
REQUESTS = "SELECT link_set, row_key, content_hash FROM request"

STAYING = """
SELECT (SELECT COUNT(*) FROM request) + (SELECT COALESCE(SUM(row_count), 0)::BIGINT FROM quiet)
    - (SELECT COUNT(*) FROM {table})
"""
