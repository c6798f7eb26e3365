"""Look at a catalog by what was seen of it the night before: what 100 million rows take.

    python benchmarks/look.py [--rows 100000000] [--files 32] [--buckets 512] [--folder DIR]

The catalog is Parquet. One process sees it for the first time and leaves a snapshot; a second one
looks at the same files, a third at the same rows in files that were written again, each in a
process of its own. This is the part of a night that grows with the catalog. The ledger and the
published table have no part in it, so that no 150 GB of ledger are needed: `scale.py` has whole
nights. Printed are the time, the processor time, the largest resident memory, the size of the
temporary file and of the snapshot, and how many rows were left to be planned.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.scale import MAPPING, write_catalog
from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.engine import Night
from incarts_pipeline.engine.records import RECORD
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.plan import GONE
from incarts_pipeline.prepare import Chosen


class Snapshot:
    """A last night in a folder: the `Before` of `engine.Night`."""

    sha256 = b"snapshot"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.buckets, self.state = json.loads((folder / "state.json").read_text())

    def snapshot(self, bucket: int) -> pa.Table:
        """Return a bucket's records."""
        return pq.read_table(self._folder / f"{bucket}.parquet")

    def row_keys(self, bucket: int) -> pa.Array:
        """Raise, as no row of these nights leaves the catalog."""
        raise LookupError(f"rows of bucket {bucket} are gone")

    def missing_keys(self) -> Iterator[pa.RecordBatch]:
        """Yield nothing: no row was missing before."""
        yield pa.record_batch([pa.array([], pa.string())], schema=GONE)


def look(folder: Path, buckets: int) -> dict[str, Any]:
    """Look at the catalog, and leave a snapshot where there is none."""
    began = time.perf_counter()
    left = folder / "snapshot"
    before = Snapshot(left) if left.exists() else None
    catalog, mapping = open_catalog(folder / "catalog"), load_mapping(MAPPING)
    chosen = Chosen(None, catalog.schema, mapping)
    with closing(Night(catalog, mapping, chosen, stamp={"mapping": "1"}, before=before)) as night:
        planned = sum(placed.batch.num_rows for placed in night.rows())
        if before is None:
            left.mkdir()
            for bucket in range(buckets):
                found = night.table(bucket, buckets, pa.array([], pa.string()))
                pq.write_table(found, left / f"{bucket}.parquet", use_dictionary=False)
            (left / "state.json").write_text(json.dumps([buckets, night.state]))
        temporary = night._records.rows * RECORD.itemsize
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
        "temporary": temporary,
        "snapshot": sum(path.stat().st_size for path in left.iterdir()),
        "planned": planned,
    }


def main() -> None:
    """Look three times, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--buckets", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        print(json.dumps(look(options.look, options.buckets)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for what in ("first time", "the same files", "written again"):
            if what != "the same files":
                write_catalog(folder / "catalog", options.rows, options.files)
            own = [sys.executable, __file__, "--look", str(folder)]
            done = subprocess.run(
                [*own, "--buckets", str(options.buckets)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            one = json.loads(done.stdout)
            print(
                f"{options.rows:>11,} rows  {what:14}  {one['seconds']:7.1f} s"
                f"  {one['cpu']:7.1f} s CPU  {one['megabytes']:6,.0f} MB"
                f"  temporary {one['temporary'] / 1e9:5.2f} GB"
                f"  snapshot {one['snapshot'] / 1e9:5.2f} GB  {one['planned']:,} to plan",
                flush=True,
            )


if __name__ == "__main__":
    main()
