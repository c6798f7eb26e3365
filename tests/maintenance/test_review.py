"""What needs a person: listed, proven, adopted or made anew; and one row's history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.api import client_of
from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import ForbiddenError, MappingError, RefusedError
from incarts_pipeline.identity import idempotency_key
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import dispute, once
from incarts_pipeline.maintenance import adoption, review
from incarts_pipeline.maintenance.adoption import adopt
from incarts_pipeline.maintenance.review import evidence, open_cases, recreate, row_history
from incarts_pipeline.models import State
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import ApiKey, Sandbox
from incarts_pipeline.settings import Settings
from tests.support.clocks import LaterClock
from tests.support.runs import Run, apply_at, products, row
from tests.support.sqlite_files import opened


@pytest.fixture
def doubtful(run: Run, box: Sandbox, settings: Settings) -> str:
    """One row in doubt whose link exists; its idempotency key."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    [case] = open_cases(settings)
    return case.idempotency_key


@pytest.fixture
def overdue(doubtful: str, settings: Settings) -> str:
    """The same, once it is too old to be replayed."""
    apply_at(settings, LaterClock(3600))
    return doubtful


@pytest.fixture
def link_of(overdue: str, box: Sandbox) -> dict[str | None, str]:
    """The links that the sandbox has, by their idempotency keys."""
    return {one.idempotency_key: one.link_id for one in box.requests() if one.link_id}


def test_doubt_is_listed_as_settling_by_itself(doubtful: str, settings: Settings) -> None:
    """A young doubt needs no person yet, and can't be made anew."""
    [case] = open_cases(settings)
    assert (case.state, case.needs_person) == (State.IN_DOUBT, False)
    with pytest.raises(RefusedError, match="can still be settled"):
        recreate([doubtful], settings)


@pytest.mark.parametrize("state", ["sent", "in_doubt"])
def test_what_a_living_run_is_at_is_listed(doubtful: str, settings: Settings, state: str) -> None:
    """It says which run settles it; until then nobody else decides, and Incarts isn't asked."""
    with opened("ledger.db") as connection:
        connection.execute("UPDATE run SET ended_at = NULL, lease_until = ?", [soon()])
        connection.execute(
            "UPDATE operation SET state = ?, run_id = (SELECT run_id FROM run)", [state]
        )
        [(run_id,)] = connection.execute("SELECT run_id FROM run")
    [case] = open_cases(settings)
    assert (case.run_id, case.needs_person, case.settles_until) == (run_id, False, None)
    with pytest.raises(RefusedError, match="a run is at it"):
        recreate([doubtful], settings)
    assert evidence(settings).cases == []


def test_what_needs_a_person_is_listed_under_a_living_run(overdue: str, settings: Settings) -> None:
    """The run that found it too old doesn't go on with it."""
    with opened("ledger.db") as connection:
        connection.execute("UPDATE run SET ended_at = NULL, lease_until = ?", [soon()])
    [case] = open_cases(settings)
    assert (case.run_id, case.needs_person, case.reason) == (None, True, "too_old")


def soon() -> int:
    """Return when a lease ends that was just renewed, in microseconds."""
    return Clock().now().micros + 20_000_000


def test_old_doubt_needs_a_person(overdue: str, settings: Settings) -> None:
    """Past the window it is listed with its reason."""
    [case] = open_cases(settings)
    assert (case.state, case.needs_person, case.reason) == (State.NEEDS_REVIEW, True, "too_old")


def test_evidence_holds_all_that_support_needs(
    overdue: str, settings: Settings, box: Sandbox
) -> None:
    """Keys, correlation ids, times, bytes and hashes; and no API key."""
    found = evidence(settings)
    [operation] = found.content["operations"]
    assert operation["idempotency_key"] == overdue
    sent = [one for one in box.requests() if one.idempotency_key == overdue]
    assert [one["correlation_id"] for one in operation["attempts"]] == [
        one.correlation_id for one in sent
    ]
    assert operation["body"]["name"] == "Product 0"
    assert len(operation["body_sha256"]) == 64
    assert operation["attempts"][0]["sent_at"].endswith("+00:00")
    assert box.api_key not in json.dumps(found.content)


def test_adopted_link_is_used(
    overdue: str, settings: Settings, run: Run, link_of: dict[str | None, str]
) -> None:
    """A link that a person found becomes the row's, with what Incarts says of it."""
    link = adopt(overdue, link_of[overdue], settings)
    assert link.short_link
    assert run(products(1)).written.requests == 0
    published = row()
    assert published["link_id"] == link.id
    assert published["short_link"] == link.short_link
    assert open_cases(settings) == []


def test_adopting_works_in_a_notebook(
    overdue: str, settings: Settings, link_of: dict[str | None, str]
) -> None:
    """A running event loop, as a notebook's cell has, doesn't keep the link from being read."""

    async def cell() -> str:
        return adopt(overdue, link_of[overdue], settings).id

    assert asyncio.run(cell()) == link_of[overdue]


def test_link_of_another_row_is_refused(overdue: str, settings: Settings, run: Run) -> None:
    """A link that holds something else, or belongs to another row, is not adopted by mistake."""
    run(products(2))
    other = pq.read_table("links.parquet").to_pylist()[1]["link_id"]
    with pytest.raises(RefusedError, match="name is 'Product 1', not 'Product 0'"):
        adopt(overdue, other, settings)
    with pytest.raises(RefusedError, match="already the link of row 000001"):
        adopt(overdue, other, settings, unchecked=True)
    with pytest.raises(RefusedError, match="Incarts knows no link"):
        adopt(overdue, "lnk_nowhere", settings)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"retailer_product_id": ["999"]}, r"products is .*999.*, not .*500000"),
        ({"quantity": [7]}, "products is"),
        ({"public_name": ["Another"]}, "publicName is 'Another'"),
    ],
)
def test_link_that_leads_elsewhere_is_refused(
    settings: Settings, run: Run, box: Sandbox, columns: dict[str, list[object]], said: str
) -> None:
    """Whatever was sent is compared with what is read back, and not the name alone."""
    was: dict[str, list[object]] = {"public_name": ["Own"]}
    box.fail_next("error_after", times=50)
    run(products(1, **was), until=1)
    box.fail_next("error_after", times=0)
    [case] = open_cases(settings)
    run(products(1, **was | columns), output="other.parquet", link_set="other")
    [other] = pq.read_table("other.parquet")["link_id"].to_pylist()
    with pytest.raises(RefusedError, match=said) as caught:
        adopt(case.idempotency_key, other, settings)
    assert caught.value.guard == "another_link"
    assert open_cases(settings) == [case]


def test_link_of_what_nobody_knows_is_not_called_compared(
    overdue: str, settings: Settings, link_of: dict[str | None, str]
) -> None:
    """Without the bytes that were sent, a person has to look."""
    with opened("ledger.db") as connection:
        connection.execute("DELETE FROM body")
    with pytest.raises(RefusedError, match="is not known"):
        adopt(overdue, link_of[overdue], settings)
    assert adopt(overdue, link_of[overdue], settings, unchecked=True).id == link_of[overdue]


@pytest.mark.parametrize(
    "wrong", [" ", "", "ab", "lnk 1", "https://in2carts.com/abc", "in2carts.com/abc"]
)
@pytest.mark.parametrize("unchecked", [True, False])
def test_what_is_no_id_is_refused(
    overdue: str, settings: Settings, wrong: str, unchecked: bool
) -> None:
    """Blanks and addresses never become a row's link."""
    with pytest.raises(RefusedError, match="is not a link's id") as caught:
        adopt(overdue, wrong, settings, unchecked=unchecked)
    assert caught.value.guard == "unknown_link"


def test_adopting_without_reading(
    overdue: str, settings: Settings, box: Sandbox, run: Run, link_of: dict[str | None, str]
) -> None:
    """A key that can't read links says so; `unchecked` takes the id alone."""
    scopes = frozenset({"links:write", "retailers:walmart"})
    box.reconfigure(keys=(ApiKey(scopes=scopes),))
    with pytest.raises(ForbiddenError, match="--unchecked"):
        adopt(overdue, link_of[overdue], settings)
    adopt(overdue, link_of[overdue], settings, unchecked=True)
    run(products(1))
    assert row()["link_id"] == link_of[overdue]


def test_recreated_row_gets_a_link_under_a_new_key(
    run: Run, box: Sandbox, settings: Settings
) -> None:
    """Where Incarts says that there is no link, the next run makes one, in generation 1."""
    box.fail_next("lost_before", times=50)
    run(products(1), until=1)
    box.fail_next("lost_before", times=0)
    apply_at(settings, LaterClock(3600))
    [case] = open_cases(settings)
    recreate([case.idempotency_key], settings)
    assert run(products(1)).exit_code() == 0
    published = row()
    assert published["generation"] == 1
    assert published["idempotency_key"] != case.idempotency_key
    assert (box.audit().links, box.audit().duplicates) == (1, 0)


def test_only_open_keys_can_be_settled(run: Run, settings: Settings) -> None:
    """A key that is done, or unknown, is refused."""
    run(products(1))
    for key in (str(row()["idempotency_key"]), "incarts1-unknown"):
        with pytest.raises(RefusedError, match="is not open"):
            recreate([key], settings)


def test_conflict_on_the_first_attempt_needs_review(
    run: Run, box: Sandbox, settings: Settings
) -> None:
    """A 409 on a key that was never tried before is nothing to guess about."""
    key = key_of(settings, products(1))
    asyncio.run(use_key(settings, key))
    assert run(products(1)).exit_code() == 3
    [case] = open_cases(settings)
    assert (case.needs_person, case.http_status, case.attempts) == (True, 409, 1)
    assert apply_at(settings, Clock()).written.requests == 0


def key_of(settings: Settings, catalog: object) -> str:
    """Return the idempotency key under which a catalog's only row would be sent."""
    request = PlanRequest(catalog=catalog, link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        [[call]] = plan.calls({"test": 1})
    return idempotency_key(
        endpoint=LINKS.endpoint,
        project_id=call.project_id,
        link_set=call.link_set,
        row_key=call.row_key,
        content_hash=call.content_hash,
        generation=0,
    )


async def use_key(settings: Settings, key: str) -> None:
    """Send something else under a key."""
    client = client_of(settings)
    body = {"projectId": settings.project_id, "name": "x", "retailer": "shop"}
    url = {"intent": "custom_url", "customUrl": "https://shop.example/"}
    async with client:
        await client.create_link(body | url, idempotency_key=key)


def test_a_case_is_settled_with_the_environments_settings(
    overdue: str, box: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a person is found, adopted and asked for without settings too."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    monkeypatch.setenv("INCARTS_LEDGER", str(settings.ledger))
    [case] = open_cases()
    assert adopt(overdue, "lnk_somewhere", unchecked=True).id == "lnk_somewhere"
    with pytest.raises(RefusedError, match="is not open"):
        recreate([case.idempotency_key])


def claimed_just_before(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let a run claim all that is in doubt just before the module writes."""
    really = module.once

    @contextmanager
    def late(*place: Any, **how: Any) -> Iterator[sa.Connection]:
        with opened("ledger.db") as connection:
            connection.execute("UPDATE run SET ended_at = NULL, lease_until = ?", [soon()])
            connection.execute(
                "UPDATE operation SET epoch = epoch + 1, run_id = (SELECT run_id FROM run)"
            )
        with really(*place, **how) as connection:
            yield connection

    monkeypatch.setattr(module, "once", late)


@pytest.mark.parametrize("way", ["recreate", "adopt"])
def test_what_a_run_claims_meanwhile_is_its_own(
    doubtful: str, settings: Settings, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a longer window is at what is too old for these settings: it stays open."""
    short = settings.model_copy(update={"idempotency_window": 0.001})
    assert open_cases(short)[0].needs_person
    claimed_just_before(monkeypatch, review if way == "recreate" else adoption)
    settle: Callable[[], object] = {
        "recreate": lambda: recreate([doubtful], short),
        "adopt": lambda: adopt(doubtful, "lnk_somewhere", short, unchecked=True),
    }[way]
    with pytest.raises(RefusedError, match="a run is at it"):
        settle()
    [case] = open_cases(settings)
    assert (case.idempotency_key, case.state) == (doubtful, State.IN_DOUBT)


def test_history_of_a_row(run: Run, box: Sandbox, settings: Settings) -> None:
    """Every operation, attempt and link of a row, and what changed in between."""
    run(products(2))
    box.fail_next("error_before")
    run(products(2, quantity=[1, 5]))
    first, second = row_history({"sku": "000001"}, settings)
    assert (first.action, first.state, first.links[0].in_use) == ("create", State.DONE, False)
    assert (second.action, list(second.changed)) == ("replace", ["products.quantity"])
    assert [str(one) for one in second.differences] == ["products[0].quantity  1 → 5"]
    assert [one.http_status for one in second.attempts] == [500, 201]
    assert second.links[0].in_use
    assert row_history("000001", settings, link_set="other") == []
    with pytest.raises(MappingError, match="known by sku"):
        row_history({"upc": "1"}, settings)


def test_history_finds_composite_keys_in_any_order(run: Run, settings: Settings) -> None:
    """The order of the words doesn't matter: the ledger knows the unique key's columns."""
    run(products(1, store=["7|8"]), unique_key=("sku", "store"))
    [chapter] = row_history({"store": "7|8", "sku": "000000"}, settings)
    assert chapter.row_key == "000000|7\\|8"


def test_missing_ledger_is_named(settings: Settings) -> None:
    """Without a ledger there is nothing to review, and the message says where it was looked for."""
    with pytest.raises(Exception, match="There is no ledger"):
        open_cases(settings)
    assert not Path("ledger.db").exists()


def disputed(row_key: str, content: str = "current") -> str:
    """Dispute the link that a row uses, or the other one that it had; return its id."""
    use = "IN" if content == "current" else "NOT IN"
    with opened("ledger.db") as connection:
        [(op_id, link_id)] = connection.execute(
            "SELECT op_id, link_id FROM link JOIN operation USING (op_id) "
            f"WHERE row_key = ? AND op_id {use} (SELECT op_id FROM row)",
            [row_key],
        ).fetchall()
    with once(Path("ledger.db")) as connection:
        dispute(connection, op_id, link_id, Clock().now())
    return str(link_id)


def outcome(row: int = 0) -> tuple[object, ...]:
    """Return the status, reason and link of a row of links.parquet."""
    found = pq.read_table("links.parquet").to_pylist()[row]
    return found["status"], found["reason"], found["link_id"]


def test_row_goes_back_to_the_adopted_link(run: Run, settings: Settings) -> None:
    """Its content changes and changes back: the disputed link is not taken up again."""
    run(products(2))
    disputed("000000")
    [case] = open_cases(settings)
    adopt(case.idempotency_key, "lnk_zzzzzzzzzz", settings, unchecked=True)
    run(products(2, quantity=[7, 1]))
    assert outcome()[:2] == ("replaced", "changed")
    run(products(2))
    assert outcome() == ("reused", "changed_back", "lnk_zzzzzzzzzz")


def test_row_doesnt_go_back_to_a_disputed_link(run: Run, settings: Settings, box: Sandbox) -> None:
    """It needs review, as its own link may exist; given up, it gets a new one."""
    run(products(1))
    run(products(1, quantity=[7]))
    disputed("000000", "earlier")
    assert run(products(1, quantity=[7])).exit_code() == 0
    assert outcome()[0] == "unchanged"
    [*_, current] = outcome()
    requests = box.audit().requests
    for _ in range(2):
        assert run(products(1)).exit_code() == 3
        assert outcome() == ("in_doubt", "needs_review", current)
        [case] = open_cases(settings)
        assert (case.reason, box.audit().requests) == ("link_disputed", requests)
    recreate([case.idempotency_key], settings)
    run(products(1))
    assert outcome()[0] == "replaced"
    assert box.audit().requests == requests + 1


@pytest.mark.parametrize("quantity", [1, 7])
def test_row_is_held_when_nothing_replaces_its_disputed_link(
    run: Run, settings: Settings, quantity: int
) -> None:
    """The link was disputed while its replacement was pending, whatever the catalog wants now."""
    run(products(1))
    run(products(1, quantity=[7]), api_key=SecretStr("ic_sandbox_another_key"))
    used = disputed("000000")
    assert run(products(1, quantity=[quantity])).exit_code() == 3
    assert outcome() == ("in_doubt", "needs_review", used)
    assert [case.reason for case in open_cases(settings)] == ["link_disputed"]
