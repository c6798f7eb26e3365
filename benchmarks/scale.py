"""Nights of a dataset: what they cost when nothing, or one row in a hundred, is another.

    python benchmarks/scale.py [--rows 1000000] [--files 4] [--folder DIR] [--quick]

The catalog is Parquet, and every row has its link. Each night is planned and published in a process
of its own: all rows at first, then the same files, the same rows in files that were written again,
and rows of which one in a hundred has another product. Changes are held, so that no link is made.
Printed are the time, the processor time of that process and of those that read the ledger for it,
its largest resident memory, and how many files of the dataset it wrote.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.night import BASE_URL, CHUNK, LINK_SET, fill_ledger, make_catalog, products
from incarts_pipeline import PlanRequest, apply_plan, load_settings, plan_catalog, run_blocking

_ONE_IN = 100
MAPPING = {
    "link_set": LINK_SET,
    "unique_key": ["sku"],
    "link": {
        "name": {"column": "name"},
        "retailer": {"column": "retailer"},
        "intent": {"column": "intent"},
        "products": {
            "retailer_product_id": {"column": "retailer_product_id"},
            "quantity": {"column": "quantity"},
        },
    },
    "on_change": {"destination": "hold"},
}


def measured(folder: Path) -> dict[str, Any]:
    """Plan and publish here, and say what it took."""
    settings = load_settings(
        base_url=BASE_URL,
        project_id="demo",
        api_key="ic_benchmark_key",
        ledger=folder / "ledger.db",
    )
    output = f"{folder}/links/"
    request = PlanRequest(catalog=folder / "catalog", mapping=MAPPING)
    began = time.perf_counter()
    with plan_catalog(request, settings, output=output) as plan:
        planned = time.perf_counter() - began
        run_blocking(lambda stop: apply_plan(plan, settings, output, stop=stop))
        part = plan.is_part
        figures = {a.value: n for a, n in plan.figures.rows_by_action().items() if n}
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "plan": planned,
        "seconds": time.perf_counter() - began,
        "cpu": sum(one.ru_utime + one.ru_stime for one in used),
        "megabytes": used[0].ru_maxrss / 1024,
        "part": part,
        "actions": figures,
    }


def write_catalog(folder: Path, rows: int, files: int, *, changed: bool = False) -> None:
    """Write the catalog's files."""
    folder.mkdir(exist_ok=True)
    each = -(-rows // files)
    for file in range(files):
        first, end = file * each, min((file + 1) * each, rows)
        with pq.ParquetWriter(folder / f"part-{file}.parquet", products(0, 1).schema) as writer:
            for start in range(first, end, CHUNK):
                table = products(start, min(CHUNK, end - start))
                writer.write_table(_changed(table) if changed else table)


def _changed(table: pa.Table) -> pa.Table:
    """Give one row in a hundred another product."""
    at = table.schema.get_field_index("retailer_product_id")
    ids = table["retailer_product_id"]
    odd = pc.equal(pc.ends_with(table["sku"], "77"), True)
    return table.set_column(
        at, table.schema.field(at), pc.if_else(odd, pc.binary_join_element_wise(ids, "9", ""), ids)
    )


def night(folder: Path) -> dict[str, Any]:
    """Run a night in a process of its own."""
    before = _written(folder)
    command = [sys.executable, __file__, "--measure", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    now = _written(folder)
    return {**json.loads(done.stdout), "files": len(now - before)}


def _written(folder: Path) -> set[tuple[str, int]]:
    files = (path for path in (folder / "links").rglob("*") if path.is_file())
    return {(str(path), path.stat().st_mtime_ns) for path in files}


def main() -> None:
    """Let four nights pass, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    rows = 20_000 if options.quick else options.rows
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "ledger.db").exists():
            make_catalog(folder / "all.parquet", rows)
            fill_ledger(folder / "ledger.db", folder / "all.parquet", whole=True)
        write_catalog(folder / "catalog", rows, options.files)
        again: Callable[..., None] = lambda **how: write_catalog(  # noqa: E731 - a few words
            folder / "catalog", rows, options.files, **how
        )
        nights: dict[str, Callable[[], None]] = {
            "all rows": lambda: None,
            "the same files": lambda: None,
            "written again": again,
            "1 % changed": lambda: again(changed=True),
            "1 % held": lambda: None,
        }
        for what, prepare in nights.items():
            prepare()
            one = night(folder)
            print(
                f"{rows:>11,} rows  {what:15} plan {one['plan']:6.1f} s"
                f"  all {one['seconds']:6.1f} s"
                f"  {one['cpu']:7.1f} s CPU  {one['megabytes']:6,.0f} MB  {one['files']:4} files"
                f"  {'part' if one['part'] else 'whole'}  {one['actions']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
