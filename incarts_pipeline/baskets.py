"""Baskets: rows that share a key become one link, wherever in the catalog they are.

The lines are gathered in a temporary DuckDB database with a bound on its memory. Products are
ordered by their id, so that the order of the catalog's rows never changes what is sent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from incarts_pipeline.models import Limits
from incarts_pipeline.rules import ProblemCode
from incarts_pipeline.schemas import link_request_schema

_BATCH = 16_384
_MEMORY = "512MB"

_PRODUCTS = """
CREATE TABLE product AS
SELECT link_set, row_key, product, MIN(backups) AS backups, SUM(quantity) AS quantity,
       COUNT(DISTINCT COALESCE(backups, '')) AS kinds
FROM line WHERE row_key IS NOT NULL AND product IS NOT NULL
GROUP BY ALL
"""

_BASKETS = """
CREATE TABLE basket AS
WITH head AS (
    SELECT link_set, row_key,
           COUNT(DISTINCT body || suffix) AS kinds,
           LIST(catalog_row ORDER BY catalog_row) FILTER (LEN(problems) > 0)[:5] AS bad_rows,
           LIST(catalog_row ORDER BY catalog_row)[:6] AS catalog_rows, COUNT(*) AS n
    FROM line WHERE row_key IS NOT NULL GROUP BY ALL
), cart AS (
    SELECT link_set, row_key, COUNT(*) AS products, MAX(kinds) AS kinds,
           MAX(quantity) AS most,
           STRING_AGG(
               '{' || CASE WHEN backups IS NULL THEN ''
                           ELSE '"backupProductIds":' || backups || ',' END
               || '"quantity":' || quantity::BIGINT || ',"retailerProductId":' || product || '}',
               ',' ORDER BY product
           ) AS json
    FROM product GROUP BY ALL
)
SELECT head.* EXCLUDE (kinds), head.kinds AS heads, cart.* EXCLUDE (link_set, row_key),
       ARRAY_TO_STRING(catalog_rows, ', ') || CASE WHEN n > 6 THEN ', …' ELSE '' END AS shown
FROM head LEFT JOIN cart USING (link_set, row_key)
"""

_REQUESTS = """
WITH judged AS (
    SELECT line.*, basket.json,
           CASE
               WHEN LEN(line.problems) > 0 OR basket.row_key IS NULL THEN NULL
               WHEN LEN(basket.bad_rows) > 0 THEN [{{
                   'field': 'basket', 'code': '{line}',
                   'message': 'another line of this basket is wrong: row '
                       || ARRAY_TO_STRING(basket.bad_rows, ', ')
               }}]
               WHEN basket.heads > 1 THEN [{{
                   'field': 'basket', 'code': '{conflict}',
                   'message': 'rows ' || basket.shown
                       || ' are one basket, but their link fields differ; make them equal'
               }}]
               WHEN basket.kinds > 1 THEN [{{
                   'field': 'basket', 'code': '{conflict}',
                   'message': 'rows ' || basket.shown
                       || ' repeat a product with different backups; make them equal'
               }}]
               WHEN basket.most > {max_quantity} THEN [{{
                   'field': 'products.quantity', 'code': '{quantity}',
                   'message': 'the basket adds up to a quantity of ' || basket.most::BIGINT
                       || ', the limit is {max_quantity}'
               }}]
               WHEN basket.products > {max_products} THEN [{{
                   'field': 'products', 'code': '{many}',
                   'message': 'the basket has ' || basket.products
                       || ' products, the limit is {max_products}'
               }}]
           END AS wrong
    FROM line LEFT JOIN basket USING (link_set, row_key)
)
SELECT catalog_row, link_set, row_key, retailer, intent, wanted,
       CASE WHEN LEN(problems) = 0 AND wrong IS NULL
            THEN '{{' || body || ',' || COALESCE('"products":[' || json || '],', '') || suffix || '}}'
            END AS body,
       NULL::BLOB AS content_hash, priority, pinned,
       LIST_CONCAT(problems, COALESCE(wrong, [])) AS problems, notes, key
FROM judged ORDER BY catalog_row, link_set
"""


def fold(
    schema: pa.Schema, lines: Iterable[pa.RecordBatch], limits: Limits
) -> Iterator[pa.RecordBatch]:
    """Yield a link request per line, all lines of a basket with the same body; hashes are null.

    Args:
        schema: `schemas.basket_line_schema`, where `body` and `suffix` are what stands
            before and behind the products.
        lines: the prepared lines, in catalog order.
        limits: bounds on quantity and products.
    """
    target = link_request_schema(list(schema.field("key").type.fields))
    query = _REQUESTS.format(
        line=ProblemCode.BASKET_LINE.value,
        conflict=ProblemCode.BASKET_CONFLICT.value,
        quantity=ProblemCode.QUANTITY_TOO_HIGH.value,
        many=ProblemCode.TOO_MANY_PRODUCTS.value,
        max_quantity=limits.max_quantity,
        max_products=limits.max_products,
    )
    with tempfile.TemporaryDirectory(prefix="incarts-") as folder:
        path = str(Path(folder) / "baskets.duckdb")
        with duckdb.connect(path, config={"memory_limit": _MEMORY}) as db:
            reader = pa.RecordBatchReader.from_batches(schema, lines)
            db.register("incoming", reader)
            db.execute("CREATE TABLE line AS SELECT * FROM incoming")
            db.unregister("incoming")
            db.execute(_PRODUCTS)
            db.execute(_BASKETS)
            for batch in db.sql(query).to_arrow_reader(_BATCH):
                columns = [
                    column.cast(field.type)
                    for column, field in zip(batch.columns, target, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=target)
