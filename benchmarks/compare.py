"""Ours beside what people use: links a second, processor time, and a quiet night's growth.

    python benchmarks/compare.py [--rows 100 1000 20000] [--rounds 5] [--quick] [--write docs]

The peers get an environment of their own, `.venv-bench`, with the versions in `constraints.txt`.
All send the same rows to one `fast_server.py`, in turn, each time in a new process; what else the
machine does hits all alike. Where the server takes its time, those that send one row after the
other get fewer rows, and only the largest number is measured. With `--write` the tables and plots
go into `performance.md` there; `--parts` measures only some of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import growth, page
from benchmarks.peers import PEERS

HERE = Path(__file__).parent
VENV = HERE.parent / ".venv-bench"
AWAY = (0.02, 0.1)  # seconds that a server which is not next door takes to answer
AWAY_ROWS = {"by hand": 0.25, "dlt": 0.01, "drt-core": 0.01, "bare aiohttp": 0.5}  # of the rows
ROWS = (100, 1_000, 20_000)
PARTS = ("near", "away", "nights")
NEEDED = ("aiohttp", "dlt", "drt-core", "httpx", "tenacity")


def peers_python() -> Path | None:
    """Return the Python of the peers' environment, made if need be; None when it can't be."""
    python = VENV / "bin" / "python"
    pins = HERE / "constraints.txt"
    stamp = VENV / "installed.txt"
    if stamp.exists() and stamp.read_text() == pins.read_text():
        return python
    install = [str(python), "-m", "pip", "install", "-qq", "-c", str(pins), *NEEDED]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run(install, check=True)
    except subprocess.CalledProcessError as error:
        print(f"The peers can't be installed: {error}", file=sys.stderr)
        return None
    stamp.write_text(pins.read_text())
    return python


@contextmanager
def fast_server(latency: float) -> Iterator[str]:
    """Run the server in a process of its own; yields its base URL."""
    command = [sys.executable, str(HERE / "fast_server.py"), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def turn(command: list[str]) -> dict[str, float]:
    """Run one sender in a new process and return its figures."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def senders(rows: dict[str, int], rounds: int, latency: float) -> dict[str, list[dict[str, float]]]:
    """Have all send their number of rows in turn; return the figures of every round."""
    python = peers_python()
    names = list(PEERS) if python is not None else []
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *names)}
    with fast_server(latency) as url:
        for _ in range(rounds):
            for name in found:
                few = str(rows[name])
                ours = [sys.executable, str(HERE / "ours.py"), url, few]
                peer = [str(python), str(HERE / "peers.py"), name, url, few]
                found[name].append(turn(ours if name == "ours" else peer))
    return found


def shares(rows: int, share: dict[str, float]) -> dict[str, int]:
    """Return how many rows each sender gets."""
    return {name: round(rows * share.get(name, 1.0)) for name in ("ours", *PEERS)}


def nights(sizes: list[int], folder: Path | None) -> list[dict[str, Any]]:
    """Plan a quiet night at each size."""
    with tempfile.TemporaryDirectory() as made:
        return [growth.night(folder or Path(made), rows, publish=False) for rows in sizes]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nights", type=int, nargs="+", default=growth.SIZES)
    parser.add_argument("--folder", type=Path, help="keep the nights' catalogs and ledgers here")
    parser.add_argument("--quick", action="store_true", help="few rows, and no 10-million night")
    parser.add_argument("--write", type=Path, help="the folder of performance.md")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds, options.nights = [100, 500], 1, growth.QUICK
        options.parts = ["near", "nights"]
    near = options.rows if "near" in options.parts else []
    sent = {rows: senders(shares(rows, {}), options.rounds, 0.0) for rows in near}
    few = shares(max(options.rows), AWAY_ROWS)
    far = AWAY if "away" in options.parts else ()
    away = {seconds: senders(few, options.rounds, seconds) for seconds in far}
    grown = nights(options.nights if "nights" in options.parts else [], options.folder)
    for found in (*sent.values(), *away.values()):
        print(page.table_of_senders(found))
    if sent:
        print(page.table_of_parts(sent[max(sent)]["ours"]))
    print(page.table_of_nights(grown))
    if options.write:
        page.write(options.write, sent, away, grown)


if __name__ == "__main__":
    main()
