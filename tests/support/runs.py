"""Catalogs to send, and runs that end where a test wants them to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from incarts_pipeline.clock import Clock
from incarts_pipeline.models import Reason
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import Stop, run_blocking
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.options import WriteOptions

Result = TypeVar("Result")
Run = Callable[..., RunResult]
Make = Callable[..., RunResult]  # the same, of QR codes


def products(n: int, **columns: list[object]) -> pa.Table:
    """Return a catalog of `n` Walmart products that needs no mapping."""
    base: dict[str, list[object]] = {
        "sku": [f"{i:06d}" for i in range(n)],
        "name": [f"Product {i}" for i in range(n)],
        "retailer": ["walmart"] * n,
        "intent": ["add_to_cart"] * n,
        "retailer_product_id": [str(500_000 + i) for i in range(n)],
        "quantity": [1] * n,
    }
    return pa.table(base | columns)


def run_until(
    requests: int | None, work: Callable[[Stop, RunMetrics], Awaitable[Result]]
) -> Result:
    """Run something; end it as --max-duration does, once it has begun so many requests."""

    async def ended(stop: Stop) -> Result:
        metrics = RunMetrics()

        async def watch() -> None:
            while requests is None or metrics.requests < requests:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            stop.request(Reason.OUT_OF_TIME)

        watching = asyncio.create_task(watch())
        try:
            return await work(stop, metrics)
        finally:
            watching.cancel()

    return run_blocking(ended)


def apply_at(settings: Settings, clock: Clock, n: int = 1, **options: object) -> RunResult:
    """Plan and apply `n` products at a time of the test's choosing."""
    request = PlanRequest(catalog=products(n), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings, clock=clock) as plan:
        return run_blocking(
            lambda stop: apply_plan(
                plan,
                settings,
                "links.parquet",
                options=WriteOptions(**options),  # type: ignore[arg-type]
                stop=stop,
                clock=clock,
            )
        )


def row() -> dict[str, object]:
    """Return the only row of links.parquet."""
    [only] = pq.read_table("links.parquet").to_pylist()
    return only
