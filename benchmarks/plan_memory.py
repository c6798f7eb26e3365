"""Memory of a night in which nothing changed: plan many rows over a ledger that has them all.

    python benchmarks/plan_memory.py [--rows 2000000] [--quick]

The catalog is a Parquet file and the ledger is filled directly; planning runs in a process of its
own, whose largest resident memory is printed with the time that it took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from incarts_pipeline import PlanRequest, load_settings, plan_catalog
from incarts_pipeline.ledger import tables
from incarts_pipeline.ledger.file import prepare_file
from incarts_pipeline.ledger.lookups import ensure_sets
from incarts_pipeline.mapping import default_mapping
from incarts_pipeline.models import Action, Limits
from incarts_pipeline.prepare import prepare

BASE_URL = "https://api.incarts.example"
CHUNK = 100_000


def make_catalog(path: Path, rows: int) -> None:
    """Write a catalog that needs no mapping."""
    writer = None
    for start in range(0, rows, CHUNK):
        numbers = range(start, min(rows, start + CHUNK))
        table = pa.table(
            {
                "sku": [f"{i:012d}" for i in numbers],
                "name": [f"Product number {i}" for i in numbers],
                "retailer": ["walmart"] * len(numbers),
                "intent": ["add_to_cart"] * len(numbers),
                "retailer_product_id": [str(500_000_000 + i) for i in numbers],
                "quantity": [1 + i % 3 for i in numbers],
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def fill_ledger(path: Path, catalog: Path) -> None:
    """Record a link for every row of the catalog, as a first night would have."""
    engine = prepare_file(path, BASE_URL)
    file = pq.ParquetFile(catalog)
    mapping = default_mapping(file.schema_arrow, unique_key=["sku"], link_set="nightly")
    requests = prepare(
        file.iter_batches(), mapping, schema=file.schema_arrow, project_id="demo", limits=Limits()
    )
    group = bytes(32)
    with engine.begin() as connection:
        set_id = ensure_sets(connection, "demo", ["nightly"], ["sku"])["nightly"]
        op_id = 0
        for batch in requests:
            operations, rows = [], []
            keys = batch.column("row_key").to_pylist()
            for key, content in zip(keys, batch.column("content_hash").to_pylist(), strict=True):
                op_id += 1
                operations.append(
                    {
                        "op_id": op_id,
                        "idempotency_key": f"incarts1-{op_id:040d}",
                        "set_id": set_id,
                        "row_key": key,
                        "generation": 0,
                        "action": "create",
                        "retailer": "walmart",
                        "intent": "add_to_cart",
                        "content_hash": content,
                        "destination_hash": group,
                        "tracking_hash": group,
                        "label_hash": group,
                        "recipe": 1,
                        "state": "done",
                        "intended_at": 0,
                    }
                )
                rows.append(
                    {
                        "set_id": set_id,
                        "row_key": key,
                        "op_id": op_id,
                        "content_hash": content,
                        "link_id": f"lnk_{op_id:026d}",
                        "changed_at": 0,
                        "run_id": "first",
                    }
                )
            connection.execute(sa.insert(tables.operation), operations)
            connection.execute(sa.insert(tables.row), rows)
    engine.dispose()


def plan_once(catalog: Path, ledger: Path) -> None:
    """Plan, and print rows, time and largest memory as JSON."""
    settings = load_settings(base_url=BASE_URL, project_id="demo", ledger=ledger)
    began = time.perf_counter()
    request = PlanRequest(catalog=catalog, link_set="nightly", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        actions = plan.figures.rows_by_action()
    print(
        json.dumps(
            {
                "unchanged": actions[Action.UNCHANGED],
                "rows": sum(actions.values()),
                "seconds": round(time.perf_counter() - began, 2),
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


def main() -> None:
    """Make catalog and ledger, then plan in a fresh process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plan", nargs=2, type=Path, metavar=("CATALOG", "LEDGER"))
    options = parser.parse_args()
    if options.plan:
        plan_once(*options.plan)
        return
    with tempfile.TemporaryDirectory() as folder:
        catalog, ledger = Path(folder) / "catalog.parquet", Path(folder) / "ledger.db"
        make_catalog(catalog, 200_000 if options.quick else options.rows)
        fill_ledger(ledger, catalog)
        command = [sys.executable, __file__, "--plan", str(catalog), str(ledger)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
