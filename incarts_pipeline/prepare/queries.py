"""SQL that folds basket lines, in DuckDB's dialect."""

from __future__ import annotations

# Products of a basket. Lines with errors are left out: their basket is rejected anyway.
PRODUCTS = """
CREATE TABLE product AS
SELECT link_set, row_key, product_id, ANY_VALUE(product) AS product,
       MIN(backups) AS backups, MIN(backups) <> MAX(backups) AS differs,
       SUM(quantity)::BIGINT AS quantity,
       LIST(catalog_row ORDER BY line)[:6] AS catalog_rows
FROM line
WHERE folded AND product_id IS NOT NULL AND sound
GROUP BY ALL
"""

# What is wrong with one line is told on all rows of its basket, so it has to say which line.
LINE_PROBLEMS = """
CREATE TABLE basket_problem AS
SELECT link_set, row_key, problem.severity AS severity, problem.field AS field,
       problem.code AS code,
       'Row ' || catalog_row || ' (counted from 0): ' || problem.message AS message
FROM (
    SELECT link_set, row_key, catalog_row, line, UNNEST(problems) AS problem,
           GENERATE_SUBSCRIPTS(problems, 1) AS place
    FROM line WHERE folded AND LEN(problems) > 0
)
WHERE problem.severity <> 'note'
ORDER BY line, place
"""

# Baskets whose rows disagree about the link. MIN and MAX tell it without keeping the texts.
CONTRADICTIONS = """
CREATE TABLE contradiction AS
SELECT link_set, row_key FROM line
WHERE folded AND sound
GROUP BY ALL
HAVING MIN(head) <> MAX(head) OR MIN(tail) <> MAX(tail)
"""

# Each different link that such a basket asks for, once, by its first row.
VARIANTS = """
SELECT link_set, row_key, head, tail, MIN(catalog_row) AS catalog_row
FROM line SEMI JOIN contradiction USING (link_set, row_key)
WHERE folded AND sound
GROUP BY ALL
ORDER BY link_set, row_key, MIN(line)
"""

# The body of each basket. Products are ordered by id, so that the order of rows is no content; the
# highest priority and any pin count for all.
BASKETS = """
CREATE TABLE basket AS
WITH listed AS (
    SELECT link_set, row_key, COUNT(*) AS products,
           STRING_AGG(
               '{' || backups || '"quantity":' || quantity || ',"retailerProductId":'
                   || product || '}',
               ',' ORDER BY product_id
           ) AS products_json
    FROM product GROUP BY ALL
), around AS (
    SELECT link_set, row_key, ARG_MIN(head, line) AS head, ARG_MIN(tail, line) AS tail,
           MAX(priority) AS priority, BOOL_OR(pinned) AS pinned
    FROM line WHERE folded GROUP BY ALL
)
SELECT link_set, row_key, priority, pinned, COALESCE(products, 0) AS products,
       head || COALESCE('"products":[' || products_json || '],', '') || tail AS body
FROM around LEFT JOIN listed USING (link_set, row_key)
"""

# Two lines with one product are one product: its quantities add up, but its backups can't.
BACKUPS_DIFFER = """
INSERT INTO basket_problem
SELECT link_set, row_key, 'error', 'products.backup_product_ids', 'basket_differs',
       'The product "' || product_id || '" has different backups in rows '
           || ARRAY_TO_STRING(catalog_rows[:5], ', ') || CASE WHEN LEN(catalog_rows) > 5 THEN ', …'
           ELSE '' END || ' (counted from 0); give it the same ones.'
FROM product WHERE differs
ORDER BY link_set, row_key, product_id
"""

QUANTITIES = """
INSERT INTO basket_problem
SELECT link_set, row_key, 'error', 'products.quantity', 'over_limit',
       'The quantities of "' || product_id || '" in rows '
           || ARRAY_TO_STRING(catalog_rows[:5], ', ') || CASE WHEN LEN(catalog_rows) > 5 THEN ', …'
           ELSE '' END || ' (counted from 0) add up to ' || quantity || ', over the limit of '
           || $max_quantity || '; lower them, or raise max_quantity.'
FROM product WHERE quantity > $max_quantity
ORDER BY link_set, row_key, product_id
"""

# Only the whole basket is large or small; no line could be rejected for it.
SIZES = """
INSERT INTO basket_problem
SELECT link_set, row_key, 'error', 'products', 'over_limit',
       'The basket has ' || products || ' products, over the limit of ' || $max_products
           || '; split it, or raise max_products.'
FROM basket WHERE products > $max_products
UNION ALL
SELECT link_set, row_key, 'error', 'body', 'over_limit',
       'The request has ' || STRLEN(body) || ' bytes, over the limit of ' || $max_body_bytes
           || '; split the basket, or raise max_body_bytes.'
FROM basket WHERE STRLEN(body) > $max_body_bytes
"""

# At most 50 for each basket, errors first: every one of its rows will carry them.
PROBLEMS = """
CREATE TABLE faulty AS
SELECT link_set, row_key, BOOL_OR(severity = 'error') AS is_rejected,
       LIST(
           {'severity': severity, 'field': field, 'code': code, 'message': message}
           ORDER BY severity, rowid
       )[:50] AS problems
FROM basket_problem GROUP BY ALL
"""

# One row per line again, in the order in which the lines came, each with its own notes.
RESULT = """
SELECT line.folded,
       CASE WHEN NOT COALESCE(faulty.is_rejected, false) THEN basket.body END AS body,
       LIST_CONCAT(
           faulty.problems, LIST_FILTER(line.problems, lambda one: one.severity = 'note')
       ) AS problems,
       basket.priority, COALESCE(basket.pinned, false) AS pinned
FROM line
LEFT JOIN basket ON line.folded AND basket.link_set = line.link_set
    AND basket.row_key = line.row_key
LEFT JOIN faulty ON line.folded AND faulty.link_set = line.link_set
    AND faulty.row_key = line.row_key
ORDER BY line.line
"""
