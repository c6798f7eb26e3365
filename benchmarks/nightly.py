"""What Dagster's nightly run costs: imports, the code location, and a night with nothing to do.

    python benchmarks/nightly.py [--rows 100000] [--rounds 3] [--quick]

All is measured in processes of their own, in turn, and the medians are printed, in seconds and in
seconds of CPU, which a busy machine distorts less: our import on top of Dagster's, loading
`dagster_defs`, and `dg launch --job` over a catalog whose links all exist, beside a job that has
one asset which does nothing. After a night that changed nothing the published files are left as
they are; after one that did, as measured apart, all of them are written.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.night import products
from incarts_pipeline import PlanRequest, apply_plan, load_settings, plan_catalog, run_blocking

ROOT = Path(__file__).parent.parent
_IMPORT = """
import time
import dagster
began = time.perf_counter()
import incarts_pipeline.dagster
print(time.perf_counter() - began)
"""
_LOAD = """
import time
import dagster
began = time.perf_counter()
from dagster_defs.definitions import defs
defs().get_repository_def().load_all_definitions()
print(time.perf_counter() - began)
"""
_DAGSTER = """
import time
began = time.perf_counter()
import dagster
print(time.perf_counter() - began)
"""
_PROJECT = """
[project]
name = "nightly"
version = "1"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "nightly"
code_location_target_module = "nightly"
"""
_DEFINITIONS = """
import dagster as dg
from incarts_pipeline.dagster import build_incarts_links_asset, build_incarts_links_job

@dg.asset
def empty() -> None:
    pass

links = build_incarts_links_asset(
    catalog="products.parquet", output="links.parquet", link_set="night", unique_key=["sku"]
)
defs = dg.Definitions(
    assets=[empty, links],
    jobs=[
        build_incarts_links_job("nothing", ["empty"]),
        build_incarts_links_job("night", links.key),
    ],
)
"""


def said(code: str) -> float:
    """Return the seconds that a fresh process prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def make_project(folder: Path, rows: int) -> dict[str, str]:
    """Make a project whose links all exist; return the environment of its runs."""
    (folder / "nightly").mkdir()
    (folder / "home").mkdir()
    (folder / "pyproject.toml").write_text(_PROJECT)
    (folder / "nightly" / "__init__.py").write_text(_DEFINITIONS)
    pq.write_table(products(0, rows), folder / "products.parquet")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "fast_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        base_url = server.stdout.readline().strip() if server.stdout else ""
        environment = {
            "INCARTS_API_BASE_URL": base_url,
            "INCARTS_API_KEY": "ic_benchmark_key",
            "INCARTS_PROJECT_ID": "demo",
            "INCARTS_LEDGER": str(folder / "ledger.db"),
            "INCARTS_RATE": "fixed:none",
        }
        os.environ.update(environment)
        settings = load_settings()
        request = PlanRequest(
            catalog=folder / "products.parquet", link_set="night", unique_key=("sku",)
        )
        with plan_catalog(request, settings) as plan:
            run_blocking(
                lambda stop: apply_plan(plan, settings, folder / "links.parquet", stop=stop)
            )
    finally:
        server.terminate()
        server.wait(10)
    home = {"DAGSTER_HOME": str(folder / "home"), "VIRTUAL_ENV": sys.prefix}
    return os.environ | environment | home


def launch(folder: Path, job: str, environment: dict[str, str]) -> float:
    """Return the seconds of `dg launch --job`."""
    dg = str(Path(sys.executable).with_name("dg"))
    began = time.perf_counter()
    done = subprocess.run(
        [dg, "launch", "--job", job], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - began


def launch_and_write(folder: Path, job: str, environment: dict[str, str]) -> float:
    """Return the seconds of `dg launch --job` after a change of the ledger, such as a new link."""
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("UPDATE operation SET state = state WHERE op_id = 1")
    connection.close()
    return launch(folder, job, environment)


def cpu_seconds() -> float:
    """Return what the processes that ended used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def both_of(measure: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds that are measured, and those of CPU."""
    before = cpu_seconds()
    return measure(), cpu_seconds() - before


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="1,000 rows, one round, only launching"
    )
    options = parser.parse_args()
    rows, rounds = (1_000, 1) if options.quick else (options.rows, options.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = make_project(folder, rows)
        ours, dagsters = f"launch, {rows:,} rows, nothing to do", "launch, an empty asset"
        written = "the same, all files written again"
        measures: dict[str, Callable[[], float]] = {
            "import dagster": lambda: said(_DAGSTER),
            "import incarts_pipeline.dagster on top": lambda: said(_IMPORT),
            "load the code location": lambda: said(_LOAD),
            dagsters: lambda: launch(folder, "nothing", environment),
            ours: lambda: launch(folder, "night", environment),
            written: lambda: launch_and_write(folder, "night", environment),
        }
        if options.quick:
            measures = {what: measures[what] for what in (dagsters, ours)}
        warming = [measures[ours]] if options.quick else measures.values()
        for measure in warming:  # fills caches, and makes Dagster's databases
            measure()
        found = {
            what: [both_of(measure) for _ in range(rounds)] for what, measure in measures.items()
        }
    medians = {
        what: [statistics.median(times) for times in zip(*pairs, strict=True)]
        for what, pairs in found.items()
    }
    print(f"{'':44}{'seconds':>10}{'of CPU':>10}")
    for what, (wall, cpu) in medians.items():
        print(
            f"{what:44}{wall:10.2f}{f'{cpu:.2f}' if what in (dagsters, ours, written) else '':>10}"
        )
    ratios = [a / b for a, b in zip(medians[ours], medians[dagsters], strict=True)]
    print(f"{'ours over the empty asset':44}{ratios[0]:9.2f}×{ratios[1]:9.2f}×")


if __name__ == "__main__":
    main()
