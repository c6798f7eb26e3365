"""One limit shared by real processes, with real clocks, against the sandbox.

    python benchmarks/rate_real.py [--seconds 90] [--only "fixed 300/10 s"] [--hints none]
                                   [--processes 1 4]

One and four `incarts apply` at a time on one ledger, each with a catalog of its own: the share of
the budget that was used and the share of 429s, in the first run after half of its time, and in the
next run, which begins with what the first one learned, after 10 seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Hints, Limit, SandboxConfig
from tests.support.processes import start
from tests.support.runs import products

LIMITS = {
    "fixed 300/10 s": Limit(kind="fixed", requests=300, seconds=10.0),
    "bucket 50/s": Limit(kind="bucket", requests=50, seconds=1.0, burst=100),
}


def one_run(box: Sandbox, folder: Path, name: str, processes: int, seconds: float) -> None:
    """Let so many processes send for so long."""
    running = []
    for i in range(processes):
        file = folder / f"{name}-{i}.parquet"
        pq.write_table(products(round(60 * seconds)), file)
        running.append(
            start(
                box,
                "apply",
                str(file),
                f"--output=links-{name}-{i}.parquet",
                "--unique-key=sku",
                f"--link-set={name}-{i}",
                "--yes",
                "--ledger=ledger",
                "--rate=adaptive",
                f"--max-duration={seconds:.0f}s",
                folder=folder,
            )
        )
    for process in running:
        _, said = process.communicate(timeout=seconds + 120)
        if process.returncode not in (0, 4):
            raise SystemExit(f"apply: exit {process.returncode}\n{said}")


def report(box: Sandbox, limit: Limit, since: float, until: float) -> str:
    """Return use of the budget and 429s between two instants."""
    log = [one for one in box.requests() if since < one.at <= until and one.method == "POST"]
    refused = sum(one.status == 429 for one in log)
    use = (len(log) - refused) / (limit.requests / limit.seconds * (until - since))
    return f"{use:8.2%}{refused / max(len(log), 1):8.2%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--only", choices=LIMITS, help="one limit")
    parser.add_argument("--hints", choices=list(Hints), default=Hints.NONE, help="headers sent")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    seconds = options.seconds
    print(f"hints: {options.hints}")
    print(f"{'limit':16}{'processes':>10}{'first run':>16}{'next run':>16}  use, 429s")
    for name, limit in LIMITS.items():
        if options.only not in (None, name):
            continue
        for processes in options.processes:
            config = SandboxConfig(limits=[limit], hints=options.hints)
            with tempfile.TemporaryDirectory() as folder, Sandbox(config) as box:
                found = []
                for which, warm in (("first", seconds / 2), ("next", 10.0)):
                    before = len(box.requests())
                    one_run(box, Path(folder), which, processes, seconds)
                    times = [one.at for one in box.requests()[before:] if one.method == "POST"]
                    found.append(report(box, limit, times[0] + warm, times[0] + seconds - 5.0))
                print(f"{name:16}{processes:10}{found[0]}{found[1]}", flush=True)


if __name__ == "__main__":
    main()
