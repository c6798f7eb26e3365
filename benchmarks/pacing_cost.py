"""What pacing costs where there is no limit to meet: shared and adaptive, against none at all.

    python benchmarks/pacing_cost.py [--rows 10000] [--rounds 5] [--warm 20000]

Both write to one ledger with everything on, in turn, against `fast_server.py` in another process;
the adaptive one, with `--max-rps none`, goes on from the pace that an earlier run reached. The
cost is told in links a second, and in this process's CPU, which a busy machine distorts less.
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


def seconds(base_url: str, folder: str, rate: str, name: str, rows: int) -> tuple[float, float]:
    """Write a new link set; return the seconds that the writing took, and those of CPU."""
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
        began, used = time.perf_counter(), time.process_time()
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
    return time.perf_counter() - began, time.process_time() - used


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", type=int, default=20_000, help="rows that find the pace")
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
                seconds(base_url, folder, rate, f"warm {rate}", options.warm)
            found: dict[str, list[tuple[float, float]]] = {rate: [] for rate in RATES}
            for i in range(options.rounds):
                for rate in RATES[:: -1 if i % 2 else 1]:  # the ledger grows meanwhile
                    found[rate].append(seconds(base_url, folder, rate, f"{i} {rate}", options.rows))
    finally:
        server.terminate()
        server.wait(10)
    for rate, times in found.items():
        speeds = [options.rows / took for took, _ in times]
        print(f"{rate:12} {statistics.median(speeds):8,.0f} links/s  {[round(s) for s in speeds]}")
    pairs = [(b[0] / a[0], b[1] / a[1]) for a, b in zip(*found.values(), strict=True)]
    slower, dearer = (statistics.median(ratios) - 1 for ratios in zip(*pairs, strict=True))
    print(f"{'cost':12} {slower:8.1%} of time, {dearer:.1%} of CPU")


if __name__ == "__main__":
    main()
