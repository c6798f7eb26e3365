"""Published files that are left as they are: only those that would come out the same."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import Query, bulk_queries, once, tables
from incarts_pipeline.ledger.sqlite.bulk_read import WORDS
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.prepare.partition import Partition
from incarts_pipeline.publish import freshness, rows
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

LEDGER = Path("ledger.db")
LINKS, MISSING, HISTORY = FILES = [
    Path(f"links{name}.parquet") for name in ("", ".missing", ".history")
]
WATCHED = [tables.operation, tables.body, tables.link, tables.row, tables.member]
SOUTH = Partition(value="south", column="shop")


def change(statement: str) -> int:
    """Change the ledger with another program's SQLite; return the number of rows changed."""
    with opened(LEDGER) as connection:
        return connection.execute(statement).rowcount


def quiet(run: Run, catalog: pa.Table | None = None, **keywords: Any) -> RunResult:
    """Make links, and publish them once more on a night that changed nothing."""
    run(products(4) if catalog is None else catalog, **keywords)
    return run(products(4) if catalog is None else catalog, **keywords)


def kept(again: Callable[[], object]) -> list[str]:
    """Run something; return the files that it left in place."""
    before = {file: file.stat().st_ino for file in FILES}
    again()
    return [file.name for file in FILES if file.stat().st_ino == before[file]]


def fresh_files() -> list[str]:
    """Return the files that are what was published from the ledger as it is."""
    return [file.name for file in FILES if freshness.is_current(LEDGER.absolute(), file.absolute())]


ALL = [file.name for file in FILES]


def test_files_are_kept_when_nothing_changed(run: Run) -> None:
    """They are not written again, but dated; the result is that of the run that wrote them."""
    wrote = quiet(run)
    contents = [file.read_bytes() for file in FILES]
    for file in FILES:
        os.utime(file, (0, 0))
    results = []
    assert kept(lambda: results.append(run(products(4)))) == ALL
    assert [file.read_bytes() for file in FILES] == contents
    assert all(file.stat().st_mtime > 1e9 for file in FILES)
    [result] = results
    assert result.published.counts == wrote.published.counts
    assert result.published.made_by == wrote.written.run_id != result.written.run_id
    assert result.published.by_status[Status.UNCHANGED] == 4


def test_what_a_run_did_is_not_kept(run: Run) -> None:
    """The history of a run that made links lasts, its `created` is `unchanged` the next night."""
    run(products(4))
    assert kept(lambda: run(products(4))) == [HISTORY.name]
    assert set(pq.read_table(LINKS)["status"].to_pylist()) == {"unchanged"}


@pytest.mark.slow
def test_a_settled_doubt_is_not_kept(run: Run, box: Sandbox) -> None:
    """Its plan is the next run's, too, but one of them has settled it."""
    box.fail_next("lost_after", times=50)
    run(products(1))
    box.fail_next("lost_after", times=0)
    run(products(1))
    assert pq.read_table(LINKS)["action"].to_pylist() == ["settle"]
    run(products(1))
    assert pq.read_table(LINKS)["action"].to_pylist() == ["unchanged"]
    assert kept(lambda: run(products(1))) == ALL


def test_every_change_of_the_ledger_is_noticed(run: Run) -> None:
    """Whoever writes any column of what is published, or deletes a row: no note is left."""
    quiet(run, products(2, shop=["south"] * 2), partition=SOUTH)
    statements = [
        *(
            f'UPDATE "{table.name}" SET "{c.name}" = "{c.name}"'
            for table in WATCHED
            for c in table.c
        ),
        *(f'DELETE FROM "{table.name}"' for table in WATCHED),
    ]
    connection = sqlite3.connect(LEDGER, isolation_level=None)
    for statement in statements:
        connection.execute("BEGIN")
        assert connection.execute(statement).rowcount == 2
        assert connection.execute("SELECT COUNT(*) FROM published").fetchone() == (0,), statement
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT COUNT(*) FROM published").fetchone() == (3,)
    connection.close()


@pytest.mark.parametrize("table", WATCHED, ids=lambda table: table.name)
def test_every_insert_of_ours_is_noticed(run: Run, table: sa.Table) -> None:
    """Whoever inserts with an engine on the ledger need not think of the notes."""
    quiet(run, products(2, shop=["south"] * 2), partition=SOUTH)
    copy = sa.insert(table).prefix_with("OR REPLACE").from_select(list(table.c), sa.select(table))
    notes = sa.select(sa.func.count()).select_from(tables.published)
    with once(LEDGER) as connection:
        connection.execute(sa.insert(tables.meta), [{"name": "unwatched", "value": "1"}])
        assert connection.scalar(notes) == 3
        connection.execute(copy)
        assert connection.scalar(notes) == 0


def test_nothing_is_inserted_beside_a_note(run: Run, settings: Settings) -> None:
    """Whatever inserts a row has deleted the notes before."""
    quiet(run, products(2, shop=["south"] * 2), partition=SOUTH)
    inserted = "CREATE TABLE inserted (name TEXT, notes INTEGER)"
    with opened(LEDGER) as connection:
        connection.execute(inserted)
        for table in WATCHED:
            connection.execute(
                f"CREATE TRIGGER watch_{table.name} BEFORE INSERT ON {table.name} "
                f"BEGIN INSERT INTO inserted SELECT '{table.name}', COUNT(*) FROM published; END"
            )
    south = {"shop": ["south"] * 3, "quantity": [2, 1, 1]}
    for catalog in (products(3, **south), products(3, shop=["south"] * 3)):  # changed, and back
        quiet(run, catalog, partition=SOUTH)
    with opened(LEDGER) as connection:
        inserts = dict(
            connection.execute("SELECT name, MAX(notes) FROM inserted GROUP BY name").fetchall()
        )
    assert inserts == dict.fromkeys([table.name for table in WATCHED], 0)


def test_an_import_is_noticed(run: Run, settings: Settings) -> None:
    """Rows that come from a table leave no note either."""
    quiet(run)
    shutil.copy(LINKS, "more.parquet")
    for file in Path().glob("ledger.db*"):
        file.unlink()
    run(products(0), allow_empty=True, link_set="other", output="other.parquet")
    other = Path("other.history.parquet").absolute()
    assert freshness.is_current(LEDGER, other)
    import_links("more.parquet", settings)
    assert not freshness.is_current(LEDGER, other)


@pytest.mark.parametrize(
    "query",
    [
        bulk_queries.CURRENT,
        bulk_queries.UNLINKED,
        bulk_queries.MEMBERS,
        bulk_queries.History(set_ids={}, partition="south").query,
    ],
    ids=["current", "unlinked", "members", "history"],
)
def test_all_that_publishing_reads_is_watched(run: Run, query: Query) -> None:
    """SQLite itself says which tables a query reads."""
    run(products(1))
    read: set[str] = set()

    def note(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table is not None:
            read.add(table)
        return sqlite3.SQLITE_OK

    text = query.text(WORDS)
    connection = sqlite3.connect(LEDGER)
    connection.set_authorizer(note)
    connection.execute(f"EXPLAIN {text}", [1] * len(set(re.findall(r"\?\d", text))))
    connection.close()
    assert read
    assert read <= {table.name for table in WATCHED}


def test_a_changed_link_is_published(run: Run) -> None:
    """What the ledger says now is in links.parquet and its history."""
    quiet(run)
    change("UPDATE link SET short_link = 'https://short.example/new'")
    run(products(4))
    for file in (LINKS, HISTORY):
        found = pq.read_table(file)["short_link"].to_pylist()
        assert set(found) == {"https://short.example/new"}


@pytest.mark.parametrize(
    ("catalog", "column", "found"),
    [
        (products(4).take([3, 2, 1, 0]), "row_key", ["000003", "000002", "000001", "000000"]),
        (products(4, quantity=[0, 1, 1, 1]), "status", ["rejected", *["unchanged"] * 3]),
        (products(3), "row_key", ["000000", "000001", "000002"]),
        (products(4, extra=[1, 2, 3, 4]), None, None),
    ],
    ids=["another order", "a row is rejected", "a row less", "a column that nothing is made of"],
)
def test_another_catalog_is_published(
    run: Run, catalog: pa.Table, column: str | None, found: list[str] | None
) -> None:
    """What of a catalog isn't in the ledger counts as well, but only that."""
    quiet(run)
    left = kept(lambda: run(catalog))
    if column is None:
        assert left == ALL
        return
    assert LINKS.name not in left
    assert pq.read_table(LINKS)[column].to_pylist() == found


def test_a_renamed_key_column_is_published(run: Run) -> None:
    """The rows are the same, and so is the ledger; a ledger can be rebuilt from the new name."""
    quiet(run)
    renamed = products(4).rename_columns({"sku": "item"})
    assert kept(lambda: run(renamed, unique_key=("item",))) == []
    assert pq.read_schema(HISTORY).metadata[b"incarts.key_columns"] == b'["item"]'
    assert "item" in pq.read_schema(LINKS).names


def test_each_partition_has_its_files(run: Run) -> None:
    """A night over two partitions keeps the files of both; a change of one writes both again."""
    catalog = products(4, shop=["north", "south"] * 2)

    def night(catalog: pa.Table = catalog) -> list[bytes]:
        """Return which runs wrote the histories."""
        for name in ("north", "south"):
            partition = Partition(value=name, column="shop")
            run(catalog, partition=partition, output=f"{name}.parquet")
        files = [f"{name}.history.parquet" for name in ("north", "south")]
        return [pq.read_schema(file).metadata[b"incarts.run_id"] for file in files]

    night()
    first = night()
    assert night() == first
    changed = night(catalog.set_column(5, "quantity", pa.array([2, 1, 1, 1])))
    assert not set(changed) & set(first)


def drop_rows(file: Path) -> None:
    """Leave rows out; Arrow keeps the metadata that says who published the table."""
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    assert pq.read_schema(file).metadata[b"incarts.run_id"]


def flip_a_bit(file: Path) -> None:
    """Damage a byte in the middle, as a disk might, and keep the file's times."""
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "harm"),
    [
        (LINKS, drop_rows),
        (LINKS, Path.unlink),
        (MISSING, Path.unlink),
        (MISSING, flip_a_bit),
        (HISTORY, drop_rows),
        (HISTORY, flip_a_bit),
        (HISTORY, Path.unlink),
    ],
)
def test_a_file_that_was_changed_is_written_again(
    run: Run, file: Path, harm: Callable[[Path], object]
) -> None:
    """Edited, damaged or gone: it says again what it said."""
    quiet(run, products(4))
    run(products(3))
    quiet(run, products(3))
    before = pq.read_table(file)
    harm(file)
    run(products(3))
    assert pq.read_table(file).equals(before)


@pytest.mark.parametrize(("name", "value"), [("_VERSION", "0.0.1"), ("OUTPUT_VERSION", 99)])
def test_a_file_of_another_version_is_written_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    """What another version wrote may look different."""
    quiet(run)
    monkeypatch.setattr(rows, name, value)
    assert kept(lambda: run(products(4))) == []


def test_a_change_while_a_file_is_made(run: Run) -> None:
    """What changes after the ledger was read isn't in the file, so nothing is confirmed."""
    quiet(run)
    file = HISTORY.absolute()
    with freshness.Noting(LEDGER, file) as noting:
        change("UPDATE link SET short_link = 'https://short.example/late'")
        noting.made(file, "test", freshness.sha256_of(file))
    assert not freshness.is_current(LEDGER, file)
    with freshness.Noting(LEDGER, file) as noting:
        noting.made(file, "test", freshness.sha256_of(file))
    assert freshness.is_current(LEDGER, file, lambda: "test")
    assert not freshness.is_current(LEDGER, file, lambda: "another test")


def test_two_runs_that_make_one_file(run: Run) -> None:
    """The later one's note counts, and only for its own file."""
    quiet(run)
    file = HISTORY.absolute()
    with freshness.Noting(LEDGER, file) as first:
        with freshness.Noting(LEDGER, file) as second:
            file.write_bytes(b"second")
            second.made(file, "second", freshness.sha256_of(file))
        file.write_bytes(b"first")
        first.made(file, "first", freshness.sha256_of(file))
    assert not freshness.is_current(LEDGER, file)
    file.write_bytes(b"second")
    assert freshness.is_current(LEDGER, file, lambda: "second")


def test_an_old_ledger_knows_only_its_own_files(run: Run, tmp_path: Path) -> None:
    """A backup that is put back has notes, but not of what was published since."""
    quiet(run)
    with opened(LEDGER) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(LEDGER, "backup.db")
    assert fresh_files() == ALL
    quiet(run, products(6))
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    shutil.copy("backup.db", LEDGER)
    assert fresh_files() == []
    with pytest.raises(RefusedError, match="is an older copy"):
        run(products(6))


def test_a_ledger_that_takes_no_note(run: Run) -> None:
    """Nothing is published less for it: the next run writes again."""
    run(products(2))
    broken = Path("broken.db")
    broken.write_bytes(b"this is no ledger" * 500)
    with freshness.Noting(broken, HISTORY.absolute()) as noting:
        noting.made(HISTORY.absolute(), "test", b"")
    assert not freshness.is_current(broken, HISTORY.absolute())
    assert not freshness.is_current(Path("nowhere.db"), HISTORY.absolute())
    assert not freshness.is_current(LEDGER, None)
