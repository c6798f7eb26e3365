"""Publishing: atomic on disk, whole files on an object store, and what can't be written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from incarts_pipeline.errors import PublishError, RefusedError
from incarts_pipeline.ledger import bulk_queries
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.publish import queries
from incarts_pipeline.publish.files import check_place, resolve
from incarts_pipeline.publish.output import Output
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened


def test_companions_stand_beside_the_output() -> None:
    """The missing and history tables take the output's folder and suffix."""
    output = Output(links="a/links.parquet")
    assert (output.missing, output.history) == (
        "a/links.missing.parquet",
        "a/links.history.parquet",
    )
    uri = Output(links="s3://b/links.parquet?region=us-east-1")
    assert uri.missing == "s3://b/links.missing.parquet?region=us-east-1"


def test_object_store_gets_finished_files(settings: Settings, bucket: str) -> None:
    """All three tables are uploaded; a second run knows the first one's links."""
    target = f"s3://links/out/links.parquet?{bucket}"
    for requests in (5, 0):
        request = PlanRequest(catalog=products(5), link_set="s", unique_key=("sku",))
        with plan_catalog(request, settings) as plan:
            result = run_blocking(
                lambda stop, plan=plan: apply_plan(plan, settings, target, stop=stop)
            )
        assert result.written.requests == requests
    filesystem, path = resolve(target)
    assert pq.read_table(path, filesystem=filesystem).num_rows == 5
    names = {info.base_name for info in filesystem.get_file_info(fs.FileSelector("links/out"))}
    assert names == {"links.parquet", "links.missing.parquet", "links.history.parquet"}


def test_nothing_half_written_is_left(run: Run, tmp_path: Path) -> None:
    """Only the three tables and the ledger remain in the folder."""
    run(products(3))
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("ledger.db")}
    assert left == {"links.parquet", "links.missing.parquet", "links.history.parquet"}


def test_output_in_no_folder(run: Run) -> None:
    """A folder that isn't there is named before anything is sent."""
    with pytest.raises(PublishError, match="doesn't exist"):
        run(products(2), output="nowhere/links.parquet")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("links.csv", r"links\.csv isn't named like"),
        ("links", r"Let its name end with \.parquet, or with a slash for a folder"),
        ("folder", r"is a folder.* Name a file in it, like links\.parquet, or end it with a slash"),
        ("links.Parquet/", r"is a file\. Leave the slash"),
        ("nowhere/links/", r"doesn't exist"),
        ("folder.parquet", r"is a folder"),
        ("nowhere/links.parquet", r"doesn't exist"),
    ],
)
def test_place_where_no_table_can_be(tmp_path: Path, place: str, message: str) -> None:
    """What can't be, or wouldn't be, a Parquet file is refused with what to do."""
    for name in ("folder", "folder.parquet"):
        (tmp_path / name).mkdir()
    (tmp_path / "links.Parquet").touch()
    with pytest.raises(PublishError, match=message):
        check_place(f"{tmp_path}/{place}", or_folder=True)
    for fine in ("links.Parquet", "folder/", "new/"):
        check_place(f"{tmp_path}/{fine}", or_folder=True)
    with pytest.raises(
        PublishError, match=r"is a folder\. Name a file in it, like links.parquet\.$"
    ):
        check_place(f"{tmp_path}/new/")


def test_output_that_is_something_else(run: Run, tmp_path: Path) -> None:
    """A Parquet file without links is not overwritten."""
    pq.write_table(products(2), tmp_path / "links.parquet")
    with pytest.raises(RefusedError, match="not a table of links"):
        run(products(2))


def test_a_history_never_loses_a_link(run: Run, settings: Settings) -> None:
    """A ledger that was rolled back, with nothing beside it that tells; importing mends it."""
    run(products(3))
    with opened("ledger.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = Path("ledger.db").read_bytes()
    run(products(5))
    for log in Path().glob("ledger.db?*"):  # the log, and the witness
        log.unlink()
    Path("ledger.db").write_bytes(backup)
    before = Path("links.history.parquet").read_bytes()
    Path("links.parquet").unlink()  # whose links would stop the run too
    with pytest.raises(RefusedError, match="is an older copy"):
        run(products(3))
    assert Path("links.history.parquet").read_bytes() == before
    import_links("links.history.parquet", settings)
    assert run(products(5)).written.requests == 0
    assert pq.read_table("links.history.parquet").num_rows == 5


def test_a_history_read_short_is_not_published(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is that loses rows on their way."""
    run(products(3))
    monkeypatch.setattr(bulk_queries, "_HISTORY", bulk_queries._HISTORY + " LIMIT 2")
    with pytest.raises(PublishError, match="has 3 links of this ledger, and would have 2 now"):
        run(products(4))
    assert pq.read_table("links.history.parquet").num_rows == 3


def test_a_history_of_fewer_link_sets(run: Run) -> None:
    """A mapping that loses a link set takes its links out of the table, as before."""
    fields = {
        "name": "{name}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "retailer_product_id"}},
    }
    mapping = {"link_set": "a", "unique_key": ["sku"], "links": {"c": fields, "d": fields}}
    run(products(2), mapping=mapping)
    run(products(2), mapping=mapping | {"links": {"c": fields}})
    assert pq.read_table("links.history.parquet").num_rows == 2


def test_every_row_of_the_catalog_is_published(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that lacks one is not put in place."""
    run(products(3))
    before = Path("links.parquet").read_bytes()
    rows = queries.rows
    monkeypatch.setattr(queries, "rows", lambda *a: f"SELECT * FROM ({rows(*a)}) LIMIT 3")
    with pytest.raises(PublishError, match="would have 3 rows of 4"):
        run(products(4))
    assert Path("links.parquet").read_bytes() == before
