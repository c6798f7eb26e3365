"""Nights: what is planned of a catalog after a last night, by the words of `Quiet`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.engine import Night, nights
from incarts_pipeline.engine.hashes import seen_keys
from incarts_pipeline.mapping import Mapping as LinkMapping, load_mapping
from incarts_pipeline.plan import GONE
from incarts_pipeline.prepare import Chosen

Row = tuple[str | None, str]  # key and name
Files = dict[str, list[Row]]

STAMP = {"mapping": "1"}
_OPENED: list[Night] = []
FIRST = 3  # rows in which usual ids are seen


@dataclass
class LastNight:
    """What a night left, in memory."""

    state: dict[str, Any]
    buckets: int
    tables: dict[int, pa.Table]
    keys: Sequence[str | None]
    missing: Sequence[str] = ()
    sha256: bytes = b"m"
    read: list[int] = field(default_factory=list)

    def snapshot(self, bucket: int) -> pa.Table:
        self.read.append(bucket)
        return self.tables[bucket]

    def row_keys(self, bucket: int) -> pa.Array:
        return pa.array([k for k in self.keys if of_bucket(k, self.buckets) == bucket], pa.string())

    def missing_keys(self) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array(self.missing, pa.string())], schema=GONE)


def of_bucket(key: str | None, buckets: int) -> int:
    """Return a key's bucket."""
    return int(seen_keys(pa.array([key], pa.string()))["key_low"][0].as_py()) & (buckets - 1)


def mapping(**more: object) -> LinkMapping:
    """Return a mapping of two columns."""
    link = {"name": {"column": "name"}, "retailer": "walmart", "intent": "custom_url"}
    link["custom_url"] = "https://a.b/"
    return load_mapping({"link_set": "s", "unique_key": ["sku"], "link": link, **more})


def write(files: Files) -> None:
    """Write a catalog's files, but those that are as they are."""
    folder = Path("catalog")
    folder.mkdir(exist_ok=True)
    for old in {path.name for path in folder.iterdir()} - files.keys():
        (folder / old).unlink()
    for name, rows in files.items():
        skus, names = ([row[at] for row in rows] for at in (0, 1))
        table = pa.table({"sku": pa.array(skus, pa.string()), "name": pa.array(names, pa.string())})
        path = folder / name
        if not path.exists() or not pq.read_table(path, partitioning=None).equals(table):
            pq.write_table(table, path)


def night(before: LastNight | None, stamp: Mapping[str, Any] = STAMP, **more: object) -> Night:
    """Look at the catalog."""
    catalog, mapped = open_catalog("catalog"), mapping(**more)
    chosen = Chosen(None, catalog.schema, mapped)
    _OPENED.append(Night(catalog, mapped, chosen, stamp=stamp, before=before))
    return _OPENED[-1]


def rows_of(one: Night) -> list[tuple[int, str | None]]:
    """Return the numbers and keys of the rows that a night plans."""
    found: list[tuple[int, str | None]] = []
    for placed in one.rows():
        found += zip(placed.rows.to_pylist(), placed.batch["sku"].to_pylist(), strict=True)
    return sorted(found, key=lambda row: row[0])


def left(one: Night, keys: Sequence[str | None], unsettled: set[str | None], n: int) -> LastNight:
    """Return what a night leaves once its rows have been read."""
    tables = {}
    for bucket in range(n):
        some = [key for key in unsettled if of_bucket(key, n) == bucket]
        tables[bucket] = one.table(bucket, n, pa.array(some, pa.string()))
    return LastNight(state=one.state, buckets=n, tables=tables, keys=keys)


def flat(files: Files) -> list[Row]:
    """Return the rows in the catalog's order."""
    return [row for name in sorted(files) for row in files[name]]


@pytest.fixture(autouse=True)
def _few_first_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(nights, "SEEN_ROWS", FIRST)
    yield
    while _OPENED:
        _OPENED.pop().close()


def changed(chance: random.Random, files: Files, keys: Sequence[str | None]) -> Files:
    """Return the files as another night has them: rows changed, moved, gone, new and doubled."""
    now = {name: list(rows) for name, rows in files.items()}
    for name in list(now):
        if chance.random() < 0.2:
            del now[name]
    for _ in range(chance.choice([0, 1, 3])):
        rows = now.setdefault(chance.choice("abcd") + ".parquet", [])
        rows.insert(chance.randint(0, len(rows)), (chance.choice(keys), chance.choice("xy")))
        if len(rows) > 1 and chance.random() < 0.5:
            rows.pop(chance.randrange(len(rows)))
    return now or {"a.parquet": []}


@pytest.mark.parametrize("seed", range(25))
def test_open_keys_are_planned_whole_and_all_others_counted(seed: int) -> None:
    """Night after night, with files that come, go and stay, whatever was unsettled."""
    chance = random.Random(seed)
    keys: list[str | None] = [*(f"{i:05d}" for i in range(12)), "1", "k", None]
    files: Files = {
        f"{name}.parquet": [(chance.choice(keys), chance.choice("xy")) for _ in range(9)]
        for name in "abc"
    }
    n = chance.choice([1, 2, 8])
    write(files)
    with_all = night(None)
    assert [key for _, key in rows_of(with_all)] == [key for key, _ in flat(files)]
    assert with_all.quiet(["s"]) is None
    unsettled: set[str | None] = {key for key in keys if chance.random() < 0.15}
    before = left(with_all, [key for key, _ in flat(files)], unsettled, n)
    for _ in range(4):
        was, was_unsettled = flat(files), unsettled
        files = changed(chance, files, keys)
        write(files)
        now = flat(files)
        tonight = night(before)
        planned = rows_of(tonight)
        of_old, of_new = (
            {key: Counter(name for k, name in rows if k == key) for key in keys}
            for rows in (was, now)
        )
        there = {key for key, _ in now}
        is_open = {k for k in there if k in was_unsettled or of_old[k] != of_new[k]}
        asked = is_open | ({key for key, _ in now[:FIRST]} if is_open else set())
        assert planned == [(at, key) for at, (key, _) in enumerate(now) if key in asked]
        quiet = tonight.quiet(["s"])
        assert quiet is not None
        [counts] = quiet.counts.to_pylist()
        assert counts["row_count"] == sum(key not in asked for key, _ in now)
        assert counts["key_count"] == len(there - asked)
        digits = [key for key in there if key is not None and len(key) > 1 and key.isdigit()]
        assert counts["padded_key"] == min(digits, default=None)
        gone = {key for batch in quiet.gone for key in batch["row_key"].to_pylist()}
        assert gone == {key for key, _ in was} - there - {None}
        opened = {key for batch in quiet.open_keys for key in batch["row_key"].to_pylist()}
        assert opened == (is_open | gone) - {None}
        unsettled = {key for key in there if chance.random() < 0.15}
        before = left(tonight, [key for key, _ in now], unsettled, n)
        # What is left is what a look at everything would have left.
        again = night(None)
        rows_of(again)
        whole = left(again, [], unsettled, n)
        hashes = ["key_low", "key_high", "row_low", "row_high", "settled"]
        for bucket in range(n):
            found, other = (one.tables[bucket].select(hashes) for one in (before, whole))
            assert found.equals(other)


def test_nothing_is_read_of_a_catalog_that_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its files nor the snapshot, once all is settled."""
    write({"a.parquet": [("1", "x"), ("2", "x")], "b.parquet": [("3", "x")]})
    first = night(None)
    rows_of(first)
    before = left(first, ["1", "2", "3"], set(), 2)
    monkeypatch.setattr("incarts_pipeline.catalog.Catalog.batches_of", None)
    second = night(before)
    assert rows_of(second) == []
    quiet = second.quiet(["s"])
    assert quiet is not None
    assert (quiet.counts["row_count"].to_pylist(), before.read) == ([3], [])
    assert second.state == before.state


def test_filter_is_told_of_as_if_all_had_been_read() -> None:
    """What the unread files leave out counts, and filtered rows keep their numbers."""
    write({"a.parquet": [("1", "x"), ("2", "no")], "b.parquet": [("3", "no"), ("4", "y")]})
    where: dict[str, Any] = {"where": "name <> 'no'"}
    first = night(None, **where)
    assert rows_of(first) == [(0, "1"), (3, "4")]
    before = left(first, ["1", "4"], set(), 1)
    write({"a.parquet": [("1", "x"), ("2", "no")], "b.parquet": [("3", "no"), ("4", "z")]})
    second = night(before, **where)
    assert rows_of(second) == [(0, "1"), (3, "4")]
    assert second._catalog.warnings == ["where: leaves out 2 rows."]
    assert second._chosen.rows == 2


def test_all_is_planned_under_another_stamp_or_when_much_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever was seen then says nothing now, or is no help."""
    write({"a.parquet": [(str(i), "x") for i in range(8)]})
    first = night(None)
    rows_of(first)
    keys = [str(i) for i in range(8)]
    before = left(first, keys, set(), 1)
    assert night(before).is_part
    assert not night(before, stamp={"mapping": "2"}).is_part
    monkeypatch.setattr(nights, "_FEW_OPEN", 2)
    assert night(left(first, keys, {"1", "2"}, 1)).is_part
    assert not night(left(first, keys, {"1", "2", "3"}, 1)).is_part
