"""Rows per second of prepare, against the usual loop over dicts, on the same rows in one run.

    python benchmarks/prepare.py --rows 200000

The loop is what one would write without this library: `to_dict("records")`, a dict and
`json.dumps` per row, `hashlib` over it; it checks nothing. Both take turns, medians are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare

MAPPING = load_mapping(
    """
link_set: benchmark
unique_key: [sku]
link:
  name: "{brand} {title}"
  public_name: {column: title}
  retailer: walmart
  intent: add_to_cart
  products:
    retailer_product_id: {column: item}
    quantity: {column: qty}
  location: {zip_code: {column: zip}}
  fallback_url: {column: url}
  tracking: {utm: {source: newsletter, campaign: {column: campaign}}}
"""
)


def catalog(rows: int) -> pa.Table:
    """Make a catalog of eight text columns and a number, every 50th title with quotes."""
    numbers = range(rows)
    quote = {0: '"'}
    return pa.table(
        {
            "sku": [f"{n:09d}" for n in numbers],
            "brand": [f"Brand {n % 97}" for n in numbers],
            "title": [f"Whole Bean Coffee {n}, 12{quote.get(n % 50, '')} oz" for n in numbers],
            "item": [str(500_000_000 + n) for n in numbers],
            "qty": [1 + n % 3 for n in numbers],
            "zip": [f"{10_000 + n % 80_000}" for n in numbers],
            "url": [f"https://www.walmart.com/ip/{n}" for n in numbers],
            "campaign": [f"week-{n % 10}" for n in numbers],
        }
    )


def by_columns(table: pa.Table) -> list[bytes]:
    """Prepare the table and return its content hashes."""
    batches = prepare(
        table.to_batches(max_chunksize=65_536),
        MAPPING,
        schema=table.schema,
        project_id="project",
        limits=Limits(),
    )
    return [digest for batch in batches for digest in batch.column("content_hash").to_pylist()]


def by_rows(table: pa.Table) -> list[bytes]:
    """Do the same with a dict per row, without any check."""
    frame = table.to_pandas()
    return [
        hashlib.sha256(
            json.dumps(
                _content(row), ensure_ascii=False, separators=(",", ":"), sort_keys=True
            ).encode()
        ).digest()
        for row in frame.to_dict("records")
    ]


def _content(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "projectId": "project",
        "name": f"{row['brand']} {row['title']}",
        "publicName": row["title"],
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": [{"retailerProductId": row["item"], "quantity": int(row["qty"])}],
        "location": {"zipCode": row["zip"]},
        "fallbackUrl": row["url"],
        "tracking": {"utm": {"source": "newsletter", "campaign": row["campaign"]}},
    }


def seconds(work: Callable[[pa.Table], list[bytes]], table: pa.Table) -> float:
    """Return how long the work took."""
    began = time.perf_counter()
    work(table)
    return time.perf_counter() - began


def main() -> None:
    """Run both in turns and print rows per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, three turns")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.turns = arguments.rows // 10, 3
    table = catalog(arguments.rows)
    if by_columns(table) != by_rows(table):
        raise SystemExit("both must come to the same hashes")
    turns = [(seconds(by_columns, table), seconds(by_rows, table)) for _ in range(arguments.turns)]
    ours, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
    print(f"{'prepare, with all checks':<28}{arguments.rows / ours:>12,.0f} rows/s")
    print(f"{'dict per row, unchecked':<28}{arguments.rows / theirs:>12,.0f} rows/s")
    print(f"{'ratio':<28}{theirs / ours:>12.1f}")


if __name__ == "__main__":
    main()
