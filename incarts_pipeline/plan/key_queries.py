"""SQL of new keys: those that may be old ones in another spelling."""

from __future__ import annotations

# New rows beside the rows of the same content that left the catalog, lately or long ago: links that
# nobody uses. A pair is one of each; `was_key` is the first of several, `others` how many more.
REKEYED = """
CREATE OR REPLACE TABLE rekeyed AS
WITH gone AS (
    SELECT link_set, link_hash AS content_hash, row_key, current_op FROM own_compared
    WHERE catalog_row IS NULL
    UNION
    SELECT link_set, link_hash, row_key, current_op FROM compared
    WHERE catalog_row IS NULL AND is_missing = 1
), fresh AS (
    SELECT DISTINCT link_set, row_key, content_hash FROM open_request
    SEMI JOIN gone USING (link_set, content_hash)
    WHERE current_op IS NULL
), unused AS (
    SELECT link_set, content_hash, MIN(row_key) AS was_key,
           ARG_MIN(current_op, row_key) AS was_op, COUNT(*) - 1 AS others
    FROM gone SEMI JOIN fresh USING (link_set, content_hash)
    GROUP BY ALL
)
SELECT *, others = 0 AND COUNT(*) OVER (PARTITION BY link_set, content_hash) = 1 AS is_pair
FROM fresh JOIN unused USING (link_set, content_hash)
"""

# New rows whose key has fewer digits than all keys have that begin with zeros, where these have one
# length and no key of digits is longer: 12 beside 00034.
ZEROLESS = """
CREATE OR REPLACE TABLE zeroless AS
WITH fresh AS (
    SELECT DISTINCT link_set, row_key FROM open_request
    WHERE current_op IS NULL AND content_hash IS NOT NULL
      AND row_key[1] BETWEEN '1' AND '9' AND REGEXP_FULL_MATCH(row_key, '[0-9]+')
), digits AS (
    SELECT link_set, MAX(STRLEN(row_key)) AS longest,
           MIN(STRLEN(row_key)) FILTER (row_key[1] = '0') AS shortest_padded,
           MIN(row_key) FILTER (row_key[1] = '0') AS padded_key
    FROM request SEMI JOIN fresh USING (link_set)
    WHERE STRLEN(row_key) > 1 AND REGEXP_FULL_MATCH(row_key, '[0-9]+')
    GROUP BY link_set
    UNION ALL
    SELECT link_set, longest, shortest_padded, padded_key FROM quiet
), padded AS (
    SELECT link_set, MAX(longest) AS longest, MIN(shortest_padded) AS shortest_padded,
           MIN(padded_key) AS padded_key
    FROM digits GROUP BY link_set
)
SELECT link_set, row_key, padded_key FROM fresh JOIN padded USING (link_set)
WHERE shortest_padded = longest AND STRLEN(row_key) < longest
"""
