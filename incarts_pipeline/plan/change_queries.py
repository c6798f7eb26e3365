"""SQL of changes, over the tables `changed` and `difference` and what is decided of their rows."""

from __future__ import annotations

# What is decided of rows that have a link of other content.
KINDS = """
SELECT DISTINCT link_set, action, reason FROM decision
SEMI JOIN changed USING (link_set, catalog_row)
"""

# The rows with an action and a reason that have a link of other content, and what differs in them.
OF_KIND = """
CREATE OR REPLACE TABLE changed_row AS
SELECT link_set, catalog_row, fields FROM changed
SEMI JOIN (
    SELECT * FROM decision WHERE link_set = $link_set AND action = $action AND reason = $reason
) USING (link_set, catalog_row)
"""
COUNT = "SELECT COUNT(*), COUNT(*) FILTER (fields IS NULL) FROM changed_row"
FIELD_SETS = """
SELECT fields, COUNT(*) AS n FROM changed_row WHERE fields IS NOT NULL AND LEN(fields) > 0
GROUP BY fields ORDER BY n DESC, fields LIMIT $most
"""
_CHANGE = "FROM difference SEMI JOIN changed_row USING (link_set, catalog_row)"
FIELDS = f"""
SELECT field, COUNT(*) AS n {_CHANGE} GROUP BY field ORDER BY n DESC, field LIMIT $most
"""
# Spread over all rows, and the same ones each time.
SAMPLE = f"""
SELECT old, new {_CHANGE} WHERE field = $field ORDER BY HASH(catalog_row, path), path LIMIT $n
"""
ALIKE = f"SELECT COUNT(*) {_CHANGE} WHERE field = $field AND {{condition}}"

# What differs in some rows, the first values of each.
DIFFERENCES = """
SELECT link_set, catalog_row, path, old, new, changed.differences
FROM difference JOIN changed USING (link_set, catalog_row)
SEMI JOIN wanted USING (link_set, catalog_row)
ORDER BY link_set, catalog_row, place
"""

# Rows of a catalog with what is decided of them: first those whose links would be others, or that
# get none, last those that stay as they are.
ROWS = """
SELECT link_set, catalog_row, {row} AS number, row_key, action, reason, body, was_key,
       LIST_TRANSFORM(
           LIST_FILTER(problems, lambda one: one.severity <> 'note'),
           lambda one: one.field || ': ' || one.message
       ) AS wrong
FROM judged
ORDER BY LIST_POSITION($actions, action), number, link_set LIMIT $most
"""
