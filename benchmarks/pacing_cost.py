"""What pacing costs where there is no limit to meet: shared and adaptive, against none at all.

    python benchmarks/pacing_cost.py [--rows 10000] [--rounds 5]

Both write to one ledger with everything on, in turn, against `fast_server.py` in another process;
the adaptive one, with `--max-rps none`, goes on from the pace that an earlier run reached.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.night import products
from incarts_pipeline import (
    PlanRequest,
    WriteOptions,
    apply_plan,
    load_settings,
    plan_catalog,
    run_blocking,
)

RATES = ("fixed:none", "adaptive")


def seconds(base_url: str, folder: str, rate: str, name: str, rows: int) -> float:
    """Write a new link set; return how long the writing took."""
    settings = load_settings(
        base_url=base_url,
        api_key="ic_benchmark_key",
        project_id="demo",
        ledger=Path(folder) / "ledger.db",
        rate=rate,
        max_rps="none",
    )
    request = PlanRequest(catalog=products(0, rows), link_set=name, unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        began = time.perf_counter()
        result = run_blocking(
            lambda stop: apply_plan(
                plan,
                settings,
                f"{folder}/{name}.parquet",
                options=WriteOptions(max_in_flight=32),
                stop=stop,
            )
        )
    if result.written.accepted != rows:
        raise RuntimeError("a row was lost")
    return time.perf_counter() - began


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "fast_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        base_url = server.stdout.readline().strip() if server.stdout else ""
        with tempfile.TemporaryDirectory() as folder:
            for rate in reversed(RATES):
                seconds(base_url, folder, rate, f"warm {rate}", 20_000)
            found: dict[str, list[float]] = {rate: [] for rate in RATES}
            for i in range(options.rounds):
                for rate in RATES:
                    took = seconds(base_url, folder, rate, f"{i} {rate}", options.rows)
                    found[rate].append(options.rows / took)
    finally:
        server.terminate()
        server.wait(10)
    for rate, speeds in found.items():
        print(f"{rate:12} {statistics.median(speeds):8,.0f} links/s  {[round(s) for s in speeds]}")
    pairs = [b / a for a, b in zip(*found.values(), strict=True)]
    print(f"{'cost':12} {1 - statistics.median(pairs):8.1%}")


if __name__ == "__main__":
    main()
