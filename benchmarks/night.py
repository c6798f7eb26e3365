"""A night on disk: a catalog in Parquet, and a ledger that has a link for every row of it.

    python benchmarks/night.py FOLDER [--rows 10000000]

The ledger is filled by a few statements rather than by as many runs as it would have taken; what is
in it is what such runs would have left.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.mapping import default_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare

BASE_URL = "https://api.incarts.example"
LINK_SET = "nightly"
CHUNK = 500_000
RUN = "0123456789ab"
MADE_AT = 1_767_225_600_000_000  # 2026-01-01 in microseconds

# Every operation was sent once, was answered, and is what its row uses. One in order, as
# SQLite appends much faster than it inserts.
_OPERATIONS = f"""
INSERT INTO operation (
    op_id, idempotency_key, set_id, row_key, generation, action, retailer, intent, content_hash,
    destination_hash, tracking_hash, label_hash, recipe, state, run_id, epoch, attempts,
    first_sent_at, first_sent_boot, boot_id, api_key_fingerprint, http_status, correlation_id,
    intended_at, settled_at, settled_run_id
)
SELECT op_id, printf('incarts1-%040x', op_id), set_id, row_key, 0, 'create', 'walmart',
       'add_to_cart', content_hash, content_hash, content_hash, content_hash, 1, 'done', '{RUN}', 1,
       1, {MADE_AT}, 1000.0, 'boot', 'fingerprint', 201, printf('incarts-%032x', op_id),
       {MADE_AT}, {MADE_AT}, '{RUN}'
FROM row ORDER BY row_key
"""
_LINKS = f"""
INSERT INTO link (
    op_id, link_id, short_link, short_id, target_url, qr_code_id, qr_image_url, encoded_url,
    created_at, received_at, run_id
)
SELECT op_id, link_id, printf('https://in2carts.com/%x', op_id), printf('%x', op_id),
       printf('https://www.walmart.com/sc/cart/addToCart?items=%d_1', 500000000 + op_id),
       printf('qr_%026d', op_id), printf('https://in2carts.com/qr/%x.png', op_id), NULL,
       {MADE_AT}, {MADE_AT}, '{RUN}'
FROM row ORDER BY row_key
"""
_BODIES = """
INSERT INTO body
SELECT op_id, CAST(printf(
    '{"intent":"add_to_cart","name":"Product number %d","products":[{"quantity":1,'
    || '"retailerProductId":"%d"}],"projectId":"demo","retailer":"walmart"}',
    op_id, 500000000 + op_id) AS BLOB)
FROM row ORDER BY row_key
"""


def products(first: int, rows: int) -> pa.Table:
    """Return a part of a catalog that needs no mapping."""
    numbers = pa.array(np.arange(first, first + rows))
    text = numbers.cast(pa.string())
    return pa.table(
        {
            "sku": pc.utf8_lpad(text, 12, "0"),
            "name": pc.binary_join_element_wise("Product number ", text, ""),
            "retailer": pa.repeat("walmart", rows),
            "intent": pa.repeat("add_to_cart", rows),
            "retailer_product_id": pc.add(numbers, 500_000_000).cast(pa.string()),
            "quantity": pc.add(pc.bit_wise_and(numbers, 1), 1),
        }
    )


def make_catalog(path: Path, rows: int) -> None:
    """Write the catalog."""
    with pq.ParquetWriter(path, products(0, 1).schema) as writer:
        for start in range(0, rows, CHUNK):
            writer.write_table(products(start, min(CHUNK, rows - start)))


def fill_ledger(path: Path, catalog: Path, *, whole: bool = False) -> None:
    """Record a link for every row of the catalog; `whole` with all that publishing reads."""
    engine = prepare_file(path, BASE_URL)
    with engine.begin() as connection:
        set_id = ensure_sets(connection, "demo", [LINK_SET], ["sku"])[LINK_SET]
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as ledger:
        ledger.execute("PRAGMA journal_mode = OFF")
        ledger.execute("PRAGMA synchronous = OFF")
        ledger.execute("PRAGMA cache_size = -200000")
        ledger.execute("BEGIN")
        ledger.executemany(
            "INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", _rows(catalog, set_id)
        )
        for statement in (_OPERATIONS, _LINKS, _BODIES) if whole else (_OPERATIONS,):
            ledger.execute(statement)
        ledger.execute("COMMIT")
        ledger.execute("PRAGMA journal_mode = WAL")


def _rows(catalog: Path, set_id: int) -> Iterator[tuple[object, ...]]:
    op_id = 0
    with pq.ParquetFile(catalog) as file:
        mapping = default_mapping(file.schema_arrow, unique_key=["sku"], link_set=LINK_SET)
        requests = prepare(
            file.iter_batches(),
            mapping,
            schema=file.schema_arrow,
            project_id="demo",
            limits=Limits(),
        )
        for batch in requests:
            keys, hashes = batch.column("row_key"), batch.column("content_hash")
            for key, content in zip(keys.to_pylist(), hashes.to_pylist(), strict=True):
                op_id += 1
                yield (set_id, key, op_id, content, f"lnk_{op_id:026d}", MADE_AT, RUN)


def make_night(folder: Path, rows: int, *, whole: bool = False) -> tuple[Path, Path]:
    """Make both in a folder, unless they are there; return the catalog's and the ledger's path."""
    catalog = folder / f"catalog-{rows}.parquet"
    ledger = folder / f"ledger-{rows}{'-whole' if whole else ''}.db"
    if not catalog.exists():
        make_catalog(catalog, rows)
    if not ledger.exists():
        fill_ledger(ledger, catalog, whole=whole)
    return catalog, ledger


def main() -> None:
    """Make a night and name its files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--whole", action="store_true", help="also all that publishing reads")
    options = parser.parse_args()
    for path in make_night(options.folder, options.rows, whole=options.whole):
        print(path)


if __name__ == "__main__":
    main()
