"""Start-up of the shell: processor seconds of whole processes, in turn with Typer and rich alone.

    python benchmarks/startup.py [--rounds 9] [--quick]

Each command runs in a folder with a ledger of 1,000 links and a catalog of 100 rows. Beside them
stand the interpreter, Typer with rich, and pandas reading the same catalog: what a command would
cost anyway.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import pyarrow as pa
import pyarrow.csv as pacsv

from benchmarks.compare import fast_server
from benchmarks.night import products

INCARTS = ("-c", "from incarts_pipeline.cli import main; main()")
KEY = ("--unique-key", "sku", "--link-set", "startup")
TYPER = """
import typer, rich.console
app = typer.Typer()
@app.command()
def hello(name: str = "x") -> None: "Say hello."
app()
"""
COMMANDS = {
    "python alone": ("-c", "pass"),
    "typer and rich, --help": ("-c", TYPER, "--help"),
    "pandas, read_csv of 100 rows": ("-c", "import pandas; pandas.read_csv('catalog.csv')"),
    "incarts --version": (*INCARTS, "--version"),
    "incarts --help": (*INCARTS, "--help"),
    "incarts plan --help": (*INCARTS, "plan", "--help"),
    "incarts status": (*INCARTS, "status"),
    "incarts stop": (*INCARTS, "stop"),
    "incarts review list": (*INCARTS, "review", "list"),
    "incarts show sku=…": (*INCARTS, "show", f"sku={0:012d}"),
    "incarts plan, 100 rows": (*INCARTS, "plan", "catalog.csv", *KEY, "--allow-empty"),
}


def run(arguments: tuple[str, ...], folder: str, environment: dict[str, str]) -> float:
    """Run Python with these arguments; return the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):  # 1 when a guard would refuse the plan
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: str, run_here: Callable[[tuple[str, ...]], float]) -> None:
    """Leave a ledger with links, and a catalog of which some have one."""
    table = pa.Table.from_batches([*products(0, 1_000).to_batches()])
    pacsv.write_csv(table, Path(folder) / "all.csv")
    pacsv.write_csv(table.slice(0, 100), Path(folder) / "catalog.csv")
    run_here((*INCARTS, "apply", "all.csv", "-o", "links.parquet", *KEY, "--rate", "fixed:none"))


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, fast_server(0.0) as url:
        settings = {
            "INCARTS_API_BASE_URL": url,
            "INCARTS_API_KEY": "ic_benchmark_key",
            "INCARTS_PROJECT_ID": "demo",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }

        def run_here(arguments: tuple[str, ...]) -> float:
            return run(arguments, folder, os.environ | settings)

        prepare(folder, run_here)
        found: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(1 if options.quick else options.rounds):
            for name, arguments in COMMANDS.items():
                found[name].append(run_here(arguments))
    print("| | CPU s | range |\n|---|--:|--:|")
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {middle:.2f} | {min(seconds):.2f}–{max(seconds):.2f} |")


if __name__ == "__main__":
    main()
