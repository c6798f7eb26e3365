"""SQL of notes: what a plan has to say of rows beside their own problems.

Few rows have any, and mostly none: so they are brought together in a table of their own, lest the
query for all rows, which is long as it is, looks for each kind of them.
"""

from __future__ import annotations

ANY = """
SELECT EXISTS (FROM shared WHERE kinds > 1) OR EXISTS (FROM rekeyed) OR EXISTS (FROM zeroless)
    OR EXISTS (FROM odd_id)
"""

NONE = """
CREATE OR REPLACE TABLE noted (
    link_set VARCHAR, catalog_row BIGINT,
    problems STRUCT(severity VARCHAR, field VARCHAR, code VARCHAR, message VARCHAR)[]
)
"""


def _noted(*parts: str) -> str:
    """Return the statement for the table `noted`, with a row's notes in the order of the parts."""
    return f"""
CREATE OR REPLACE TABLE noted AS
SELECT link_set, catalog_row, LIST(problem ORDER BY place) AS problems
FROM ({" UNION ALL ".join(parts)})
GROUP BY ALL
"""  # noqa: S608 - our own text


_WITH_TWINS = """
FROM published_request AS r
JOIN shared AS s ON s.link_set = r.link_set AND s.row_key = r.row_key
WHERE s.kinds > 1
"""
_HELD = """
FROM published_request AS r
JOIN decision AS d ON d.link_set = r.link_set AND d.catalog_row = r.catalog_row
"""

# The notes of links.
OF_LINKS = _noted(
    f"""
SELECT r.link_set, r.catalog_row, 1 AS place, {{
    'severity': 'error', 'field': 'unique_key', 'code': 'duplicate_key',
    'message': 'rows ' || ARRAY_TO_STRING(s.catalog_rows, ', ')
        || CASE WHEN s.n > 6 THEN ' and ' || (s.n - 6) || ' more' ELSE '' END
        || ' (counted from 0) share this key but differ' || COALESCE(' in ' || s.fields, '')
        || ': keep one, or add a column to unique_key'
}} AS problem {_WITH_TWINS}
""",  # noqa: S608 - our own text
    f"""
SELECT r.link_set, r.catalog_row, 2, {{
    'severity': 'suspicion', 'field': 'unique_key', 'code': 'looks_rekeyed',
    'message': 'the content is that of row ' || k.was_key
        || CASE WHEN k.others > 0 THEN ' and ' || k.others || ' more' ELSE '' END
        || ', which left the catalog: move its link over if it is the same row under '
        || 'another key, or make a new one (rekeyed: move, or new)'
}} {_HELD}
JOIN rekeyed AS k ON k.link_set = r.link_set AND k.row_key = r.row_key
    AND k.content_hash = r.content_hash
WHERE d.reason = 'looks_rekeyed'
""",
    f"""
SELECT r.link_set, r.catalog_row, 3, {{
    'severity': 'suspicion', 'field': 'unique_key', 'code': 'lost_zeros',
    'message': '"' || z.row_key || '" is shorter than keys beside it that begin with zeros, '
        || 'such as "' || z.padded_key || '": write it with its zeros, or accept lost_zeros '
        || 'if it is meant'
}} {_HELD}
JOIN zeroless AS z ON z.link_set = r.link_set AND z.row_key = r.row_key
WHERE d.reason = 'lost_zeros'
""",
    """
SELECT i.link_set, i.catalog_row, 4, {
    'severity': 'note', 'field': 'products.retailer_product_id', 'code': 'odd_id',
    'message': '"' || i.id || '" is unlike the other ids, which are numbers of about '
        || i.usual || ' digits: see that it is the id of a product'
}
FROM odd_id AS i
""",
)

# The notes of QR codes.
OF_CODES = _noted(
    f"""
SELECT r.link_set, r.catalog_row, 1 AS place, {{
    'severity': 'error', 'field': 'identifier', 'code': 'duplicate_key',
    'message': 'rows of this link ask for this identifier with different names or '
        || 'metadata: keep one, or give each an identifier of its own'
}} AS problem {_WITH_TWINS}
"""
)
