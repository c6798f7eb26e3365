"""Links a second: ours against the loop that people write by hand, on one fast local server.

    python benchmarks/write.py [--rows 3000] [--rounds 3] [--quick]

The hand-written loop is httpx.AsyncClient, a semaphore of 32, asyncio.gather and tenacity, with a
fresh idempotency key for each row and no memory of what it sent. Ours has everything on: ledger
with fsync, idempotency keys, guards, progress counts and publishing. Both run in this process, in
turn, against `fast_server.py` in another one; the median of each and their ratio are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import pyarrow as pa
import tenacity

from incarts_pipeline import (
    PlanRequest,
    WriteOptions,
    apply_plan,
    load_settings,
    plan_catalog,
    run_blocking,
)

IN_FLIGHT = 32


def products(rows: int) -> pa.Table:
    """Return a catalog that needs no mapping."""
    return pa.table(
        {
            "sku": [f"{i:09d}" for i in range(rows)],
            "name": [f"Product number {i}" for i in range(rows)],
            "retailer": ["walmart"] * rows,
            "intent": ["add_to_cart"] * rows,
            "retailer_product_id": [str(500_000_000 + i) for i in range(rows)],
            "quantity": [1 + i % 3 for i in range(rows)],
        }
    )


async def by_hand(base_url: str, table: pa.Table) -> None:
    """Send every row as most people would."""
    gate = asyncio.Semaphore(IN_FLIGHT)
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(base_url=base_url, limits=limits) as client:

        @tenacity.retry(
            stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_random_exponential(max=10)
        )
        async def send(row: dict[str, object]) -> str:
            body = {
                "projectId": "demo",
                "name": row["name"],
                "retailer": row["retailer"],
                "intent": row["intent"],
                "products": [
                    {
                        "retailerProductId": row["retailer_product_id"],
                        "quantity": row["quantity"],
                    }
                ],
            }
            headers = {"X-Incarts-API-Key": "k", "Idempotency-Key": uuid.uuid4().hex}
            async with gate:
                answer = await client.post("/v1/links", json=body, headers=headers)
            answer.raise_for_status()
            return str(answer.json()["data"]["id"])

        ids = await asyncio.gather(*(send(row) for row in table.to_pylist()))
    if len(set(ids)) != table.num_rows:
        raise RuntimeError("the loop lost a row")


def ours(base_url: str, table: pa.Table) -> None:
    """Plan, write and publish every row, with a new ledger."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            base_url=base_url,
            api_key="ic_benchmark_key",
            project_id="demo",
            ledger=Path(folder) / "ledger.db",
            rate="fixed:none",
        )
        request = PlanRequest(catalog=table, link_set="benchmark", unique_key=("sku",))
        options = WriteOptions(max_in_flight=IN_FLIGHT)
        with plan_catalog(request, settings) as plan:
            result = run_blocking(
                lambda stop: apply_plan(
                    plan, settings, f"{folder}/links.parquet", options=options, stop=stop
                )
            )
    if result.written.accepted != table.num_rows:
        raise RuntimeError("a row was lost")


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows, rounds = (1_000, 2) if options.quick else (options.rows, options.rounds)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "fast_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        base_url = server.stdout.readline().strip() if server.stdout else ""
        ours(base_url, products(50))
        rates: dict[str, list[float]] = {"by hand": [], "incarts_pipeline": []}
        for _ in range(rounds):
            for name, share in (("by hand", 4), ("incarts_pipeline", 1)):
                table = products(rows // share)
                began = time.perf_counter()
                if name == "by hand":
                    asyncio.run(by_hand(base_url, table))
                else:
                    ours(base_url, table)
                rates[name].append(table.num_rows / (time.perf_counter() - began))
    finally:
        server.terminate()
        server.wait(10)
    for name, found in rates.items():
        print(f"{name:18} {statistics.median(found):8,.0f} links/s  {[round(f) for f in found]}")
    ratio = statistics.median(rates["incarts_pipeline"]) / statistics.median(rates["by hand"])
    print(f"{'ratio':18} {ratio:8.1f}")


if __name__ == "__main__":
    main()
