"""A quiet night at several sizes: plan a catalog of which every row has its link, and publish it.

    python benchmarks/growth.py [--rows 1000000 10000000] [--publish] [--quick] [--folder DIR]

Each night is planned in a process of its own. Printed are the time, the processor time of that
process and of the one that reads the ledger for it, and the largest resident memory, which counts
the table that publishing leaves as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.night import BASE_URL, LINK_SET, make_night
from incarts_pipeline import PlanRequest, apply_plan, load_settings, plan_catalog, run_blocking
from incarts_pipeline.models import Action

SIZES = [1_000_000, 2_000_000, 5_000_000, 10_000_000]
QUICK = [50_000]


def measured(catalog: Path, ledger: Path, output: Path | None) -> dict[str, Any]:
    """Plan here, publish if there is an output, and say what it took."""
    settings = load_settings(
        base_url=BASE_URL, project_id="demo", api_key="ic_benchmark_key", ledger=ledger
    )
    began = time.perf_counter()
    request = PlanRequest(catalog=catalog, link_set=LINK_SET, unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        found = {"plan": _so_far(began)}
        if output is not None:
            run_blocking(lambda stop: apply_plan(plan, settings, output, stop=stop))
            found["publish"] = _so_far(began)
        actions = plan.figures.rows_by_action()
    if actions[Action.UNCHANGED] != sum(actions.values()):
        raise RuntimeError("the night was not a quiet one")
    return {"rows": sum(actions.values()), **found}


def _so_far(began: float) -> dict[str, float]:
    here = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": here.ru_utime + here.ru_stime + child.ru_utime + child.ru_stime,
        "megabytes": here.ru_maxrss / 1024,
    }


def night(folder: Path, rows: int, *, publish: bool) -> dict[str, Any]:
    """Make a night and measure it in a process of its own."""
    catalog, ledger = make_night(folder, rows, whole=publish)
    command = [sys.executable, __file__, "--measure", str(catalog), str(ledger)]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        if publish:
            command.append(f"{place}/links.parquet")
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def line(found: dict[str, Any]) -> str:
    """Return one night's figures as text."""
    parts = [
        f"{workspace} {f['seconds']:7.1f} s  {f['cpu']:7.1f} s CPU  {f['megabytes']:6,.0f} MB"
        for workspace, f in found.items()
        if isinstance(f, dict)
    ]
    return f"{found['rows']:>12,} rows   " + "   ".join(parts)


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep catalogs and ledgers here")
    parser.add_argument("--measure", nargs="+", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(*options.measure[:2], next(iter(options.measure[2:]), None))))
        return
    print(f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for rows in QUICK if options.quick else options.rows:
            print(line(night(options.folder or Path(folder), rows, publish=options.publish)))


if __name__ == "__main__":
    main()
