"""Delta table as an output: one commit where something changed, none where nothing did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

from incarts_pipeline import write_links
from incarts_pipeline.display.reporting import check_places, failed_rows
from incarts_pipeline.errors import IncartsError, PublishError, RefusedError
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.publish import buckets, check_place, read_published
from incarts_pipeline.publish.delta_log import DeltaLog
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.stores import Store

TABLE = "delta://links"
BUCKETS = 4


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let twenty products be four buckets."""
    monkeypatch.setattr(buckets, "BUCKET_ROWS", 5)


@pytest.fixture
def night(run: Run) -> Run:
    """Run over a catalog with a Delta table as its output."""

    def go(catalog: pa.Table | None = None, **keywords: Any) -> RunResult:
        return run(products(20) if catalog is None else catalog, output=TABLE, **keywords)

    return go


def version() -> int:
    """Return the table's newest version."""
    return DeltaTable("links").version()


def files() -> set[str]:
    """Return the names of the files that count."""
    return {one.rpartition("/")[2] for one in DeltaTable("links").file_uris()}


def rows(place: str = TABLE) -> list[dict[str, Any]]:
    """Return all that is published, in the catalog's order."""
    return read_published(place).to_pylist()


def changed(n: int, *at: int) -> pa.Table:
    """Return products of which some are asked for twice as often."""
    return products(n, quantity=[2 if i in at else 1 for i in range(n)])


def test_it_is_the_table_of_one_file(run: Run, night: Run, box: Sandbox) -> None:
    """The same columns and rows as `links.parquet`, whoever reads it; its companions beside it."""
    night()
    night(changed(19, 3))
    run(changed(19, 3))
    night(changed(19, 3))
    assert box.audit().links == 21
    whole = pq.read_table("links.parquet")
    table = DeltaTable("links")
    wanted = whole.to_pylist()
    assert rows() == wanted
    read = table.to_pandas()
    assert list(read.columns) == whole.column_names
    assert dict(zip(read["sku"], read["link_id"], strict=True)) == links_of(wanted)
    found = pl.read_delta("links").sort("catalog_row").to_arrow()
    assert found.column_names == whole.column_names
    assert links_of(found.to_pylist()) == links_of(wanted)
    read_by_duckdb = duckdb.from_arrow(table.to_pyarrow_dataset())
    assert read_by_duckdb.aggregate("COUNT(link_id)").fetchall() == [(19,)]
    missing = pq.read_table("links/_missing/missing.parquet")
    assert missing.equals(pq.read_table("links.missing.parquet"))


def links_of(found: list[dict[str, Any]]) -> dict[str, str]:
    """Return each row's link."""
    return {row["sku"]: row["link_id"] for row in found}


def test_only_what_changed_is_written(night: Run) -> None:
    """One commit with the changed row's bucket, and no commit on a quiet night."""
    night()
    assert version() == 0
    night()  # `created` is `unchanged` now
    night()
    assert version() == 1
    before = files()
    night(changed(20, 7))
    assert version() == 2
    assert len(files() - before) == len(before - files()) == 1
    night(changed(20, 7))
    for _ in range(2):
        assert night(changed(20, 7)).published.by_status[Status.UNCHANGED] == 20
    assert version() == 3
    old = DeltaTable("links", version=2).to_pyarrow_table()
    assert old.num_rows == 20, "what an older version has is still there"


def test_a_table_of_a_few_rows_is_one_file(night: Run) -> None:
    """No bucket is split that is small."""
    night(products(3))
    assert len(files()) == 1
    night(products(0, sku=pa.array([], pa.string())), allow_empty=True)
    assert DeltaTable("links").to_pyarrow_table().num_rows == 0


def test_a_commit_says_which_run_made_it(night: Run) -> None:
    """`DESCRIBE HISTORY` has run, project and ledger."""
    result = night()
    [entry] = DeltaTable("links").history()
    assert entry["incarts.run_id"] == result.written.run_id
    assert entry["incarts.project_id"] == "demo"


def test_a_store_is_left_alone_on_a_quiet_night(run: Run, store: Store) -> None:
    """Not one PUT; a changed row costs its bucket, the commit, history and manifest."""
    target = f"delta+s3://links/warehouse/links?{store.options}"
    for _ in range(2):
        run(products(20), output=target)
    store.writes()
    run(products(20), output=target)
    assert store.writes() == []
    run(changed(20, 7), output=target)
    put = [path.rpartition("/")[2] for method, path in store.writes() if method == "PUT"]
    assert len(put) == 4
    assert f"{2:020}.json" in put
    assert len(rows(target)) == 20
    # Another set's run has changed the ledger, so that all is looked at.
    run(changed(20, 7), output=target)
    run(products(3), link_set="other", output="other.parquet")
    store.writes()
    run(changed(20, 7), output=target)
    assert store.writes() == []


def between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen between a run's last look at the table and its commit, once."""
    commit, todo = DeltaLog.commit, [happens]

    def late(self: DeltaLog, *args: Any) -> None:
        while todo:
            todo.pop()()
        commit(self, *args)

    monkeypatch.setattr(DeltaLog, "commit", late)


OTHERS: Mapping[str, Callable[[], object]] = {
    "the same bucket": lambda: DeltaTable("links").delete("sku = '000007'"),
    "another bucket": lambda: DeltaTable("links").delete("sku = '000001'"),
    "no row": lambda: DeltaTable("links").alter.set_table_description("of ours"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_two_writers_at_once(
    night: Run, monkeypatch: pytest.MonkeyPatch, box: Sandbox, other: str
) -> None:
    """The second one is told, readers have the first one's version, and the next run heals it."""
    night()
    night()
    between(monkeypatch, OTHERS[other])
    with pytest.raises(PublishError, match=r"Another writer has published .* as version 2") as told:
        night(changed(20, 7))
    assert "Run again" in str(told.value)
    assert version() == 2
    assert night(changed(20, 7)).written.requests == 0
    assert len(rows()) == DeltaTable("links").to_pyarrow_table().num_rows == 20
    assert box.audit().links == 21
    night(changed(20, 7))
    assert version() == 3


def test_a_commit_whose_answer_is_lost_counts(night: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says whose it is."""
    night()
    commit = DeltaTable.create_write_transaction

    def lost(self: DeltaTable, *args: Any, **keywords: Any) -> None:
        commit(self, *args, **keywords)
        raise OSError("the connection was closed")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lost)
    assert night().published.by_status[Status.UNCHANGED] == 20
    assert version() == 1
    night()
    assert version() == 1


def test_a_commit_that_fails_leaves_the_table(night: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what its library says."""

    def full(self: DeltaTable, *args: Any, **keywords: Any) -> None:
        raise OSError("no space left")

    night()
    monkeypatch.setattr(DeltaTable, "create_write_transaction", full)
    with pytest.raises(PublishError, match=r"links can't be written \(no space left\)"):
        night()
    assert version() == 0


def test_two_first_runs_at_once(night: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that is there first stays."""
    between(monkeypatch, lambda: write_deltalake("links", pa.table({"mine": [1]})))
    with pytest.raises(PublishError, match="Another writer has published"):
        night()
    assert DeltaTable("links").to_pyarrow_table().to_pydict() == {"mine": [1]}


def test_a_store_lets_one_writer_through(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no links between files, the store's own conditions decide."""
    target = f"delta+s3://links/links?{store.options}"
    run(products(20), output=target)
    log = "links/_delta_log/00000000000000000001.json"
    theirs = b'{"commitInfo":{"timestamp":1,"operation":"OPTIMIZE","operationParameters":{}}}\n'
    between(monkeypatch, lambda: store.client.put_object(Bucket="links", Key=log, Body=theirs))
    with pytest.raises(PublishError, match="Another writer has published"):
        run(changed(20, 7), output=target)
    there = store.client.get_object(Bucket="links", Key=log)["Body"].read()
    assert there == theirs
    run(changed(20, 7), output=target)
    assert len(rows(target)) == 20


HARM: Mapping[str, Callable[[], object]] = {
    "an old version restored": lambda: DeltaTable("links").restore(0),
    "compacted": lambda: DeltaTable("links").optimize.compact(),
    "vacuumed": lambda: DeltaTable("links").vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True
    ),
    "a row deleted": lambda: DeltaTable("links").delete("sku = '000001'"),
    "a row edited": lambda: DeltaTable("links").update(
        updates={"short_link": "'x'"}, predicate="sku = '000001'"
    ),
    "rows doubled": lambda: write_deltalake(
        "links", DeltaTable("links").to_pyarrow_table().slice(3, 4), mode="append"
    ),
    "a column added": lambda: write_deltalake(
        "links",
        DeltaTable("links").to_pyarrow_table().append_column("more", pa.array(["x"] * 19)),
        mode="overwrite",
        schema_mode="overwrite",
    ),
    "a column promised": lambda: DeltaTable("links").alter.add_columns(
        [Field("more", PrimitiveType("string"))]
    ),
    "a file lost": lambda: Path("links", min(files())).unlink(),
    "a file cut off": lambda: Path("links", min(files())).write_bytes(b"PAR1"),
    "a file damaged": lambda: [
        Path("links", name).write_bytes(b"0" * Path("links", name).stat().st_size)
        for name in files()
    ],
    "the manifest lost": lambda: Path("links/_manifest.json").unlink(),
    "the history lost": lambda: shutil.rmtree("links/_history"),
}


def test_what_others_did_is_put_right(night: Run) -> None:
    """The next run does that, and the one after it commits nothing."""
    for catalog in (products(20), changed(19, 2), changed(19, 2), changed(19, 2)):
        night(catalog)
    before, columns = rows(), DeltaTable("links").schema()
    for what, harm in HARM.items():
        harm()
        assert night(changed(19, 2)).written.requests == 0, what
        assert rows() == before, what
        assert DeltaTable("links").schema() == columns, what
        kept = version()
        night(changed(19, 2))
        assert version() == kept, what


def test_a_catalog_that_grows_gets_more_buckets(night: Run) -> None:
    """All of them in one commit."""
    night(products(20))
    night(products(90))
    assert (version(), len(files())) == (1, 32)
    assert [row["sku"] for row in rows()] == [f"{i:06d}" for i in range(90)]


def foreign(columns: Mapping[str, list[object]], **options: Any) -> Callable[[], object]:
    """Return what makes a table of somebody else."""
    return lambda: write_deltalake("links", pa.table(dict(columns)), **options)


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "another table": (foreign({"sku": ["1"]}), "is a Delta table of something else"),
    "missing links": (
        foreign({"link_id": ["1"], "missing_since": ["x"]}),
        "is a Delta table of missing links",
    ),
    "links by hand": (foreign({"sku": ["1"], "link_id": ["x"]}), "of something else"),
    "a folder of files": (
        lambda: (Path("links").mkdir(), pq.write_table(products(1), "links/a.parquet")),
        r"holds a\.parquet, which is no part of a Delta table",
    ),
    "features": (
        foreign({"a": [1]}, configuration={"delta.enableDeletionVectors": "true"}),
        "feature that is not written here: deletionVectors",
    ),
}


def by_hand(**properties: str) -> Callable[[], object]:
    """Return what gives the table of a night a property."""
    return lambda: DeltaTable("links").alter.set_table_properties(properties)


def asks(**protocol: object) -> Callable[[], object]:
    """Return what lets the table of a night ask something of its writers."""

    def commit() -> None:
        said = {"protocol": {"minReaderVersion": 1, **protocol}}
        log = Path("links/_delta_log", f"{version() + 1:020}.json")
        log.write_text(json.dumps(said), encoding="utf-8")

    return commit


UNWRITABLE: Mapping[str, tuple[Callable[[], object], str]] = {
    "append only": (by_hand(**{"delta.appendOnly": "true"}), r"delta\.appendOnly"),
    "a writer's feature": (
        asks(minWriterVersion=7, writerFeatures=["rowTracking", "domainMetadata"]),
        "domainMetadata, rowTracking",
    ),
    "an old writer's": (asks(minWriterVersion=6), "writer version 6"),
}


@pytest.mark.parametrize("what", UNWRITABLE)
def test_a_table_that_takes_no_commit_is_refused(night: Run, box: Sandbox, what: str) -> None:
    """Before anything is sent, and it can still be read."""
    night()
    made, told = UNWRITABLE[what]
    made()
    before, sent = version(), box.audit().requests
    with pytest.raises(RefusedError, match=f"not written here: {told}") as refused:
        night(products(23))
    assert refused.value.guard == "unknown_output"
    assert (version(), box.audit().requests, len(rows())) == (before, sent, 20)


def test_what_deltalake_heeds_is_written(night: Run) -> None:
    """Features that ask nothing of files that are put in place of others."""
    night()
    features = ["appendOnly", "invariants", "checkConstraints", "generatedColumns"]
    asks(minWriterVersion=7, writerFeatures=[*features, "changeDataFeed"])()
    night(changed(20, 7))
    assert (version(), len(rows())) == (2, 20)


@pytest.mark.parametrize("place", ["delta://", "delta+file://", "delta+s3://", "delta+s3://?a=b"])
def test_an_empty_folder_is_refused(run: Run, box: Sandbox, place: str) -> None:
    """As of a variable that isn't set: neither the root nor the working folder is written to."""
    before = set(Path().iterdir())
    with pytest.raises(IncartsError, match="There is no folder in") as told:
        run(products(3), output=place)
    assert "variable" in str(told.value)
    assert {one for one in set(Path().iterdir()) - before if "ledger" not in one.name} == set()
    assert box.audit().requests == 0


def test_a_folder_that_begins_like_a_delta_table(run: Run) -> None:
    """Is one of files."""
    run(products(3), output="delta+links/")
    assert Path("delta+links/_manifest.json").exists()
    assert len(read_published("delta+links/")) == 3


def test_a_folder_at_home(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and log are in the same one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    run(products(3), output="delta://~/links")
    assert len(DeltaTable(tmp_path / "home/links").to_pyarrow_table()) == 3
    assert not Path("~").exists()


def test_credentials_in_the_uri_reach_the_log(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they reach the files."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    target = f"delta+s3://KEYKEYKEY:se%2Fcret%2Bsecret@links/links?{store.options}"
    run(products(3), output=target)
    assert len(rows(target)) == 3
    assert "links/_delta_log/00000000000000000000.json" in store.tags()


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_ours_is_refused(night: Run, box: Sandbox, what: str) -> None:
    """Before anything is sent."""
    made, told = REFUSED[what]
    made()
    before = sorted(Path("links").rglob("*"))
    with pytest.raises(IncartsError, match=told):
        night()
    assert sorted(Path("links").rglob("*")) == before
    assert box.audit().requests == 0


def test_links_that_the_ledger_does_not_know_are_refused(night: Run, box: Sandbox) -> None:
    """Of a lost ledger, or another set."""
    night()
    with pytest.raises(RefusedError, match=r"delta://links holds 20 links") as one:
        night(ledger=Path("other.db").absolute())
    assert one.value.guard == "unknown_output"
    with pytest.raises(RefusedError, match="not of the link set 'other'"):
        night(link_set="other")
    assert (version(), box.audit().links) == (0, 20)


def test_a_table_and_a_dataset_are_not_mixed(run: Run, night: Run) -> None:
    """A folder is one or the other, and the message names the right way to write it."""
    night()
    with pytest.raises(RefusedError, match=r"Publish it as delta://.*/links,"):
        run(products(20), output="links/")
    run(products(20), output="dataset/")
    with pytest.raises(RefusedError, match=r"dataset holds bucket-0000\.parquet"):
        run(products(20), output="delta://dataset")


@pytest.mark.parametrize("catalog", ["links", "delta://links", "delta://./links"])
def test_a_table_that_is_the_catalog_is_refused(run: Run, catalog: str) -> None:
    """The next run would read the links as products."""
    write_deltalake("links", products(3))
    with pytest.raises(RefusedError) as refused:
        run(catalog, output=TABLE)
    assert refused.value.guard == "output_is_input"


def test_columns_that_delta_does_not_have_are_refused(night: Run, box: Sandbox) -> None:
    """Of the key, before anything is sent."""
    keys = pa.array(range(3), pa.uint64())
    catalog = products(3).set_column(0, "sku", keys)
    with pytest.raises(PublishError, match="no columns of the type uint64, which 'sku'"):
        night(catalog)
    with pytest.raises(PublishError, match="differ in case alone: 'Status' and 'status'"):
        night(products(3).rename_columns({"sku": "Status"}), unique_key=("Status",))
    assert box.audit().requests == 0


def test_places_that_can_be_no_output(tmp_path: Path) -> None:
    """An old version, a folder in none, and QR codes."""
    with pytest.raises(PublishError, match="is an old version of a table"):
        check_places("delta://links?version=3", None)
    with pytest.raises(PublishError, match="doesn't exist"):
        check_places("delta://no/folder/links", None)
    (tmp_path / "file").touch()
    with pytest.raises(PublishError, match="is a file"):
        check_places(f"delta://{tmp_path}/file", None)
    with pytest.raises(PublishError, match="as which only links are published"):
        check_place("delta://codes")


def test_a_lost_ledger_is_rebuilt(night: Run, settings: Settings, box: Sandbox) -> None:
    """From the table, under either of its names; nothing is made again."""
    night()
    night(changed(19, 2))
    for source in (TABLE, "links", "links/_manifest.json"):
        for file in Path().glob("ledger.db*"):
            file.unlink()
        import_links(source, settings)
        assert night(changed(19, 2)).written.requests == 0, source
    assert box.audit().links == 21


def test_a_frames_rows_have_their_links(settings: Settings) -> None:
    """As with any other output."""
    given: dict[str, Any] = {"settings": settings, "link_set": "s", "unique_key": "sku"}
    frame = changed(20, 5).set_column(5, "quantity", pa.array([1] * 5 + [0] + [1] * 14))
    result = write_links(frame.to_pandas(), output=TABLE, **given)
    assert result.output == TABLE
    assert result.counts == {"created": 19, "rejected": 1}
    assert result.to_pandas()["link_id"].notna().sum() == 19
    assert failed_rows(TABLE)["row_key"].to_pylist() == ["000005"]


def test_a_file_is_no_more_open_than_the_one_before(night: Run) -> None:
    """Though it has a name of its own."""
    night()
    for name in files():
        Path("links", name).chmod(0o600)
    night()
    assert {Path("links", name).stat().st_mode & 0o777 for name in files()} == {0o600}


@pytest.mark.parametrize("output", [TABLE, "links/"])
@pytest.mark.parametrize("is_history_left", [True, False])
def test_a_table_that_is_gone_with_its_ledger(
    run: Run, settings: Settings, box: Sandbox, output: str, *, is_history_left: bool
) -> None:
    """Nothing is made again while a history or a manifest tells that there were links."""
    run(products(20), output=output)
    shutil.rmtree("links/_delta_log", ignore_errors=True)
    for file in [*Path().glob("ledger.db*"), *Path("links").glob("bucket-*")]:
        file.unlink()
    if not is_history_left:
        shutil.rmtree("links/_history")
    told = "holds 20 links or doubts" if is_history_left else "has lost its files"
    with pytest.raises(RefusedError, match=told) as refused:
        run(products(20), output=output)
    assert refused.value.guard == "unknown_output"
    if is_history_left:
        import_links(output, settings)
        run(products(20), output=output)
        assert len(rows(output)) == 20
    assert box.audit().links == 20
