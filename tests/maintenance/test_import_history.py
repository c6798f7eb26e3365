"""Histories in many files, of which some are left over from runs that were too late or killed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.publish import facts_of, metadata_of
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

HISTORY = Path("links/_history")
MANIFEST = Path("links/_manifest.json")
anywhere = pytest.mark.parametrize("output", ["links/", "delta://links"])


def tell(name: str, rows: list[dict[str, Any]], *, sequence: int, named: bool) -> None:
    """Write a part of the history by a run of that number in the ledger."""
    schema = pq.read_schema(next(HISTORY.iterdir()))
    facts = facts_of(schema) | {"ledger_sequence": str(sequence)}
    table = pa.Table.from_pylist(rows, schema.with_metadata(metadata_of(facts)))
    pq.write_table(table, HISTORY / name)
    if named:
        said = json.loads(MANIFEST.read_text())
        said["files"][f"_history/{name}"] = next(
            one for file, one in said["files"].items() if file.startswith("_history/")
        )
        MANIFEST.write_text(json.dumps(said))


def imported(settings: Settings, row_key: str) -> tuple[list[str], list[str]]:
    """Rebuild the ledger; return the states and the links of a row."""
    for file in Path().glob("ledger.db*"):
        file.unlink()
    import_links("links/_history/", settings)
    with opened("ledger.db") as connection:
        return _column(connection, "state FROM operation", row_key), _column(
            connection, "link_id FROM row", row_key
        )


def _column(connection: sqlite3.Connection, what: str, row_key: str) -> list[str]:
    found = connection.execute(f"SELECT {what} WHERE row_key = ?", (row_key,))
    return [one for (one,) in found]


@anywhere
@pytest.mark.parametrize("end", ["abandoned", "moved"])
@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("stale", ["0", "f"])
def test_a_link_that_was_given_up_stays_so(
    run: Run, settings: Settings, output: str, end: str, has_manifest: bool, stale: str
) -> None:
    """A loser's part says that the row uses it: by name it is the last one, or the first."""
    run(products(3), output=output)
    [part] = HISTORY.iterdir()
    first, *_ = pq.read_table(part).to_pylist()
    ended = first | {"state": end, "is_current": False}
    tell(f"part-{'7' * 32}-000002.parquet", [ended], sequence=3, named=True)
    tell(f"part-{stale * 32}-000002.parquet", [first], sequence=2, named=False)
    if not has_manifest:
        MANIFEST.unlink()
    assert imported(settings, first["row_key"]) == ([end], [])


@anywhere
@pytest.mark.parametrize("stale", ["0", "f"])
def test_a_killed_runs_part_gives_up_a_link(
    run: Run, settings: Settings, output: str, stale: str
) -> None:
    """It is newer than what the manifest names."""
    run(products(3), output=output)
    first, *_ = pq.read_table(next(HISTORY.iterdir())).to_pylist()
    ended = first | {"state": "abandoned", "is_current": False}
    tell(f"part-{stale * 32}-000002.parquet", [ended], sequence=2, named=False)
    assert imported(settings, first["row_key"]) == (["abandoned"], [])


@anywhere
@pytest.mark.parametrize(
    ("names", "has_manifest"), [("70", True), ("7f", True), ("70", False), ("7f", False)]
)
def test_the_winners_word_counts(
    run: Run, settings: Settings, output: str, names: str, has_manifest: bool
) -> None:
    """That a row went back to its first link, where a loser says that it uses the second one."""
    run(products(1), output=output)
    run(products(1, quantity=[2]), output=output)
    parts = sorted(HISTORY.iterdir(), key=lambda one: pq.read_table(one).num_rows)
    rows = pq.read_table(parts[-1]).to_pylist()
    assert [row["is_current"] for row in rows] == [False, True]
    back = [row | {"is_current": not row["is_current"]} for row in rows]
    winner, loser = names
    tell(f"part-{winner * 32}-000003.parquet", back, sequence=4, named=True)
    tell(f"part-{loser * 32}-000003.parquet", rows, sequence=3, named=False)
    if not has_manifest:
        MANIFEST.unlink()
    row_key = rows[0]["row_key"]
    assert imported(settings, row_key) == (["done", "done"], [rows[0]["link_id"]])


def test_what_only_a_left_over_part_tells_is_brought_in(run: Run, settings: Settings) -> None:
    """Its links were made: without it they would be made again."""
    run(products(3), output="links/")
    rows = pq.read_table(next(HISTORY.iterdir())).to_pylist()
    more = rows[0] | {"row_key": "another", "idempotency_key": "0" * 64, "link_id": "lnk_another"}
    tell(f"part-{'0' * 32}-000002.parquet", [more], sequence=2, named=False)
    assert imported(settings, "another") == (["done"], ["lnk_another"])
