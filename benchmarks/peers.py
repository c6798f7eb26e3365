"""What people use to send rows to an API, each on the same rows; runs in an environment of its own.

    .venv-bench/bin/python benchmarks/peers.py NAME URL ROWS

Each keeps to the ways of its documentation, with an idempotency key for every row and without a
rate limit. None remembers what it sent. Printed is a JSON object: rows a second, and processor
milliseconds per row.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

IN_FLIGHT = 32
KEY = "X-Incarts-API-Key"


def records(rows: int) -> list[dict[str, Any]]:
    """Return the rows of the catalog that ours sends."""
    return [
        {
            "sku": f"{i:012d}",
            "name": f"Product number {i}",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "retailer_product_id": str(500_000_000 + i),
            "quantity": 1 + i % 2,
        }
        for i in range(rows)
    ]


def body_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a row's call."""
    product = {"retailerProductId": row["retailer_product_id"], "quantity": row["quantity"]}
    return {
        "projectId": "demo",
        "name": row["name"],
        "retailer": row["retailer"],
        "intent": row["intent"],
        "products": [product],
    }


def by_hand(url: str, rows: list[dict[str, Any]]) -> int:
    """httpx.AsyncClient, gather, a semaphore and tenacity: the loop that most would write."""
    import httpx
    import tenacity

    async def run() -> int:
        throttle = asyncio.Semaphore(IN_FLIGHT)
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(limits=limits) as client:

            @tenacity.retry(
                stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_random_exponential(max=10)
            )
            async def send(row: dict[str, Any]) -> str:
                headers = {KEY: "k", "Idempotency-Key": uuid.uuid4().hex}
                async with throttle:
                    answer = await client.post(url, json=body_of(row), headers=headers)
                answer.raise_for_status()
                return str(answer.json()["data"]["id"])

            return len(set(await asyncio.gather(*(send(row) for row in rows))))

    return asyncio.run(run())


def bare_aiohttp(url: str, rows: list[dict[str, Any]]) -> int:
    """Aiohttp and nothing else: no retry, no check, no record."""
    import aiohttp

    async def run() -> int:
        todo, made = iter(rows), set()
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                for row in todo:
                    headers = {KEY: "k", "Idempotency-Key": uuid.uuid4().hex}
                    async with session.post(url, json=body_of(row), headers=headers) as answer:
                        made.add((await answer.json())["data"]["id"])

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return len(made)

    return asyncio.run(run())


def drt(url: str, rows: list[dict[str, Any]]) -> int:
    """drt-core's engine and REST destination: one request at a time, batches of its own size."""
    from drt.config.credentials import DuckDBProfile
    from drt.config.models import (
        RateLimitConfig,
        RestApiDestinationConfig,
        SyncConfig,
        SyncOptions,
    )
    from drt.destinations.rest_api import RestApiDestination
    from drt.engine.sync import run_sync
    from drt.sources.fake import FakeSource

    template = (
        '{"projectId": "demo", "name": {{ row.name | tojson }}, "retailer": "{{ row.retailer }}", '
        '"intent": "{{ row.intent }}", "products": [{"retailerProductId": '
        '"{{ row.retailer_product_id }}", "quantity": {{ row.quantity }}}]}'
    )
    config = RestApiDestinationConfig(
        type="rest_api",
        url=url,
        headers={KEY: "k", "Content-Type": "application/json"},
        body_template=template,
        native_idempotency_key="incarts-{{ row.sku }}",
        rate_limit=RateLimitConfig(requests_per_second=0),
    )
    sync = SyncConfig(
        name="links", model="SELECT 1", destination=config, sync=SyncOptions(on_error="fail")
    )
    profile = DuckDBProfile(type="duckdb", database=":memory:")
    result = run_sync(sync, FakeSource(rows=rows), RestApiDestination(), profile, Path.cwd())
    if result.failed:
        raise RuntimeError(str(result.row_errors[:1]))
    return int(result.success)


def with_dlt(url: str, rows: list[dict[str, Any]]) -> int:
    """A dlt destination function, which gets the rows one by one, with dlt's own client."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.helpers import requests

    made = []

    @dlt.destination(batch_size=1, name="incarts", naming_convention="direct")
    def links(items: list[dict[str, Any]], _table: Any) -> None:
        for row in items:
            headers = {KEY: "k", "Idempotency-Key": uuid.uuid4().hex}
            answer = requests.post(url, json=body_of(row), headers=headers)
            made.append(answer.json()["data"]["id"])

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline("benchmark", destination=links, pipelines_dir=folder)
        pipeline.run(rows, table_name="links").raise_on_failed_jobs()
    return len(set(made))


PEERS: dict[str, Callable[[str, list[dict[str, Any]]], int]] = {
    "by hand": by_hand,
    "bare aiohttp": bare_aiohttp,
    "drt-core": drt,
    "dlt": with_dlt,
}


def main(name: str, base_url: str, rows: int) -> None:
    """Send the rows once and print what it took; imports and a first request don't count."""
    peer, table = PEERS[name], records(rows)
    peer(f"{base_url}/v1/links", table[:1])
    began, cpu = time.perf_counter(), time.process_time()
    made = peer(f"{base_url}/v1/links", table)
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    if made != rows:
        raise RuntimeError(f"{name} made {made} links of {rows} rows")
    print(json.dumps({"speed": rows / took, "cpu": cpu / rows * 1e3}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
