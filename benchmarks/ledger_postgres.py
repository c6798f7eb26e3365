"""What a ledger in PostgreSQL costs beside one in SQLite: on one machine, and 5 ms away.

    python benchmarks/ledger_postgres.py [--rounds 3] [--rows 3000] [--quick]

Each variant claims, marks, sends and records the same links, flat out, through the library's own
sender to `fast_server.py`. They take turns, so that what else the machine does hits all alike. The
server is Debian's package with its defaults, fsync and all; without it this says so and ends.
Printed are medians: links a second, processor time per link of the run and of the database, and the
speed beside SQLite's. Processor time is what a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.ledger import calls, run_with
from incarts_pipeline.ledger.claims import Call
from incarts_pipeline.ledger.database import open_engine, prepare_file
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.settings import DatabasePlace, LedgerPlace
from tests.support import postgres

MILLISECONDS = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def journal_at(place: LedgerPlace) -> Iterator[Journal]:
    """Make a ledger, and open its journal."""
    engine = prepare_file(place, "http://127.0.0.1:1")
    with engine.begin() as connection:
        ensure_sets(connection, "demo", ["s"], ["sku"])
    engine.dispose()
    engine = open_engine(place)
    yield Journal(engine, place, "r", [1])
    engine.dispose()


@contextmanager
def program(*command: str) -> Iterator[str]:
    """Run a program while the block lasts; the block gets the first line that it prints."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as one:
        yield one.stdout.readline().strip() if one.stdout else ""
        one.terminate()


def seconds_of(server: postgres.Server) -> float:
    """Return the processor time of a server with all that it has started, in seconds."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    mine = [_fields(pid)[field] for field in (13, 14, 15, 16)]
    return (sum(mine) + sum(sum(_fields(int(one))[13:15]) for one in children)) / _TICKS


def _fields(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, 0, *(int(one) if one.lstrip("-").isdigit() else 0 for one in text)]


class Variants:
    """The places of ledgers, each used once."""

    def __init__(self, server: postgres.Server, far_port: int, folder: Path) -> None:
        self.server, self._far_port, self._folder = server, far_port, folder
        self._made = 0

    def place(self, variant: str) -> LedgerPlace:
        """Return a place where no ledger is yet."""
        self._made += 1
        if variant == "SQLite":
            return self._folder / f"{self._made}.db"
        port = self.server.port if variant == "PostgreSQL" else self._far_port
        uri = f"{replace(self.server, port=port).uri()}?sslmode=disable&gssencmode=disable"
        return DatabasePlace(uri=uri, name=f"b{self._made}")


def measured(variants: Variants, variant: str, base_url: str, work: list[Call]) -> list[float]:
    """Return links a second, and processor milliseconds per link of the run and the database."""
    with journal_at(variants.place(variant)) as journal:
        began, own = time.perf_counter(), time.process_time()
        database = seconds_of(variants.server)
        asyncio.run(run_with(journal, base_url, None, work))
        seconds = time.perf_counter() - began
        efforts = (time.process_time() - own, seconds_of(variants.server) - database)
    return [len(work) / seconds, *(effort / len(work) * 1e3 for effort in efforts)]


def main() -> None:
    """Run all variants in turn and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if postgres.programs() is None:
        print("PostgreSQL isn't installed here.")
        return
    rounds, rows = (1, 400) if asked.quick else (asked.rounds, asked.rows)
    fast_server = str(Path(__file__).parent / "fast_server.py")
    names = ["SQLite", "PostgreSQL", f"{MILLISECONDS:g} ms away"]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    with ExitStack() as stack:
        base_url = stack.enter_context(program(fast_server))
        server = stack.enter_context(postgres.server(fsync="on"))
        far = ("-m", "tests.support.distant_proxy", str(server.port), str(MILLISECONDS))
        port = int(stack.enter_context(program(*far)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variants, work = Variants(server, port, folder), calls(rows)
        for _ in range(rounds):
            for name in names:
                found[name].append(measured(variants, name, base_url, work))
    tell(found)


def tell(found: dict[str, list[list[float]]]) -> None:
    """Print the medians."""
    print(f"{'ledger':>12}  {'links/s':>8}  {'CPU ms/link':>11}  {'database':>8}  {'of SQLite':>9}")
    base = statistics.median(speed for speed, _, _ in found["SQLite"])
    for name, rounds in found.items():
        speed, own, database = map(statistics.median, zip(*rounds, strict=True))
        print(f"{name:>12}  {speed:8,.0f}  {own:11.2f}  {database:8.2f}  {speed / base:9.2f}")


if __name__ == "__main__":
    main()
