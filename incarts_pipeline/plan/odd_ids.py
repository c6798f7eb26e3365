"""Odd item ids: those among a plan's calls that are unlike nearly all others of their retailer.

Retailers publish no format of their ids, so nothing is refused or held for it: it is told, in the
plan before anything is sent, and as a note on the row. What is usual is seen in the first rows of
the catalog, whether they have their link or not.
"""

from __future__ import annotations

import json

import duckdb

from incarts_pipeline.text import counted

SEEN_ROWS = 10_000  # the first of the catalog
_FEWEST = 5  # ids that say what is usual
_ALIKE = 0.8  # the share of them that has to be
_SHOWN = 3  # ids that a plan names

_IDS = """
LIST_CONCAT(
    JSON_EXTRACT_STRING(body, '$.products[*].retailerProductId'),
    CASE WHEN CONTAINS(body, 'backupProductIds')
         THEN JSON_EXTRACT_STRING(body, '$.products[*].backupProductIds[*]') ELSE [] END
)
"""
_HAS_IDS = "intent IN ('add_to_cart', 'product_detail') AND body IS NOT NULL"
# Digits alone, neither twice as many as usual nor half of them: `usual` is their median length.
_IS_ALIKE = "REGEXP_FULL_MATCH(id, '[0-9]+') AND STRLEN(id) * 2 > usual AND STRLEN(id) < usual * 2"

FIND = f"""
CREATE OR REPLACE TABLE odd_id AS
WITH seen AS (
    SELECT link_set, retailer, UNNEST({_IDS}) AS id FROM request
    WHERE catalog_row < {SEEN_ROWS} AND {_HAS_IDS}
), numbers AS (
    SELECT link_set, retailer, QUANTILE_DISC(STRLEN(id), 0.5) AS usual FROM seen
    WHERE REGEXP_FULL_MATCH(id, '[0-9]+') GROUP BY ALL
), known AS (
    SELECT link_set, retailer, usual FROM seen JOIN numbers USING (link_set, retailer)
    GROUP BY ALL
    HAVING COUNT(*) >= {_FEWEST} AND COUNT(*) FILTER ({_IS_ALIKE}) >= {_ALIKE} * COUNT(*)
), asked AS (
    SELECT link_set, retailer, catalog_row, row_key, UNNEST({_IDS}) AS id FROM request
    SEMI JOIN (SELECT * FROM decision WHERE is_call) USING (link_set, catalog_row)
    WHERE {_HAS_IDS}
)
SELECT link_set, catalog_row, ANY_VALUE(row_key) AS row_key, MIN(id) AS id,
       ANY_VALUE(usual) AS usual
FROM asked JOIN known USING (link_set, retailer) WHERE NOT ({_IS_ALIKE})
GROUP BY link_set, catalog_row
"""  # noqa: S608 - our own text

_FIRST = f"""
SELECT catalog_row, row_key, id, COUNT(*) OVER () FROM odd_id
ORDER BY catalog_row, link_set LIMIT {_SHOWN}
"""  # noqa: S608 - our own text


def warnings(db: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what to know of odd ids in a plan, nothing where there are none.

    Args:
        db: the plan's workspace, in which they have been found.
    """
    found = db.execute(_FIRST).fetchall()
    if not found:
        return []
    rows = found[0][3]
    named = [
        f"row {row} ({key}) {json.dumps(id_, ensure_ascii=False)}" for row, key, id_, _ in found
    ]
    more = f", and {rows - len(found):,} more" if rows > len(found) else ""
    return [
        f"{counted(rows, 'row has', 'rows have')} a product id unlike the others, which are "
        f"numbers of about one length: {', '.join(named)}{more}, counted from 0. No format is "
        "published, so the links are made all the same: see that these are ids of products."
    ]
