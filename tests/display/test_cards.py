"""Cards of plans, results and links: what they say, and that nothing in them is markup."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.display import (
    link_card,
    plan_card,
    problem_groups,
    qr_sheet,
    result_card,
)
from incarts_pipeline.display.html.failures import FAILED, failure_groups
from incarts_pipeline.ledger.queries import Label
from incarts_pipeline.models import Action, NoteCode, ProblemCode, Reason, Status
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.settings import Settings, load_settings
from tests.support.displayed import IMAGE, SCRIPT, World, links, result, storable
from tests.support.parsed_html import TEXTS, parsed

MAYBE = st.none() | TEXTS
PROBLEM = st.fixed_dictionaries(
    {
        "field": TEXTS,
        "code": st.sampled_from([*ProblemCode, *NoteCode]) | TEXTS,
        "message": TEXTS,
    }
)
ROW = st.fixed_dictionaries(
    {
        "row_key": MAYBE,
        "status": st.sampled_from(Status),
        "reason": st.sampled_from(Reason),
        "link_id": MAYBE,
        "short_link": MAYBE,
        "target_url": MAYBE,
        "qr_encoded_url": MAYBE,
        "replaces_link_id": MAYBE,
        "http_status": st.none() | st.sampled_from([400, 403, 409, 422, 500, 503, 302, 999]),
        "error_code": MAYBE,
        "error_message": MAYBE,
        "problems": st.lists(PROBLEM, max_size=3),
    }
)


@settings(max_examples=60)
@given(st.lists(ROW, max_size=2), TEXTS)
def test_result_card_escapes_everything(rows: list[dict[str, Any]], said: str) -> None:
    """Keys, links, errors, problems and paths are text; a failure is there with its message."""
    table = links(rows)
    labels = {
        row["link_id"]: Label(retailer=said, intent=said, name=said, public_name=said)
        for row in table.to_pylist()
        if row["link_id"]
    }
    seen = parsed(result_card(table, result(said, {(Status.CREATED, Reason.NEW): 1}), labels))
    assert seen.has(said)
    for row in table.to_pylist():
        assert row["link_id"] is None or seen.has(row["row_key"] or "")
        assert all(seen.has(text) for text in said_of(row))


def said_of(row: Mapping[str, Any]) -> list[str]:
    """Return what Incarts, or a broken rule, said of a failed row."""
    if row["status"] not in FAILED:
        return []
    if row["reason"] in (Reason.INVALID, Reason.DUPLICATE_KEY):
        problems = [one for one in row["problems"] if one["code"] not in list(NoteCode)]
        return [text for one in problems for text in (one["message"], one["field"])]
    answered = (Reason.REFUSED_BY_API, Reason.ANSWER_UNKNOWN, Reason.NEEDS_REVIEW)
    return [row["error_message"] or ""] if row["reason"] in answered else []


@settings(max_examples=60)
@given(ROW, TEXTS)
def test_link_card_and_sheet_escape_everything(row: dict[str, Any], said: str) -> None:
    """Whatever a link is called and wherever it leads, it is text, or a link to the web."""
    [stored] = links([row]).to_pylist()
    label = Label(retailer=said, intent=said, name=said)
    seen = parsed(link_card(stored, label))
    assert seen.has(said or stored["row_key"] or "")
    labels = {stored["link_id"]: label} if stored["link_id"] else {}
    parsed(qr_sheet(links([row]), labels, title=said))


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), TEXTS)
def test_plan_card_escapes_everything(
    offline: Settings, rows: list[tuple[str, str]], url: str
) -> None:
    """Keys, names and what is wrong with them are text, whatever the catalog holds."""
    table = pa.table(
        {
            "sku": [f"{i}{storable(key)}" for i, (key, _) in enumerate(rows)],
            "name": [storable(name) or "x" for _, name in rows],
            "retailer": ["walmart"] * len(rows),
            "intent": ["custom_url"] * len(rows),
            "custom_url": ["https://in2carts.com/a", *[storable(url)] * (len(rows) - 1)],
        }
    )
    request = PlanRequest(catalog=table, link_set="s", unique_key=("sku",))
    with plan_catalog(request, offline) as plan:
        seen = parsed(plan_card(plan))
        for action in (Action.CREATE, Action.REJECT):
            for example in plan.examples(action):
                assert seen.has(example.row_key)
                assert seen.has(example.name or example.problem or "")


@pytest.fixture
def offline() -> Settings:
    """Settings that are enough to plan."""
    return load_settings(project_id="p")


def test_plan_card_reads_in_order(made: World) -> None:
    """Without styles it is still a text: numbers, the verdict with its way out, rows, scopes."""
    text = parsed(plan_card(made.plan)).text
    digest = made.plan.figures.digest
    parts = [
        f"Plan {digest}",
        "summer-campaign",
        "catalog rows72",
        "links to make37",
        "Refused: nothing is sent.",
        "45% of the 60 links",
        f'write_links(plan, approve="{digest}")',
        f"--approve {digest}",
        "reject1",
        "number_like_id",
        "550098461.0",
        "create10no link yet",
        "replace27content changed",
        "27 of 27: only products.quantity",
        "27 of 27 products.quantity: 1 → 2",
        "products[0].quantity 1 → 2",
        "hold3changed, but the link is pinned",
        "reject3breaks a rule",
        "scopes needed",
        "links:write × 37",
    ]
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


def test_plan_card_shows_three_examples_of_each_action(made: World) -> None:
    """Replaced rows are three; names that are markup are there as text."""
    seen = parsed(plan_card(made.plan))
    [replaced] = [c for c in made.plan.figures.counts if c.action is Action.REPLACE]
    assert replaced.rows > 3
    assert seen.text.count("products[0].quantity 1 → 2") == 6  # three replaced, three held
    assert seen.has(IMAGE)


def test_plan_card_says_that_nothing_stands_in_the_way(offline: Settings) -> None:
    """An unrefused plan says so; one without rows too."""
    table = pa.table({"sku": ["1"], "name": ["a"], "retailer": ["walmart"]}).slice(1)
    table = table.append_column("intent", pa.array([], pa.string()))
    request = PlanRequest(catalog=table, link_set="s", unique_key=("sku",))
    with plan_catalog(request, offline) as plan:
        text = parsed(plan_card(plan)).text
    assert "No guard stands in the way." in text
    assert "The catalog has no rows." in text


def test_plan_card_names_all_broken_rules(offline: Settings) -> None:
    """Eleven rows of four kinds can't be linked: the verdict says so, and each kind is there."""
    ids = ["1"] * 289 + ["5.50E+08"] * 3 + ["x y"] * 3 + ["#N/A"] * 3 + [None] * 2
    table = pa.table(
        {
            "sku": [f"{i:03d}" for i in range(len(ids))],
            "name": [f"Product {i}" for i in range(len(ids))],
            "retailer": ["walmart"] * len(ids),
            "intent": ["add_to_cart"] * len(ids),
            "retailer_product_id": ids,
        }
    )
    request = PlanRequest(catalog=table, link_set="s", unique_key=("sku",))
    with plan_catalog(request, offline) as plan:
        codes = {group.code for group in problem_groups(plan)}
        card = plan_card(plan)
    text = parsed(card).text
    assert "289 links to make; 11 rows can't be linked. No guard stands in the way." in text
    assert '<div class="ic-note ic-good"' not in card
    assert len(codes) == 4
    assert all(code in text for code in codes)
    assert text.index("can't be linked") < text.index("spreadsheet_error")


def test_plan_card_says_of_how_many_links_a_run_makes_some(offline: Settings) -> None:
    """A run with a limit makes 1 of 2 links, and takes the time of one."""
    columns = {"sku": ["1", "2"], "name": ["a", "b"], "retailer": ["walmart"] * 2}
    columns |= {"intent": ["custom_url"] * 2, "custom_url": ["https://in2carts.com/a"] * 2}
    request = PlanRequest(catalog=pa.table(columns), link_set="s", unique_key=("sku",))
    with plan_catalog(request, offline) as plan:
        text = parsed(plan_card(plan.within(1))).text
    assert "links to make1 of 2" in text
    assert "1 of 2 links to make." in text


def test_result_card_says_what_failed_and_what_to_do(made: World) -> None:
    """Each kind of failure has its rows, what was said, and its fix; more links are counted."""
    seen = parsed(result_card(made.table, made.result, made.labels))
    for said in (
        "rejected27",
        "quantity must be at most 1",
        "Correct what the message names",
        "products.retailer_product_id: number_like_id",
        "Write the id's own digits",
        "in doubt1sent, answer unknown",
        "clear the row's pinned column",
        "out of the time given",
    ):
        assert said in seen.text
    linked = made.table["link_id"].drop_null()
    assert f"and {len(linked) - 10} more links" in seen.text
    hrefs = [value for _, name, value in seen.attributes if name == "href"]
    assert hrefs == made.table["short_link"].drop_null().to_pylist()[:10]
    assert seen.has(SCRIPT)


def test_failures_are_counted_by_rule_and_answer(made: World) -> None:
    """Every failed row is in a group, each group has a few of its rows, and all have a fix."""
    groups = failure_groups(made.table)
    counts = made.result.published.by_status
    for status in FAILED:
        assert sum(g.rows for g in groups if g.status is status) == counts[status]
    assert all(group.fix and group.meaning for group in groups)
    [refused] = [group for group in groups if "422" in group.what]
    assert (refused.rows, len(refused.examples)) == (27, 3)


def test_row_with_two_broken_rules_is_in_both_groups() -> None:
    """Notes are no failures, and groups beyond the most are left out."""
    problems = [
        {"field": "name", "code": "too_long", "message": "m"},
        {"field": "custom_url", "code": "not_a_url", "message": "u"},
        {"field": "name", "code": "truncated", "message": "t"},
    ]
    row = {"row_key": "1", "status": "rejected", "reason": "invalid", "problems": problems}
    groups = failure_groups(links([row, row]))
    assert sorted((g.what, g.rows) for g in groups) == [
        ("custom_url: not_a_url", 2),
        ("name: too_long", 2),
    ]
    assert len(failure_groups(links([row]), most=1)) == 1
    assert failure_groups(links([])) == []


def test_rule_of_another_version_is_shown_by_its_code() -> None:
    """A code that this version doesn't know keeps its field, its message and a general fix."""
    problem = {"field": "name", "code": "too_loud", "message": "whisper"}
    row = {"row_key": "1", "status": "rejected", "reason": "invalid", "problems": [problem]}
    [group] = failure_groups(links([row]))
    assert (group.what, group.fix) == ("name: too_loud", "Correct the row, and run again.")
    assert group.examples == [(0, "1", "whisper")]


def test_link_card_says_where_its_code_comes_from(made: World) -> None:
    """The code, the link, what it was sent as; and what stands in for an absent encodedUrl."""
    row = made.table.to_pylist()[0]
    label = made.labels[row["link_id"]]
    text = parsed(link_card(row, label)).text
    for said in (
        label.name,
        row["short_link"],
        row["target_url"],
        f"QR code of {row['short_link']}",
    ):
        assert said in text
    assert "this is the short link" not in text
    assert "this is the short link" in parsed(link_card(row | {"qr_encoded_url": None})).text


def test_link_card_of_a_row_without_link(made: World) -> None:
    """It says why there is none, and what to do."""
    [row] = [r for r in made.table.to_pylist() if r["status"] == Status.IN_DOUBT]
    text = parsed(link_card(row)).text
    assert "Run again soon" in text
    assert "QR code of" not in text


def test_link_card_of_a_link_that_follows_another() -> None:
    """A replaced link names the one before it, and when it was made."""
    [row] = links(
        [
            {
                "row_key": "1",
                "status": "replaced",
                "reason": "changed",
                "link_id": "lnk_2",
                "short_link": "https://in2carts.com/b",
                "replaces_link_id": "lnk_1",
                "link_created_at": dt.datetime(2026, 5, 4, 9, 30, tzinfo=dt.UTC),
                "is_stale": True,
            }
        ]
    ).to_pylist()
    text = parsed(link_card(row)).text
    assert "lnk_1" in text
    assert "2026-05-04 09:30 UTC" in text
    assert "older content" in text
