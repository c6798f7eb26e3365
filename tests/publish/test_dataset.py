"""Dataset of buckets: written where something changed, read as one table, and healed by a run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import write_links
from incarts_pipeline.display.reporting import failed_rows
from incarts_pipeline.errors import PublishError, RefusedError
from incarts_pipeline.ledger import bulk_queries
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.publish import buckets, history_parts, queries, read_published
from incarts_pipeline.publish.manifest import Manifest
from incarts_pipeline.publish.output import Output
from incarts_pipeline.publish.published_rows import part_number
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.spark import SAIL, session, why_not
from tests.support.sqlite_files import opened
from tests.support.stores import Store

LINKS = Path("links")
HISTORY = LINKS / "_history"
BUCKETS = 4


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let twenty products be four buckets."""
    monkeypatch.setattr(buckets, "BUCKET_ROWS", 5)


@pytest.fixture
def night(run: Run) -> Run:
    """Run over a catalog with a dataset as its output."""

    def go(catalog: pa.Table | None = None, **keywords: Any) -> RunResult:
        return run(products(20) if catalog is None else catalog, output="links/", **keywords)

    return go


def files() -> dict[str, int]:
    """Return the dataset's files with what tells one that was written again."""
    found = [one for one in LINKS.rglob("*") if one.is_file()]
    return {one.relative_to(LINKS).as_posix(): one.stat().st_ino for one in found}


def written(again: Callable[[], object]) -> set[str]:
    """Run something; return the files that it wrote."""
    before = files()
    again()
    return {name for name, inode in files().items() if before.get(name) != inode}


def bucket_of(row_key: str) -> str:
    """Return the file that a row is in, as anybody can work it out."""
    number = int.from_bytes(hashlib.md5(row_key.encode()).digest(), "little") % BUCKETS
    return f"bucket-{number:04d}.parquet"


def rows(links: str = "links/") -> list[dict[str, Any]]:
    """Return all that is published, in the catalog's order."""
    return read_published(links).to_pylist()


def newest_history() -> list[dict[str, Any]]:
    """Return the history as its readers have it: of each key the rows of the newest part."""
    found: dict[str, list[dict[str, Any]]] = {}
    for part in parts():
        table = pq.read_table(part).to_pylist()
        for key in {row["idempotency_key"] for row in table}:
            found[key] = [row for row in table if row["idempotency_key"] == key]
    return sorted((row for rows in found.values() for row in rows), key=repr)


def parts() -> list[Path]:
    """Return the parts of the history that the manifest names, or all where there is none."""
    manifest = Manifest.of(Output(links="links/"))
    named = (
        HISTORY.iterdir() if manifest is None else (LINKS / n for n in manifest.below("_history/"))
    )
    return sorted(named, key=lambda part: part_number(str(part)))


def changed(n: int, *at: int) -> pa.Table:
    """Return products of which some are asked for twice as often."""
    return products(n, quantity=[2 if i in at else 1 for i in range(n)])


def test_it_is_the_table_in_many_files(run: Run, night: Run, box: Sandbox) -> None:
    """Whatever stands in `links.parquet` and its companions is there, each row in its bucket."""
    night()
    night(changed(19, 3))
    run(changed(19, 3))
    night(changed(19, 3))
    assert box.audit().links == 21
    whole = pq.read_table("links.parquet")
    assert rows() == whole.to_pylist()
    missing = pq.read_table("links/_missing/missing.parquet")
    assert missing.equals(pq.read_table("links.missing.parquet"))
    history = pq.read_table("links.history.parquet").to_pylist()
    assert newest_history() == sorted(history, key=repr)
    for name in sorted(one.name for one in LINKS.glob("bucket-*")):
        keys = pq.read_table(LINKS / name)["row_key"].to_pylist()
        assert keys == sorted(keys)
        assert {bucket_of(key) for key in keys} == {name}


def test_only_what_changed_is_written(night: Run) -> None:
    """A bucket for a changed row, none on a quiet night."""
    night()
    assert len(written(night)) == BUCKETS + 1  # `created` is `unchanged` now
    assert written(night) == set()
    found = written(lambda: night(changed(20, 7)))
    part = f"_history/{parts()[1].name}"
    assert int(part.removesuffix(".parquet").rpartition("-")[2]) == 2, "as earlier versions read it"
    assert found == {bucket_of("000007"), "_manifest.json", part}
    assert written(lambda: night(changed(20, 7))) == {bucket_of("000007"), "_manifest.json"}
    assert written(lambda: night(changed(20, 7))) == set()
    gone = {bucket_of("000019"), "_missing/missing.parquet", "_manifest.json"}
    assert written(lambda: night(changed(19, 7))) == gone


def test_another_sets_run_writes_nothing(run: Run, night: Run) -> None:
    """The ledger has changed, so that all is looked at; the files are the same."""
    night()
    made_by = night().published.made_by
    run(products(3), link_set="other", output="other.parquet")
    results = []
    assert written(lambda: results.append(night())) == set()
    assert results[0].published.made_by == made_by
    assert results[0].published.by_status[Status.UNCHANGED] == 20


def test_a_store_is_left_alone_on_a_quiet_night(run: Run, store: Store) -> None:
    """Not one PUT, and every ETag stays; a changed row costs its bucket, history and manifest."""
    target = f"s3://links/dataset/links/?{store.options}"

    def night(catalog: pa.Table) -> set[str]:
        before = store.tags()
        run(catalog, output=target)
        now = store.tags()
        changed = {name for name, tag in now.items() if before.get(name) != tag}
        return {re.sub("-[0-9a-f]{32}", "", name.rpartition("/")[2]) for name in changed}

    night(products(20))
    night(products(20))
    store.writes()
    assert night(products(20)) == set()
    assert store.writes() == []
    part = "part-000002.parquet"
    assert night(changed(20, 7)) == {bucket_of("000007"), part, "_manifest.json"}
    assert [method for method, _ in store.writes()].count("PUT") == 3
    run(products(3), link_set="other", output="other.parquet")
    night(changed(20, 7))
    store.writes()
    run(products(3), link_set="other", output="other.parquet")
    assert night(changed(20, 7)) == set()
    assert store.writes() == []
    assert len(rows(target)) == 20


def spark_rows() -> list[dict[str, Any]]:
    """Return what Spark reads of the folder."""
    if reason := why_not(SAIL):
        pytest.skip(reason)
    with session(SAIL) as spark:
        read = spark.read.parquet(f"{Path('links').absolute()}/")
        return [row.asDict(recursive=True) for row in read.collect()]


READERS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "pyarrow": lambda: pq.read_table("links/").to_pylist(),
    "pyarrow's datasets": lambda: ds.dataset("links/").to_table().to_pylist(),
    "pandas": lambda: pd.read_parquet("links/", dtype_backend="pyarrow").to_dict("records"),
    "Polars": lambda: pl.read_parquet("links/*.parquet").to_dicts(),
    "DuckDB": lambda: duckdb.sql("FROM 'links/*.parquet'").to_arrow_table().to_pylist(),
    "Spark": spark_rows,
}


@pytest.mark.parametrize("reader", READERS)
def test_it_is_read_as_one_table(night: Run, reader: str) -> None:
    """By what people read folders of Parquet with, and without the files beside the buckets."""
    night()
    night(changed(19, 2))
    found = READERS[reader]()
    wanted = [(one["sku"], one["status"], one["link_id"]) for one in rows()]
    assert sorted((one["sku"], one["status"], one["link_id"]) for one in found) == wanted


HARM: Mapping[str, Callable[[], object]] = {
    "rows": lambda: pq.write_table(
        pq.read_table(bucket := LINKS / bucket_of("000001")).slice(1), bucket
    ),
    "a bucket": lambda: (LINKS / bucket_of("000001")).unlink(),
    "a damaged bucket": lambda: (LINKS / bucket_of("000001")).write_bytes(b"PAR1"),
    "a bucket of text": lambda: (LINKS / bucket_of("000001")).write_text("no table any more"),
    "an empty bucket": lambda: (LINKS / bucket_of("000001")).write_bytes(b""),
    "the missing of text": lambda: (LINKS / "_missing" / "missing.parquet").write_text("no table"),
    "the missing": lambda: (LINKS / "_missing" / "missing.parquet").unlink(),
    "the manifest": lambda: (LINKS / "_manifest.json").unlink(),
    "a damaged manifest": lambda: (LINKS / "_manifest.json").write_text("{"),
    "a part": lambda: next(HISTORY.iterdir()).unlink(),
    "a damaged part": lambda: next(HISTORY.iterdir()).write_bytes(b"PAR1 and no more"),
    "a part of nothing": lambda: next(HISTORY.iterdir()).write_bytes(bytes(100)),
    "the history": lambda: shutil.rmtree(HISTORY),
    "a part too many": lambda: shutil.copy(
        next(HISTORY.iterdir()), HISTORY / "part-000009.parquet"
    ),
}


def test_what_was_harmed_is_written_again(night: Run) -> None:
    """Edited, damaged or gone: the next run puts it right, and the one after it does nothing."""
    for catalog in (products(20), changed(19, 2), changed(19, 2), changed(19, 2)):
        night(catalog)
    before, history = rows(), newest_history()
    for what, harm in HARM.items():
        harm()
        assert night(changed(19, 2)).written.requests == 0, what
        assert rows() == before, what
        assert newest_history() == history, what
        assert written(lambda: night(changed(19, 2))) == set(), what


def test_a_lost_ledger_is_rebuilt(night: Run, settings: Settings, box: Sandbox) -> None:
    """From the folder, its manifest, or what is left of it; nothing is made again."""
    night()
    night(changed(19, 2))
    for source, gone in (
        ("links/", ()),
        ("links", ("_manifest.json",)),
        ("links/_manifest.json", ("_history",)),
        ("links/_history/", tuple(f"bucket-{n:04d}.parquet" for n in range(BUCKETS))),
    ):
        shutil.copytree("links", "kept")
        for name in gone:
            shutil.rmtree(one) if (one := LINKS / name).is_dir() else one.unlink()
        for file in Path().glob("ledger.db*"):
            file.unlink()
        import_links(source, settings)
        shutil.rmtree("links")
        Path("kept").rename("links")
        assert night(changed(19, 2)).written.requests == 0, source
    assert box.audit().links == 21


def test_links_that_the_ledger_does_not_know_are_refused(
    night: Run, settings: Settings, box: Sandbox
) -> None:
    """Of a lost ledger, another host, another set, or what is no table at all."""
    night()
    before = files()
    with pytest.raises(
        RefusedError, match=r"links/ holds 20 links .*`incarts import .*links/`"
    ) as one:
        night(ledger=Path("other.db").absolute())
    assert one.value.guard == "unknown_output"
    with pytest.raises(RefusedError, match="not of the link set 'other'"):
        night(link_set="other")
    assert settings.base_url is not None
    away = settings.base_url.replace("127.0.0.1", "localhost")
    with pytest.raises(RefusedError, match="holds links of http://127"):
        night(base_url=away, ledger=Path("other.db").absolute())
    (LINKS / "more.parquet").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"links/ holds more\.parquet, which is no part"):
        night()
    (LINKS / "more.parquet").unlink()
    assert files() == before
    assert box.audit().links == 20


def test_an_older_ledger_is_refused(night: Run) -> None:
    """The manifest tells, as the table does; the bucket's own facts tell when it is gone."""
    night(products(3))
    with opened("ledger.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = Path("ledger.db").read_bytes()
    night(products(5))
    for log in Path().glob("ledger.db?*"):  # the log, and the witness
        log.unlink()
    Path("ledger.db").write_bytes(backup)
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"older copy.*`incarts import .*links/`"):
            night(products(3))
        (LINKS / "_manifest.json").unlink(missing_ok=True)


@pytest.mark.parametrize("catalog", ["links/", "all", "all/**/*.parquet"])
def test_a_folder_that_is_read_as_the_catalog_is_refused(run: Run, catalog: str) -> None:
    """The next run would read the links as products."""
    Path("all/links").mkdir(parents=True)
    LINKS.mkdir()
    for folder in (LINKS, Path("all")):
        pq.write_table(products(3), folder / "bucket-0000.parquet")
    with pytest.raises(RefusedError) as refused:
        run(catalog, output="links/" if catalog == "links/" else "all/links/")
    assert refused.value.guard == "output_is_input"


def test_a_catalog_that_grows_gets_more_buckets(night: Run) -> None:
    """At four times what they are meant for; no row is twice, and none is lacking."""
    night(products(20))
    night(products(70))
    assert len(list(LINKS.glob("bucket-*"))) == BUCKETS
    night(products(90))
    assert len(list(LINKS.glob("bucket-*"))) == 32
    assert [row["sku"] for row in rows()] == [f"{i:06d}" for i in range(90)]


def test_an_empty_catalog_is_an_empty_table(night: Run) -> None:
    """With its columns, so that whoever reads it finds them."""
    night(products(0), allow_empty=True)
    assert read_published("links/").num_rows == 0
    assert "link_id" in pq.read_schema(LINKS / "bucket-0000.parquet").names


def test_a_history_never_loses_a_link(night: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is that loses rows on their way, to a part more or to a new beginning."""
    night(products(3))
    before = newest_history()
    monkeypatch.setattr(bulk_queries, "_HISTORY", bulk_queries._HISTORY + " LIMIT 2")
    with pytest.raises(PublishError, match=r"links/_history/ has 3 links .* and would have 2 now"):
        night(products(4))
    (LINKS / "_manifest.json").unlink()
    with pytest.raises(PublishError, match="has 3 links of this ledger, and would have 2 now"):
        night(products(4))
    assert newest_history() == before


def test_many_parts_become_one(night: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is the same, in a file of its own."""
    monkeypatch.setattr(history_parts, "_MOST_PARTS", 2)
    night()
    night(changed(20, 1))
    assert len(list(HISTORY.iterdir())) == 2
    night(changed(20, 1, 2))
    [part] = parts()
    assert pq.read_table(part).num_rows == 22
    assert written(lambda: night(changed(20, 1, 2))) > {"_manifest.json"}
    assert [part] == parts()


def test_a_row_that_is_lost_on_the_way_is_not_published(
    night: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket that lacks it stays as it was."""
    night()
    rows_query, lost = queries.rows, "000001"
    before = (LINKS / bucket_of(lost)).read_bytes()
    monkeypatch.setattr(
        queries, "rows", lambda *a: f"SELECT * FROM ({rows_query(*a)}) WHERE row_key <> '{lost}'"
    )
    with pytest.raises(PublishError, match=f"links/{bucket_of(lost)} would have . rows of"):
        night(products(20))
    assert (LINKS / bucket_of(lost)).read_bytes() == before


def test_rows_without_a_key_have_a_place(night: Run) -> None:
    """They are rejected, in the bucket of no key at all."""
    catalog = products(6, sku=[*(f"{i:06d}" for i in range(4)), None, None])
    night(catalog)
    night(catalog)
    found = [row["catalog_row"] for row in rows() if row["status"] == "rejected"]
    assert found == [4, 5]
    assert written(lambda: night(catalog)) == set()


def test_a_frames_rows_have_their_links(settings: Settings) -> None:
    """In the frame's order, also when that is another one than last time's."""
    given: dict[str, Any] = {"settings": settings, "link_set": "s", "unique_key": "sku"}
    frame = products(20).to_pandas()
    first = write_links(frame, output="links/", **given).to_pandas()
    turned = frame.iloc[::-1]
    again = write_links(turned, output="links/", **given)
    assert again.to_pandas()["link_id"].tolist() == first["link_id"].tolist()[::-1]
    assert again.output == "links/"
    assert again.counts == {"unchanged": 20}
    assert "unchanged" in again._repr_html_()


def test_a_report_has_the_rows_that_failed(night: Run) -> None:
    """As it has those of a table in one file."""
    night(changed(20, 5).set_column(5, "quantity", pa.array([1] * 5 + [0] + [1] * 14)))
    assert failed_rows("links/")["row_key"].to_pylist() == ["000005"]


def test_a_manifest_of_a_later_format_is_not_guessed(night: Run) -> None:
    """It counts as none, so that all is written as this version does."""
    night()
    said = json.loads((LINKS / "_manifest.json").read_text())
    (LINKS / "_manifest.json").write_text(json.dumps(said | {"format": 99}))
    assert Manifest.of(Output(links="links/")) is None
    night()
    assert Manifest.of(Output(links="links/")) is not None
