"""One limit shared by real processes, with real clocks, against a server that keeps it.

    python benchmarks/rate_real.py [--seconds 65] [--only "fixed 300/10 s" …] [--hints none …]
                                   [--processes 1 4]

So many `incarts apply` at a time on one ledger, each with a catalog of its own: the share of the
budget that was used and the share of 429s, in the first run after half of its time, and in the
next run, which begins with what the first one learned, after 10 seconds; and the load of the
machine, on which all of this depends.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.limited_server import LimitedServer, Seen
from tests.support.processes import start
from tests.support.rates.hints import HINTS
from tests.support.rates.limiters import Bucket, Fixed, InFlight, Limiter, Replicas, SlidingLog
from tests.support.runs import products


class Row(NamedTuple):
    """A limit, the hints that its answers have when there are any, and its share of 500s."""

    make: Callable[[], Limiter]
    hint: str = "Retry-After"
    failing: float = 0.0


ROWS = {
    "fixed 300/10 s": Row(lambda: Fixed(300, 10)),
    "sliding log 300/10 s": Row(lambda: SlidingLog(300, 10)),
    "bucket 50/s": Row(lambda: Bucket(50, 100), hint="Retry-After: 60 always"),
    "10 per 1 s": Row(lambda: Fixed(10, 1)),
    "8 in flight, 0.12 s each": Row(lambda: InFlight(8, 0.12), hint="Retry-After: 1 always"),
    "2 replicas of 150/10 s": Row(lambda: Replicas(Fixed(150, 10), Fixed(150, 10))),
    "fixed 300/10 s, 10 % of 500s": Row(lambda: Fixed(300, 10), failing=0.1),
}


def one_run(
    server: LimitedServer, folder: Path, name: str, processes: int, seconds: float
) -> list[Seen]:
    """Let so many processes send for so long; return what the server saw."""
    running, before = [], len(server.seen)
    for i in range(processes):
        file = folder / f"{name}-{i}.parquet"
        pq.write_table(products(round(1.2 * server.limiter.rate * seconds)), file)
        running.append(
            start(
                server,
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
    return server.seen[before:]


def report(seen: Sequence[Seen], rate: float, warm: float, seconds: float) -> str:
    """Return use of the budget and 429s after `warm` seconds, and how many 429s came before."""
    first = seen[0].at
    log = [one for one in seen if first + warm < one.at <= first + seconds - 5.0]
    refused = sum(one.status == 429 for one in log)
    used = sum(one.status == 201 for one in log) / (rate * (seconds - 5.0 - warm))
    early = sum(one.status == 429 and one.at <= first + warm for one in seen)
    return f"{used:8.1%}{refused / max(len(log), 1):8.2%}{early:5}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=65.0)
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--hints", choices=("none", "sent"), nargs="+", default=["none", "sent"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    print(f"{'limit':30}{'hints':24}{'processes':>9}{'first run':>21}{'next run':>21}    load")
    for name in options.only:
        for hints in options.hints:
            row = ROWS[name]
            hint = row.hint if hints == "sent" else "none"
            for processes in options.processes:
                limiter = row.make()
                said = f"{name:30}{hint:24}{processes:9}"
                server = LimitedServer(limiter, HINTS[hint](limiter), failing=row.failing)
                with tempfile.TemporaryDirectory() as folder, server:
                    for which, warm in (("first", options.seconds / 2), ("next", 10.0)):
                        seen = one_run(server, Path(folder), which, processes, options.seconds)
                        said += report(seen, limiter.rate, warm, options.seconds)
                print(f"{said}{os.getloadavg()[0]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
