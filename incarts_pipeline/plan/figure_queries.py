"""SQL of a plan's figures: examples, broken rules, and counts beside those of the actions."""

from __future__ import annotations

# The first rows with an action; the first problem says what is wrong with a rejected one, or odd
# about one that is held for it.
EXAMPLES = """
SELECT link_set, catalog_row, {row}, row_key, reason, body, problems[1].message AS problem,
       CASE WHEN reason IN ('looks_rekeyed', 'rekeyed') THEN was_key END AS was_key
FROM judged
WHERE action = $action AND reason = COALESCE($reason, reason)
  AND link_set = COALESCE($link_set, link_set)
ORDER BY catalog_row LIMIT $n
"""

# Rows that break a rule, and rows that are held as suspicious, by field and code, the most first; a
# row counts in each of its groups.
PROBLEMS = """
SELECT problem.severity, problem.field, problem.code, COUNT(DISTINCT catalog_row) AS n,
       MIN({row}) AS first_row, ARG_MIN(row_key, {row}) AS row_key,
       ARG_MIN(problem.message, {row}) AS message
FROM (
    SELECT *, UNNEST(problems) AS problem FROM judged
    WHERE action = 'reject' AND reason = 'invalid'
       OR action = 'hold' AND LIST_CONTAINS($suspicions, reason)
)
WHERE problem.severity <> 'note'
GROUP BY ALL
ORDER BY problem.severity, n DESC, problem.field, problem.code LIMIT $most
"""

CALLS_BY_KIND = """
SELECT retailer, intent, COUNT(*) FROM decision WHERE is_call GROUP BY ALL ORDER BY ALL
"""

MISSING_EXAMPLES = """
SELECT row_key, op_id FROM missing WHERE link_set = $name AND is_missing = 0
ORDER BY row_key LIMIT 3
"""

# How many rows left the catalog, and how many since the last run; less those that move to another
# key and, as new ones, those that may.
MISSING_COUNTS = """
WITH taken AS (
    SELECT link_set, content_hash AS link_hash, COUNT(DISTINCT row_key) AS n,
           COUNT(DISTINCT row_key) FILTER (action = 'rekey') AS moved
    FROM decision WHERE reason IN ('looks_rekeyed', 'rekeyed') GROUP BY ALL
), gone AS (
    SELECT link_set, link_hash, COUNT(*) AS n, COUNT(*) FILTER (is_missing = 0) AS newly
    FROM missing GROUP BY ALL
)
SELECT link_set, SUM(GREATEST(gone.n - COALESCE(moved, 0), 0))::BIGINT AS kept,
       SUM(GREATEST(newly - COALESCE(taken.n, 0), 0))::BIGINT
FROM gone LEFT JOIN taken USING (link_set, link_hash)
GROUP BY link_set HAVING kept > 0
"""

LIVE = """
SELECT link_set, SUM(n)::BIGINT FROM (
    SELECT link_set, COUNT(*) AS n FROM own_ledger_row WHERE is_missing = 0 GROUP BY link_set
    UNION ALL
    SELECT link_set, key_count FROM quiet
)
GROUP BY link_set
"""

DOUBTS = "SELECT COUNT(*) FROM doubt WHERE may_settle"

# The calls that are enqueued already, and so were let through once.
ENQUEUED = """
SELECT link_set, action, COUNT(*) FROM decision
SEMI JOIN (SELECT * FROM unlinked WHERE state = 'intended' AND turn IS NOT NULL)
    USING (link_set, row_key, content_hash)
WHERE is_call GROUP BY ALL
"""
