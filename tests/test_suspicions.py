"""Suspicions: rows that are held until they are corrected, or a person accepts what is odd."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import plan_links
from incarts_pipeline.display import row_reasons
from incarts_pipeline.display.html.failures import failure_groups
from incarts_pipeline.errors import CatalogError, MappingError
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.plan.plan_file import load_plan, save_plan
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products

GTIN = "012345678905"
MAPPING = {
    "link_set": "test",
    "unique_key": "sku",
    "link": {
        "name": {"column": "name"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "retailer_product_id"}},
    },
}


def rows() -> dict[str, dict[str, object]]:
    """Return links.parquet by row key."""
    return {row["row_key"]: row for row in pq.read_table("links.parquet").to_pylist()}


def stood() -> list[tuple[object, object]]:
    """Return the statuses and reasons of links.parquet."""
    return [(row["status"], row["reason"]) for row in rows().values()]


def test_suspicious_rows_are_held(run: Run, box: Sandbox) -> None:
    """Night after night: nothing is sent for them, and the table says why."""
    for _ in range(2):
        result = run(products(2, retailer_product_id=["500000", GTIN]))
        assert (result.exit_code(), box.audit().links) == (0, 1)
    assert stood()[1] == ("held", "looks_like_gtin")
    row = rows()["000001"]
    assert (row["link_id"], row["is_stale"]) == (None, None)
    [problem] = row["problems"]  # type: ignore[misc]
    assert problem["severity"] == "suspicion"
    assert (problem["field"], problem["code"]) == (
        "products.retailer_product_id",
        "looks_like_gtin",
    )
    assert GTIN in problem["message"]
    assert GTIN in row_reasons.why(row)
    assert 'accept=["looks_like_gtin"]' in row_reasons.fix(row)


def test_what_is_accepted_is_sent(run: Run, box: Sandbox) -> None:
    """By the run or by the mapping, and then it is nothing to tell of."""
    found = products(1, retailer_product_id=[GTIN])
    run(found, accept=["looks_like_gtin"])
    assert stood() == [("created", "new")]
    assert rows()["000000"]["problems"] == []
    mapping = MAPPING | {"link_set": "other", "accept": "looks_like_gtin"}
    result = run(found, mapping=mapping, output="other.parquet")
    assert result.published.by_status[Status.CREATED] == 1
    assert box.audit().links == 2


def test_a_link_is_never_given_up_for_something_suspicious(run: Run, box: Sandbox) -> None:
    """A changed row shows the link that it has; with just that content it is unchanged."""
    run(products(1, retailer_product_id=["500000"]))
    before = rows()["000000"]["link_id"]
    run(products(1, retailer_product_id=[GTIN]))
    row = rows()["000000"]
    assert (row["status"], row["reason"]) == ("held", "looks_like_gtin")
    assert (row["link_id"], row["is_stale"]) == (before, True)
    run(products(1, retailer_product_id=[GTIN]), accept=["looks_like_gtin"])
    assert stood() == [("replaced", "changed")]
    run(products(1, retailer_product_id=[GTIN]))
    assert stood() == [("unchanged", "same")]
    assert box.audit().links == 2


def test_no_earlier_link_is_used_again_for_something_suspicious(run: Run, box: Sandbox) -> None:
    """Not even without a call: the code would lead to what looks wrong."""
    run(products(1, retailer_product_id=[GTIN]), accept=["looks_like_gtin"])
    run(products(1, retailer_product_id=["500000"]))
    now = rows()["000000"]["link_id"]
    run(products(1, retailer_product_id=[GTIN]))
    assert stood() == [("held", "looks_like_gtin")]
    assert rows()["000000"]["link_id"] == now
    assert box.audit().links == 2


def test_a_changed_label_is_ignored_all_the_same(run: Run) -> None:
    """What makes no link is no matter of suspicion."""
    run(products(1, retailer_product_id=[GTIN]), accept=["looks_like_gtin"])
    run(products(1, retailer_product_id=[GTIN], name=["Renamed"]))
    assert stood() == [("unchanged", "ignored_change")]


def test_rows_of_one_key_are_held_together(run: Run, box: Sandbox) -> None:
    """One of them is suspicious, and they would share a link: none is made for the other."""
    backups = pa.array([["7"], ["7"]])
    mapping = MAPPING["link"] | {  # type: ignore[operator]
        "products": {
            "retailer_product_id": {"column": "item", "extract": r"(\d+)$"},
            "backup_product_ids": {"column": "backups"},
        }
    }
    table = pa.table(
        {"sku": ["1", "1"], "name": ["a", "a"], "item": ["x" + GTIN, GTIN], "backups": backups}
    )
    run(table, mapping=MAPPING | {"link": mapping})
    assert set(pq.read_table("links.parquet")["status"].to_pylist()) == {"held"}
    assert box.audit().links == 0


def test_a_suspicious_line_holds_its_basket(run: Run, box: Sandbox) -> None:
    """All rows of the basket say which line it is; a line's note stays its own."""
    link = MAPPING["link"] | {  # type: ignore[operator]
        "basket": True,
        "products": {
            "retailer_product_id": {"column": "item"},
            "backup_product_ids": {"column": "more", "split": ","},
        },
    }
    table = pa.table(
        {
            "sku": ["1", "1", "2"],
            "name": ["a", "a", "b"],
            "item": ["500", GTIN, "501"],
            "more": ["7,7", None, None],
        }
    )
    mapping = MAPPING | {"link": link}
    run(table, mapping=mapping)
    found = pq.read_table("links.parquet").to_pylist()
    assert [row["status"] for row in found] == ["held", "held", "created"]
    codes = [[one["code"] for one in row["problems"]] for row in found]
    assert codes == [["looks_like_gtin", "backup_dropped"], ["looks_like_gtin"], []]
    assert "Row 1 (counted from 0)" in found[0]["problems"][0]["message"]
    run(table, mapping=mapping, accept=["looks_like_gtin"])
    assert box.audit().links == 2


def test_errors_beat_suspicions(run: Run) -> None:
    """A row with both is rejected, and tells both, the errors first."""
    run(products(1, retailer_product_id=[GTIN], name=[""]))
    assert stood() == [("rejected", "invalid")]
    told = [(one["severity"], one["code"]) for one in rows()["000000"]["problems"]]  # type: ignore[attr-defined]
    assert told == [("error", "missing"), ("suspicion", "looks_like_gtin")]


def test_accepting_is_a_part_of_the_plan(settings: Settings, tmp_path: Path) -> None:
    """It has another digest, which a plan file keeps; the order of the codes doesn't matter."""
    catalog = tmp_path / "catalog.parquet"
    pq.write_table(products(1, retailer_product_id=[GTIN]), catalog)

    def digest(*accept: str) -> str:
        request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",), accept=accept)
        with plan_catalog(request, settings) as plan:
            save_plan(plan, request, settings, "plan.incarts")
            return plan.figures.digest

    assert digest() != digest("looks_rounded") != digest("looks_like_gtin")
    both = ("looks_like_gtin", "looks_rounded")
    assert digest(*both) == digest(*reversed(both))
    assert tuple(load_plan("plan.incarts").request.accept) == tuple(reversed(both))
    old = Path("plan.incarts").read_text().replace("incarts plan 3", "incarts plan 2")
    Path("plan.incarts").write_text(old)
    with pytest.raises(CatalogError, match="an earlier version wrote it"):
        load_plan("plan.incarts")


@pytest.mark.parametrize("code", ["looks_like_gtins", "missing", "truncated", "looks_rekeyed"])
def test_only_suspicions_can_be_accepted(settings: Settings, code: str) -> None:
    """Errors and notes can't, nor what another option is for; the message names what can."""
    for wrong in ({"accept": code}, {"mapping": MAPPING | {"accept": [code]}}):
        arguments = {"link_set": "test", "unique_key": "sku", "settings": settings} | wrong
        with pytest.raises(MappingError, match=r"is no suspicion; they are .*looks_like_gtin"):
            plan_links(products(1), **arguments)  # type: ignore[arg-type]


def test_tables_of_earlier_versions_are_told_as_before() -> None:
    """Without a severity, a problem's code says what it did."""
    told = [
        {"field": "name", "code": "truncated", "message": "a note"},
        {"field": "name", "code": "missing", "message": "an error"},
    ]
    row = {
        "http_status": 400,
        **dict.fromkeys(("error_code", "error_message"), ""),
        "catalog_row": 0,
        "row_key": "1",
        "status": "rejected",
        "reason": "invalid",
        "problems": told,
    }
    assert row_reasons.why(row) == "name: an error"
    table = pa.Table.from_pylist([row])
    numbers = table["http_status"].cast(pa.int32())
    at = table.schema.get_field_index("http_status")
    [group] = failure_groups(table.set_column(at, "http_status", numbers))
    assert (group.status, group.what) == (Status.REJECTED, "name: missing")


def test_a_run_tells_what_it_held(run: Run) -> None:
    """The report groups held rows by their suspicion."""
    run(products(2, retailer_product_id=[GTIN, GTIN]))
    [group] = failure_groups(pq.read_table("links.parquet"))
    assert (group.status, group.rows) == (Status.HELD, 2)
    assert group.what == "products.retailer_product_id: looks_like_gtin"


@pytest.mark.parametrize(
    ("keys", "held"),
    [
        (["00034", "12", "12345"], ["12"]),
        (["007", "12", "1"], ["12", "1"]),
        (["0034", "12", "12345"], []),  # of no one length
        (["034", "0012", "5"], []),
        (["34", "12", "5"], []),
        (["0", "7", "12"], []),
        (["00034", "A-1", "1234-5"], []),
        (["00034", "12345", "67890"], []),
    ],
)
def test_keys_that_lost_their_zeros_are_held(
    run: Run, box: Sandbox, keys: list[str], held: list[str]
) -> None:
    """Beside keys of one length, of which some begin with zeros; accepted, they are sent."""
    catalog = products(len(keys), sku=keys)
    run(catalog)
    waiting = {key: row for key, row in rows().items() if row["status"] == "held"}
    assert sorted(waiting) == sorted(held)
    for row in waiting.values():
        assert row["reason"] == "lost_zeros"
        [problem] = row["problems"]  # type: ignore[misc]
        assert (problem["severity"], problem["code"]) == ("suspicion", "lost_zeros")
        assert str(row["row_key"]) in problem["message"]
    run(catalog, accept=["lost_zeros"])
    assert box.audit().links == len(keys)


def test_keys_that_have_a_link_keep_it(run: Run) -> None:
    """Whatever keys come beside them later."""
    run(products(2, sku=["12", "345"]))
    run(products(3, sku=["12", "345", "00067"]))
    assert stood() == [("unchanged", "same"), ("unchanged", "same"), ("created", "new")]
