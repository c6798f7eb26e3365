"""A quiet night planned here, on Sail and on Ray: processor seconds of all processes and threads.

    python benchmarks/engines.py FOLDER [--rows 1000000] [--changed 0.01]

Of an engine, reading the frame, preparing, comparing and planning are measured, not its start.
Ray's workers are no children of this process: their seconds are those of its session's processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.night import BASE_URL, LINK_SET, make_night
from incarts_pipeline import load_settings, plan_links
from incarts_pipeline.settings import Settings

_KEY = {"link_set": LINK_SET, "unique_key": "sku"}


def seconds(work: Callable[[], str]) -> dict[str, object]:
    """Return what some work said, and took."""

    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    began, before = time.monotonic(), spent()
    said = work()
    return {
        "digest": said,
        "cpu_seconds": round(spent() - before, 2),
        "seconds": round(time.monotonic() - began, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def on_sail(catalog: Path, settings: Settings) -> dict[str, object]:
    """Plan a file that Sail reads."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    from incarts_pipeline import spark

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").create()
    try:
        session.range(1).toArrow()
        frame = session.read.parquet(str(catalog))
        return seconds(lambda: spark.plan_links(frame, settings=settings, **_KEY).digest)
    finally:
        session.stop()
        server.stop()


def on_ray(catalog: Path, settings: Settings) -> dict[str, object]:
    """Plan a file that Ray reads, in two tasks at a time."""
    import ray as cluster

    from incarts_pipeline import ray

    cluster.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        dataset = cluster.data.read_parquet(str(catalog))
        before = _of_session()
        found = seconds(lambda: ray.plan_links(dataset, settings=settings, **_KEY).digest)
        found["cpu_seconds"] = round(float(str(found["cpu_seconds"])) + _of_session() - before, 2)
        return found
    finally:
        cluster.shutdown()


def _of_session() -> float:
    """Return the processor seconds of this process's session, but for its own."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = 0.0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(words[3]) == os.getsid(0) and int(file.parent.name) != os.getpid():
            used += sum(map(int, words[11:13])) / ticks
    return used


def here(catalog: Path, settings: Settings) -> dict[str, object]:
    """Plan the same file without an engine."""
    return seconds(lambda: plan_links(str(catalog), settings=settings, **_KEY).digest)


_WHERE = {"here": here, "sail": on_sail, "ray": on_ray}


def main() -> None:
    """Measure each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=float, default=0.0, help="share of rows")
    parser.add_argument("--only", choices=[*_WHERE])
    options = parser.parse_args()
    catalog, ledger = make_night(options.folder, options.rows)
    if options.changed:
        catalog = changed(catalog, options.changed)
    if options.only is None:
        for which in _WHERE:
            command = [sys.executable, *sys.argv, "--only", which]
            subprocess.run(command, check=True, start_new_session=True)
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("RUST_LOG", "error")
    settings = load_settings(base_url=BASE_URL, project_id="demo", ledger=ledger)
    found = _WHERE[options.only](catalog, settings)
    print(json.dumps({"planned": options.only, "rows": options.rows, **found}))


def changed(catalog: Path, share: float) -> Path:
    """Write a copy of a catalog in which the first rows, so large a share, have another name."""
    path = catalog.with_name(f"{catalog.stem}-{share:g}.parquet")
    if not path.exists():
        table = pq.read_table(catalog)
        n = round(share * table.num_rows)
        names = [f"New {i}" for i in range(n)] + table["name"].slice(n).to_pylist()
        at = table.schema.get_field_index("name")
        pq.write_table(table.set_column(at, "name", [names]), path)
    return path


if __name__ == "__main__":
    main()
