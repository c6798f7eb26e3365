"""Plan, write and publish rows with everything on, for `compare.py`: prints what it took as JSON.

    python benchmarks/ours.py URL ROWS

On are the ledger with fsync, idempotency keys, guards, validation, shared and adaptive rate control
(`--max-rps none`), progress counts and the published tables; how many are in flight is left to it.
Two runs have warmed the ledger up, and the pace at which the first one's requests left is given to
it as one that met no limit, as every night's run but the first has it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from pydantic import SecretStr

from benchmarks.night import products
from benchmarks.transports import measure
from incarts_pipeline import PlanRequest, apply_plan, load_settings, plan_catalog, run_blocking
from incarts_pipeline.clock import Clock
from incarts_pipeline.ledger.database import once
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.limits import save_rate
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.settings import key_fingerprint
from incarts_pipeline.write.metrics import RunMetrics
from incarts_pipeline.write.run import Writer

KEY = "ic_benchmark_key"
IN_FLIGHT = 32  # of the HTTP client by itself
WARM_UP = 3_000
_spent: dict[str, float] = {}


def note_cpu() -> None:
    """Have the ledger's thread and the loop's writing note the processor time that they take."""
    work, run = Journal._work, Writer.run

    @functools.wraps(work)
    def noted_work(self: Journal) -> None:
        began = time.thread_time()
        work(self)
        _spent["ledger"] = time.thread_time() - began

    @functools.wraps(run)
    async def noted_run(self: Writer) -> Any:
        began = time.thread_time(), time.process_time(), time.perf_counter()
        result = await run(self)
        _spent["loop"] = time.thread_time() - began[0]
        _spent["write"] = time.process_time() - began[1]
        _spent["pace"] = result.requests / (time.perf_counter() - began[2])
        return result

    Journal._work, Writer.run = noted_work, noted_run  # type: ignore[method-assign]


def leave_rate(ledger: Path, rate: float) -> None:
    """Have the ledger know that so many requests a second met no limit."""
    with once(ledger) as connection:
        learned = Learned(kind=LimitKind.OPEN, rate=rate)
        save_rate(connection, key_fingerprint(SecretStr(KEY)), learned, Clock().now())


def send(
    base_url: str, ledger: Path, name: str, rows: int, rate: str = "adaptive"
) -> dict[str, float]:
    """Send a new link set; return rows a second and processor milliseconds per row."""
    settings = load_settings(
        base_url=base_url,
        api_key=KEY,
        project_id="demo",
        ledger=ledger,
        max_rps="none",
        rate=rate,
    )
    request = PlanRequest(catalog=products(0, rows), link_set=name, unique_key=("sku",))
    began, cpu = time.perf_counter(), time.process_time()
    with plan_catalog(request, settings) as plan:
        planned = time.process_time() - cpu
        result = run_blocking(
            lambda stop: apply_plan(
                plan,
                settings,
                ledger.with_name(f"{name}.parquet"),
                metrics=RunMetrics(planned=rows),
                stop=stop,
            )
        )
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    if result.written.accepted != rows:
        raise RuntimeError("a row was lost")
    per_row = {"cpu": cpu, "preparing": planned, "ledger": _spent["ledger"]}
    per_row |= {"loop": _spent["loop"], "publishing": cpu - planned - _spent["write"]}
    return {"speed": rows / took, **{name: x / rows * 1e3 for name, x in per_row.items()}}


def main(base_url: str, rows: int) -> None:
    """Warm up, measure, and measure the HTTP client by itself."""
    note_cpu()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.db"
        few = min(WARM_UP, rows)
        send(base_url, ledger, "first", few, "fixed:none")
        leave_rate(ledger, _spent["pace"])
        send(base_url, ledger, "second", few)
        found = send(base_url, ledger, "measured", rows)
    alone, _ = asyncio.run(measure("IncartsClient", base_url, IN_FLIGHT, rows))
    found["http"] = alone * 1e3
    found["rest"] = found["cpu"] - sum(
        found[part] for part in ("preparing", "http", "ledger", "publishing")
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
