"""The main job from catalog to links.parquet, against the sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import plan_links
from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.models import Action, Reason, Status
from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan import workspace
from incarts_pipeline.plan.request import PlanRequest, QrRequest
from incarts_pipeline.qr_codes import apply_qr_codes, plan_qr_codes
from incarts_pipeline.sandbox import Faults, Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.write.circuit_breaker import End, EndKind
from tests.support.paths import SAMPLES
from tests.support.runs import Run, products


def rows(path: Path | str = "links.parquet") -> list[dict[str, object]]:
    """Return a published table's rows."""
    return pq.read_table(path).to_pylist()


def statuses(path: Path | str = "links.parquet") -> dict[str, int]:
    """Count a published table's rows by status."""
    counts: dict[str, int] = {}
    for row in rows(path):
        counts[str(row["status"])] = counts.get(str(row["status"]), 0) + 1
    return counts


def test_first_run_makes_every_link_once(run: Run, box: Sandbox) -> None:
    """Each row gets its link, the link is the sandbox's, and the run counts as settled."""
    result = run(products(40))
    assert result.exit_code() == 0
    assert statuses() == {"created": 40}
    assert box.audit().links == 40
    first = rows()[0]
    assert first["sku"] == "000000"
    assert str(first["target_url"]).endswith("items=500000_1")
    assert first["link_content_hash"] == first["content_hash"]
    assert first["attempts"] == 1
    assert first["http_status"] == 201
    assert first["is_stale"] is False


def test_second_run_sends_nothing(run: Run, box: Sandbox) -> None:
    """Running again makes no request at all and keeps every link."""
    run(products(25))
    before = {row["sku"]: row["link_id"] for row in rows()}
    requests = box.audit().requests
    result = run(products(25))
    assert result.written.requests == 0
    assert box.audit().requests == requests
    assert statuses() == {"unchanged": 25}
    assert {row["sku"]: row["link_id"] for row in rows()} == before


def test_changed_content_is_replaced(run: Run) -> None:
    """A changed destination makes a new link that names the one it follows."""
    run(products(10))
    old = {row["sku"]: row["link_id"] for row in rows()}
    run(products(10, quantity=[2, *[1] * 9]))
    assert statuses() == {"replaced": 1, "unchanged": 9}
    changed = rows()[0]
    assert changed["replaces_link_id"] == old["000000"]
    assert changed["link_id"] != old["000000"]
    assert len(rows("links.history.parquet")) == 11


def test_content_that_comes_back_is_reused(run: Run, box: Sandbox) -> None:
    """Going back to content that has a link uses that link, without a call."""
    run(products(10))
    old = rows()[0]["link_id"]
    run(products(10, quantity=[2, *[1] * 9]))
    result = run(products(10))
    assert result.written.requests == 0
    assert statuses() == {"reused": 1, "unchanged": 9}
    assert rows()[0]["link_id"] == old
    assert box.audit().links == 11


@pytest.mark.parametrize("at_once", [0, 10_000], ids=["read whole", "looked up"])
def test_earlier_links_are_found_either_way(
    run: Run, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Earlier links of many rows are read with one query, those of a few by their rows' keys."""
    run(products(4))
    run(products(4, quantity=[2, 2, 1, 1]))
    monkeypatch.setattr(workspace, "_LOOKED_UP_AT_ONCE", at_once)
    result = run(products(5, quantity=[1, 1, 1, 1, 1]))
    assert result.written.requests == 1
    assert statuses() == {"reused": 2, "unchanged": 2, "created": 1}


def test_changed_label_is_ignored(run: Run) -> None:
    """A new name alone keeps the link, which is then stale."""
    run(products(3))
    result = run(products(3, name=["Renamed", "Product 1", "Product 2"]))
    assert result.written.requests == 0
    assert rows()[0]["reason"] == "ignored_change"
    assert rows()[0]["is_stale"] is True


def test_pinned_row_is_held(run: Run) -> None:
    """A pinned row keeps its link whatever changes."""
    run(products(3, pinned=[True, False, False]))
    result = run(products(3, pinned=[True, False, False], quantity=[5, 1, 1]))
    assert result.written.requests == 0
    assert (rows()[0]["status"], rows()[0]["reason"]) == ("held", "pinned")
    assert rows()[0]["link_id"]


def test_row_that_left_is_reported_and_kept(run: Run) -> None:
    """Links without a row stand in the missing table, and are current again when it returns."""
    run(products(5))
    run(products(4))
    [missing] = rows("links.missing.parquet")
    assert missing["row_key"] == "000004"
    assert missing["missing_since"] is not None
    run(products(5))
    assert rows("links.missing.parquet") == []
    assert statuses() == {"unchanged": 5}


def test_problems_never_reach_the_api(run: Run, box: Sandbox) -> None:
    """A row that breaks rules is rejected with all of them, and the others go on."""
    result = run(
        products(4, quantity=[1, 0, 1, 1], retailer=["walmart", "Walmart", *["walmart"] * 2])
    )
    assert result.exit_code() == 0
    assert statuses() == {"created": 3, "rejected": 1}
    problems = rows()[1]["problems"]
    assert isinstance(problems, list)
    assert len(problems) >= 2
    assert box.audit().links == 3


def test_duplicate_keys(run: Run, box: Sandbox) -> None:
    """Equal rows share a link; differing ones are rejected, and name each other and the fields."""
    table = pa.concat_tables([products(3), products(3, quantity=[1, 7, 1])])
    run(table)
    assert box.audit().links == 2
    by_row = {row["catalog_row"]: row for row in rows()}
    assert by_row[0]["link_id"] == by_row[3]["link_id"]
    assert by_row[1]["status"] == by_row[4]["status"] == "rejected"
    said = "rows 1, 4 (counted from 0) share this key but differ in products.quantity: keep"
    assert said in str(by_row[1]["problems"])


def test_limit_leaves_the_rest_pending(run: Run, box: Sandbox) -> None:
    """--limit makes so many links; running again goes on where it stopped."""
    result = run(products(10), limit=4)
    assert result.exit_code() == 4
    assert statuses() == {"created": 4, "pending": 6}
    assert {row["reason"] for row in rows() if row["status"] == "pending"} == {"over_limit"}
    assert run(products(10)).exit_code() == 0
    assert box.audit().links == 10


def test_priority_goes_first(run: Run) -> None:
    """The highest priorities are sent first."""
    run(products(6, priority=[1.0, 9.0, 3.0, 8.0, None, 2.0]), limit=2)
    assert {row["sku"] for row in rows() if row["status"] == "created"} == {"000001", "000003"}


def test_sample_per_takes_from_each_kind(run: Run) -> None:
    """A pilot of two takes one link of each retailer."""
    table = products(
        6,
        retailer=["walmart"] * 5 + ["shop"],
        intent=["add_to_cart"] * 5 + ["custom_url"],
        custom_url=[None] * 5 + ["https://shop.example/1"],
    )
    run(table, limit=2, sample_per=("retailer", "intent"))
    made = {row["sku"] for row in rows() if row["status"] == "created"}
    assert made == {"000000", "000005"}


def test_empty_catalog(run: Run, settings: Settings) -> None:
    """An empty catalog is fine at first, refused over a set that has links, allowed on demand."""
    assert run(products(0)).exit_code() == 0
    assert pq.read_schema("links.parquet").field("settled_at").type == pa.timestamp("us", tz="UTC")
    run(products(3))
    before = Path("links.parquet").read_bytes()
    with pytest.raises(RefusedError, match="empty"):
        run(products(0))
    assert Path("links.parquet").read_bytes() == before
    assert run(products(0), allow_empty=True).exit_code() == 0


def test_mass_change_needs_approval(run: Run, settings: Settings, box: Sandbox) -> None:
    """Replacing more than 30 % of 20 links is refused until exactly that plan is approved."""
    run(products(30))
    changed = products(30, quantity=[2] * 12 + [1] * 18)
    with pytest.raises(RefusedError, match="40%") as refused:
        run(changed)
    assert box.audit().links == 30
    digest = refused.value.digest
    with pytest.raises(RefusedError):
        run(products(30, quantity=[2] * 13 + [1] * 17), approved=digest)
    assert run(changed, approved=digest).published.by_status[Status.REPLACED] == 12


@pytest.mark.parametrize("limit", [None, 100])
def test_mass_growth_needs_approval(
    run: Run, settings: Settings, box: Sandbox, limit: int | None
) -> None:
    """A catalog of another size is looked at first, but not what a pilot began."""
    run(products(100 if limit is None else 1_100), limit=limit)
    if limit is None:
        with pytest.raises(RefusedError, match=r"1,000 new links .* which has 100; .* 5 times"):
            run(products(1_100))
        assert box.audit().links == 100
    request = PlanRequest(catalog=products(1_100), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        guards = [refusal.guard for refusal in plan.figures.refusals]
        assert (plan.figures.calls, guards) == (1_000, [] if limit else ["mass_growth"])


def test_newly_missing_rows_count_once(run: Run) -> None:
    """Rows that are already known to be missing don't trip the guard every night."""
    run(products(30))
    with pytest.raises(RefusedError, match="go missing") as refused:
        run(products(15))
    run(products(15), approved=refused.value.digest)
    assert run(products(15)).exit_code() == 0


def test_output_of_another_ledger_is_refused(run: Run, tmp_path: Path, box: Sandbox) -> None:
    """With the ledger gone, the links in the output stop the run instead of being made again."""
    run(products(3))
    with pytest.raises(RefusedError, match="doesn't know"):
        run(products(3), ledger=tmp_path / "other.db")
    assert box.audit().links == 3


@pytest.mark.parametrize(
    ("other", "guard"),
    [({"project_id": "other"}, "another_project"), ({"link_set": "tset"}, "another_link_set")],
)
def test_output_of_others_is_refused(
    run: Run, box: Sandbox, other: dict[str, str], guard: str
) -> None:
    """A mistyped project or link set makes nothing anew, and keeps the table that is there."""
    run(products(3))
    before = Path("links.parquet").read_bytes()
    with pytest.raises(RefusedError) as refused:
        run(products(3), **other)
    assert refused.value.guard == guard
    assert Path("links.parquet").read_bytes() == before
    assert box.audit().requests == 3
    assert run(products(3)).published.by_status[Status.UNCHANGED] == 3


def test_tables_beside_the_output_are_kept_too(run: Run) -> None:
    """Moving links.parquet away doesn't give its history away to another link set."""
    run(products(3))
    before = Path("links.history.parquet").read_bytes()
    Path("links.parquet").rename("old.parquet")
    with pytest.raises(RefusedError, match="holds links of 'test'"):
        run(products(3), link_set="other")
    assert Path("links.history.parquet").read_bytes() == before


def test_link_set_with_a_space_keeps_its_output(run: Run) -> None:
    """A name of several words is one name, and part of it is another."""
    run(products(2), link_set="summer campaign")
    assert run(products(2), link_set="summer campaign").written.requests == 0
    with pytest.raises(RefusedError, match="of 'summer campaign', not of the link set 'summ'"):
        run(products(2), link_set="summ")


def test_missing_scope_is_seen_before_sending(run: Run, box: Sandbox) -> None:
    """A key known to lack a scope stops the plan, and says which."""
    with pytest.raises(RefusedError, match="retailers:walmart"):
        run(products(2), scopes=frozenset({"links:write"}))
    assert box.audit().requests == 0


def test_plan_is_repeatable_and_writes_nothing(settings: Settings, tmp_path: Path) -> None:
    """The same input gives the same digest, and planning makes no file."""
    request = PlanRequest(catalog=products(9), link_set="test", unique_key=("sku",))
    digests = set()
    for _ in range(2):
        with plan_catalog(request, settings) as plan:
            digests.add(plan.figures.digest)
            assert plan.figures.rows_by_action()[Action.CREATE] == 9
    assert len(digests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_faults_make_no_duplicates(run: Run, box: Sandbox, seed: int) -> None:
    """With a fifth of the requests failing in every way, each row has one link in the end."""
    box.reconfigure(faults=Faults.spread(0.2), seed=seed, late_seconds=0.05, stall_seconds=0.05)
    result = run(products(120))
    assert result.published.by_status[Status.CREATED] == 120
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (120, 0, 0)
    ids = [row["link_id"] for row in rows()]
    assert len(set(ids)) == 120


def test_sets_never_touch_each_other(run: Run, box: Sandbox) -> None:
    """Two link sets share a ledger, each with its own links and missing rows."""
    run(products(4), link_set="a", output="a.parquet")
    run(products(3), link_set="b", output="b.parquet")
    assert box.audit().links == 7
    assert rows("a.missing.parquet") == rows("b.missing.parquet") == []
    assert run(products(4), link_set="a", output="a.parquet").written.requests == 0


def test_sample_catalog(run: Run, box: Sandbox) -> None:
    """The shipped sample works: every row has a status, every good row a link."""
    result = run(SAMPLES / "catalog.csv", mapping=SAMPLES / "mapping.yaml")
    assert result.exit_code() == 0
    table = rows()
    assert all((row["link_id"] is None) == (row["status"] == "rejected") for row in table)
    assert sum(row["status"] == "rejected" for row in table) == 17
    assert box.audit().duplicates == 0


def test_sample_baskets(run: Run, box: Sandbox) -> None:
    """Lines of a basket become one link that all of them carry."""
    run(SAMPLES / "baskets.csv", mapping=SAMPLES / "baskets.yaml")
    made = {row["row_key"]: row["link_id"] for row in rows() if row["link_id"]}
    assert box.audit().links == len(made)
    assert all(row["link_id"] == made.get(row["row_key"]) for row in rows())


def test_output_is_readable_by_everybody(run: Run) -> None:
    """pandas, Polars and DuckDB read links.parquet, which tells its ledger but not the key."""
    run(products(3))
    pandas_frame = pq.read_table("links.parquet").to_pandas()
    assert list(pandas_frame["sku"]) == ["000000", "000001", "000002"]
    assert pl.read_parquet("links.parquet").height == 3
    assert duckdb.sql("SELECT COUNT(*) FROM 'links.parquet'").fetchall() == [(3,)]
    metadata = pq.read_schema("links.parquet").metadata
    assert metadata[b"incarts.project_id"] == b"demo"
    assert metadata[b"incarts.ledger_id"]


def test_key_is_nowhere(
    run: Run, box: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The API key stands in no file that a run leaves, and in no log line."""
    box.reconfigure(faults=Faults.spread(0.2))
    run(products(30))
    secret = box.api_key
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    assert secret not in caplog.text


def test_key_column_with_a_taken_name(run: Run) -> None:
    """A key column named like one of ours is published with a suffix."""
    table = products(2).rename_columns(
        ["status", "name", "retailer", "intent", "retailer_product_id", "quantity"]
    )
    run(table, unique_key=("status",))
    assert rows()[0]["status_catalog"] == "000000"
    assert rows()[0]["status"] == "created"


def test_catalog_that_changes_after_it_was_planned(
    settings: Settings, tmp_path: Path, box: Sandbox
) -> None:
    """What was planned must still be there when the first call is due; a frame always is."""
    file = tmp_path / "catalog.parquet"
    pq.write_table(products(5), file)
    request = PlanRequest(catalog=file, link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        pq.write_table(products(6), file)
        with pytest.raises(CatalogError, match=r"catalog\.parquet was written to"):
            run_blocking(lambda stop: apply_plan(plan, settings, "links.parquet", stop=stop))
    assert box.audit().requests == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.parquet"]
    with plan_catalog(request, settings) as plan:
        run_blocking(lambda stop: apply_plan(plan, settings, "links.parquet", stop=stop))
    assert statuses() == {"created": 6}


def test_qr_codes_of_a_table_that_changes(run: Run, settings: Settings, box: Sandbox) -> None:
    """The table that codes are made for is a catalog too."""
    run(products(3))
    requests = box.audit().requests
    with plan_qr_codes(QrRequest(source="links.parquet", identifiers=("shelf",)), settings) as plan:
        Path("links.parquet").touch()
        with pytest.raises(CatalogError, match=r"links\.parquet was written to"):
            run_blocking(lambda stop: apply_qr_codes(plan, settings, "qr.parquet", stop=stop))
    assert box.audit().requests == requests


MAPPING = {
    "link_set": "test",
    "unique_key": ["sku"],
    "link": {
        "name": "{name}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "retailer_product_id"}},
    },
}


def with_bad_columns(folder: Path, kind: str) -> object:
    """Return three products beside columns that can't be used: a doubled and a nameless one, …."""
    table = products(3)
    doubled, columns = pa.array(["x"] * 3), [*table.columns]
    names = [*table.column_names, "extra", "", "extra"]
    if kind == "table":
        return pa.table([*columns, doubled, doubled, doubled], names)
    if kind == "csv":
        lines = [
            ",".join(names),
            *(",".join([*map(str, row.values()), "x", "", "y"]) for row in table.to_pylist()),
            "",
        ]
        (folder / "in.csv").write_text("\n".join(lines))
        return folder / "in.csv"
    if kind == "parquet":
        for name, value in (("a", 1), ("b", 1.5)):
            part = table.slice(0, 2) if name == "a" else table.slice(2)
            extra = pa.array([value] * part.num_rows)
            pq.write_table(part.append_column("extra", extra), folder / f"{name}.parquet")
        return folder
    frame = table.to_pandas()
    frame["extra"] = [1, "x", {2}]
    return frame if kind == "pandas" else frame.to_dict("records")


@pytest.mark.parametrize("kind", ["table", "csv", "parquet", "pandas", "list"])
def test_columns_that_nobody_maps(kind: str, settings: Settings, tmp_path: Path) -> None:
    """No name, another's name, or no one type: what isn't mapped doesn't stop a run."""
    catalog = with_bad_columns(tmp_path, kind)
    request = PlanRequest(catalog=catalog, mapping=MAPPING)
    with plan_catalog(request, settings) as plan:
        assert plan.figures.rows_by_action()[Action.CREATE] == 3
    assert plan_links(catalog, MAPPING, settings=settings).figures.calls == 3
    link = MAPPING["link"] | {"public_name": "{extra}"}  # type: ignore[operator]
    for mapping in (MAPPING | {"link": link}, MAPPING | {"unique_key": ["extra"]}):
        with pytest.raises(CatalogError, match="'extra'"):
            plan_catalog(PlanRequest(catalog=catalog, mapping=mapping), settings)
        with pytest.raises(CatalogError, match="'extra'"):
            plan_links(catalog, mapping, settings=settings)


def test_columns_with_a_fields_own_name(settings: Settings) -> None:
    """Without a mapping a field's own column is mapped: there twice, it is refused."""
    table = products(3)
    twice = pa.array(["https://a.example/"] * 3)
    catalog = pa.table(
        [*table.columns, twice, twice], [*table.column_names, "fallback_url", "fallback_url"]
    )
    request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",))
    with pytest.raises(CatalogError, match="both named 'fallback_url'"):
        plan_catalog(request, settings)


@pytest.mark.parametrize(
    "other", [{"ledger": Path("other.db")}, {"base_url": "http://127.0.0.1:9"}]
)
def test_plan_is_applied_where_it_was_made_for(
    settings: Settings, box: Sandbox, other: dict[str, object]
) -> None:
    """Other settings lead to another Incarts, or to a ledger that doesn't know what was sent."""
    request = PlanRequest(catalog=products(2), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan, pytest.raises(RefusedError) as caught:
        run_blocking(
            lambda stop: apply_plan(
                plan, settings.model_copy(update=other), "links.parquet", stop=stop
            )
        )
    assert caught.value.guard == "another_target"
    assert box.audit().requests == 0
    assert not Path("other.db").exists()


@pytest.mark.parametrize(
    ("doubts", "unrecorded", "code"), [(0, [], 1), (1, [], 4), (0, ["incarts1-1 → lnk_1"], 4)]
)
def test_nothing_was_made_only_where_nothing_can_have_been(
    run: Run, doubts: int, unrecorded: list[str], code: int
) -> None:
    """A storm of 5xx may have made a link each: that is no exit code 1."""
    result = run(products(1))
    end = End(kind=EndKind.STORM, message="Too many failed.", fix="Run again.")
    ended = replace(result.written, end=end, accepted=0, unrecorded=unrecorded)
    counts = {
        (Status.IN_DOUBT, Reason.ANSWER_UNKNOWN): doubts,
        (Status.PENDING, Reason.CIRCUIT_OPEN): 1,
    }
    published = replace(result.published, counts=counts)
    assert replace(result, written=ended, published=published).exit_code() == code
