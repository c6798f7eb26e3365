"""Further QR codes of links: each made exactly once, whatever happens, and told in one table."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import schemas
from incarts_pipeline.dataframes.qr_codes import create_qr_codes
from incarts_pipeline.errors import MappingError, RefusedError
from incarts_pipeline.identity import (
    idempotency_key,
    qr_content_hash,
    qr_row_key,
)
from incarts_pipeline.kinds import QR_CODES
from incarts_pipeline.maintenance.review import row_history
from incarts_pipeline.maintenance.status import ledger_overview, stop_runs
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.pipeline import (
    plan_catalog,
)
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import ApiKey, Sandbox
from incarts_pipeline.settings import Settings
from tests.support.paths import GOLDEN as GOLDEN_FILES
from tests.support.qr_codes import code, codes
from tests.support.runs import Make, Run, products
from tests.support.sqlite_files import opened

GOLDEN = json.loads((GOLDEN_FILES / "qr_codes.json").read_text("utf-8"))


def test_every_link_gets_its_codes(run: Run, make: Make, box: Sandbox) -> None:
    """One code per row and identifier, in the table's order, with what Incarts said of each."""
    run(products(3))
    result = make(identifiers=("shelf", "flyer"), name="{sku} on the {identifier}")
    assert result.exit_code() == 0
    found = codes()
    links = pq.read_table("links.parquet")
    assert [(one["sku"], one["identifier"]) for one in found[:3]] == [
        ("000000", "shelf"),
        ("000000", "flyer"),
        ("000001", "shelf"),
    ]
    assert [one["link_id"] for one in found[::2]] == links["link_id"].to_pylist()
    assert found[1]["name"] == "000000 on the flyer"
    assert found[1]["encoded_url"].endswith("?qr=flyer")
    assert found[1]["catalog_row"] == 0
    table = pq.read_table("qr_codes.parquet")
    assert table.schema.names == ["sku", *schemas.QR_CODES.names]
    assert table.schema.metadata[b"incarts.project_id"] == b"demo"
    assert {one["status"] for one in found} == {"created"}
    assert len({one["qr_code_id"] for one in found}) == 6
    assert (box.audit().qr_codes, box.audit().duplicates) == (6, 0)


def test_codes_are_not_written_over_links(run: Run, make: Make, box: Sandbox) -> None:
    """However well the ledger knows the file: it is no table of codes."""
    run(products(2))
    before = Path("links.parquet").read_bytes()
    with pytest.raises(RefusedError, match=r"that is the catalog, links\.parquet"):
        make(output="links.parquet")
    with pytest.raises(RefusedError, match=r"exists and holds links, not QR codes"):
        make(pq.read_table("links.parquet"), output="links.parquet", identifiers=("shelf",))
    assert Path("links.parquet").read_bytes() == before
    assert box.audit().qr_codes == 0


def test_again_sends_nothing(run: Run, make: Make, box: Sandbox) -> None:
    """A second run makes no request, and shows the same codes as unchanged."""
    run(products(3))
    make()
    before, requests = codes(), box.audit().requests
    result = make()
    assert (result.written.requests, box.audit().requests) == (0, requests)
    assert [one["qr_code_id"] for one in codes()] == [one["qr_code_id"] for one in before]
    assert {one["status"] for one in codes()} == {"unchanged"}


def test_links_never_see_the_codes(run: Run, make: Make, settings: Settings) -> None:
    """Codes don't count in a later plan of the links, its missing rows and its history."""
    run(products(3))
    make()
    result = run(products(3))
    assert (result.written.requests, dict(result.figures.missing)) == (0, {})
    history = pq.read_table("links.history.parquet")
    assert history.num_rows == 3
    [links, made] = ledger_overview(settings).sets
    assert (links.kind, links.links, made.kind, made.links) == ("links", 3, "qr_codes", 3)


def test_replaced_link_gets_its_own_code(run: Run, make: Make, box: Sandbox) -> None:
    """The new link's code follows the old one, which stays in the history; going back reuses it."""
    run(products(1))
    make()
    first = code()
    run(products(1, quantity=[5]))
    make()
    second = code()
    assert (second["status"], second["replaces_qr_code_id"]) == ("replaced", first["qr_code_id"])
    assert second["link_id"] != first["link_id"]
    assert second["idempotency_key"] != first["idempotency_key"]
    run(products(1))
    result = make()
    assert (result.written.requests, code()["status"]) == (0, "reused")
    assert code()["qr_code_id"] == first["qr_code_id"]
    assert box.audit().qr_codes == 2


def test_code_of_a_replaced_link_is_not_shown_as_the_new_ones(
    run: Run, make: Make, box: Sandbox
) -> None:
    """While the new link's code is pending, the old one, which leads elsewhere, is not its own."""
    run(products(1))
    make()
    first = code()["qr_code_id"]
    run(products(1, quantity=[5]))
    assert make(limit=0).exit_code() == 4
    assert (code()["status"], code()["reason"]) == ("pending", "over_limit")
    assert (code()["qr_code_id"], code()["replaces_qr_code_id"]) == (None, first)


def test_vanished_link_parks_its_code(run: Run, make: Make, box: Sandbox) -> None:
    """The API's own 404 refuses this code alone; the others are made, and it isn't sent again."""
    run(products(3))
    gone = pq.read_table("links.parquet")["link_id"][0].as_py()
    box.alter(gone, None)
    result = make()
    assert result.published.by_status[Status.CREATED] == 2
    assert (codes()[0]["status"], codes()[0]["http_status"]) == ("rejected", 404)
    assert make().written.requests == 0
    assert make(retry_rejected=True).written.requests == 1


def test_table_with_a_row_per_code(run: Run, make: Make, box: Sandbox) -> None:
    """Key columns, identifier, name and metadata are enough: the ledger knows the links."""
    run(products(3))
    table = pa.table(
        {
            "sku": ["000000", "000000", "000002"],
            "identifier": ["shelf", "flyer", "shelf"],
            "name": ["Shelf", "Flyer", "Shelf"],
            "metadata": ['{"aisle": 4}', None, "{}"],
        }
    )
    assert make(table).exit_code() == 0
    assert [one["name"] for one in codes()] == ["Shelf", "Flyer", "Shelf"]
    assert box.audit().qr_codes == 3
    with opened("ledger.db") as connection:
        query = (
            "SELECT b.body FROM body AS b JOIN operation USING (op_id) WHERE for_link_id NOTNULL"
        )
        bodies = [row[0].decode() for row in connection.execute(query)]
    assert bodies[0] == (
        '{"identifier":"shelf","metadata":{"aisle":4},"name":"Shelf","projectId":"demo"}'
    )
    assert bodies[1] == '{"identifier":"flyer","name":"Flyer","projectId":"demo"}'


def test_broken_rows_are_named_and_the_others_made(run: Run, make: Make, box: Sandbox) -> None:
    """Each broken rule names its column and the fix, and rejects its row alone."""
    run(products(2))
    table = pa.table(
        {
            "sku": ["000000", "000000", "nobody", None, "000001", "000001"],
            "identifier": ["a b", None, "shelf", "shelf", "shelf", "flyer"],
            "name": ["x", "x", "x", "x", "x" * 121, "fine"],
        }
    )
    assert make(table).exit_code() == 0
    found = [[p["code"] for p in one["problems"]] for one in codes()]
    assert found == [
        ["not_an_identifier"],
        ["missing"],
        ["no_link"],
        ["empty_key"],
        ["too_long"],
        [],
    ]
    assert [one["status"] for one in codes()] == ["rejected"] * 5 + ["created"]
    assert box.audit().qr_codes == 1


def test_rejected_rows_of_a_published_table_are_told_so(run: Run, make: Make) -> None:
    """They lack a link, and maybe a key, for what is wrong with them: that is to correct."""
    run(products(3, sku=["a", "", "c"], name=["A", "B", ""]))
    make("links.parquet", identifiers=["shelf"])
    assert [one["status"] for one in codes()] == ["created", "rejected", "rejected"]
    for one in codes()[1:]:
        [problem] = one["problems"]
        assert (problem["field"], problem["code"]) == ("link_id", "no_link")
        assert problem["message"].startswith("The row was rejected, so it has no link; its column")


def test_rows_that_ask_for_one_code_differently_are_rejected(run: Run, make: Make) -> None:
    """Two names for one identifier of one link: neither is guessed; equal rows are one code."""
    run(products(2))
    table = pa.table(
        {
            "sku": ["000000", "000000", "000001", "000001"],
            "identifier": ["shelf"] * 4,
            "name": ["One", "Two", "Same", "Same"],
        }
    )
    result = make(table)
    assert [one["status"] for one in codes()] == ["rejected", "rejected", "created", "created"]
    assert result.written.requests == 1
    assert codes()[2]["qr_code_id"] == codes()[3]["qr_code_id"]


def test_old_table_of_links_is_noticed(run: Run, make: Make, box: Sandbox) -> None:
    """A links.parquet from before its links were replaced makes no codes for the old ones."""
    run(products(1))
    Path("links.parquet").rename("old.parquet")
    run(products(1, quantity=[5]))
    make("old.parquet", identifiers=("shelf",))
    assert [one["code"] for one in code()["problems"]] == ["link_changed"]
    assert box.audit().qr_codes == 0


def test_table_of_codes_may_have_been_another_sets(run: Run, make: Make, box: Sandbox) -> None:
    """The ledger knows all codes, so that the default output serves one table after another."""
    for name in ("a", "b", "a"):
        run(products(1), link_set=name, output=f"{name}.parquet")
        make(f"{name}.parquet", identifiers=("shelf",))
        assert code()["link_set"] == name
    assert (box.audit().qr_codes, box.audit().duplicates) == (2, 0)


def test_link_sets_are_told_apart(run: Run, make: Make) -> None:
    """Where the ledger has several sets, a table without their name must say which one it means."""
    run(products(1))
    run(products(1), link_set="other", output="other.parquet")
    table = pa.table({"sku": ["000000"], "identifier": ["shelf"]})
    with pytest.raises(MappingError, match="several link sets: other, test"):
        make(table)
    assert make(table, link_set="other").exit_code() == 0
    other = pq.read_table("other.parquet")["link_id"][0].as_py()
    assert (code()["link_set"], code()["link_id"]) == ("other", other)
    assert make("other.parquet", identifiers=("shelf",), link_set="test").published.counts == {}


def test_missing_scope_is_refused_before_sending(run: Run, make: Make, box: Sandbox) -> None:
    """INCARTS_SCOPES says what the key may do; without it, a 403 leaves the codes pending."""
    run(products(2))
    with pytest.raises(RefusedError, match="qr-codes:write"):
        make(scopes=frozenset({"links:write"}))
    box.reconfigure(keys=(ApiKey(scopes=frozenset({"links:write"})),))
    result = make()
    assert result.exit_code() == 1
    assert result.written.forbidden == {("", "qr_code"): "the key has no scope qr-codes:write"}
    assert {(one["status"], one["reason"]) for one in codes()} == {("pending", "circuit_open")}


def test_limit_goes_on_where_it_ended(run: Run, make: Make, box: Sandbox) -> None:
    """A limited run leaves the rest pending, and the next one makes it."""
    run(products(4))
    assert make(limit=3).exit_code() == 4
    assert make().exit_code() == 0
    assert (box.audit().qr_codes, box.audit().duplicates) == (4, 0)


def test_stop_is_heard(
    run: Run, make: Make, box: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`incarts stop` ends a run over codes too: it publishes, and the rest is pending."""
    monkeypatch.setattr("incarts_pipeline.write.lease.RENEW_SECONDS", 0.05)
    run(products(8))
    with ThreadPoolExecutor(1) as thread:
        going = thread.submit(make, rate="fixed:5")
        while box.audit().qr_codes < 2:
            time.sleep(0.02)
        assert len(stop_runs(settings)) == 1
        result = going.result(300)
    assert (result.exit_code(), result.written.stopped) == (4, Reason.STOPPED)
    assert {one["status"] for one in codes()} == {"created", "pending"}


def test_history_of_a_row_has_its_codes(run: Run, make: Make, settings: Settings) -> None:
    """`incarts show` tells a row's links, then its codes; keys that begin alike are other rows."""
    run(products(2, sku=["a", "a|b"]))
    make(identifiers=("shelf", "flyer"))
    told = row_history("a", settings)
    assert [one.row_key for one in told] == ["a", "a|flyer", "a|shelf"]
    assert [one.for_link_id is None for one in told] == [True, False, False]
    assert len(row_history("a|b", settings)) == 3


def test_library_function(run: Run, settings: Settings) -> None:
    """`create_qr_codes` plans, makes and publishes in one call, from any kind of table."""
    run(products(1))
    frame = pq.read_table("links.parquet").to_pandas()
    result = create_qr_codes(frame, settings, identifiers=["shelf"], output="mine.parquet")
    assert (result.exit_code(), result.published.output.links) == (0, "mine.parquet")
    assert pq.read_table("mine.parquet")["status"].to_pylist() == ["created"]


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_keys_are_pinned(vector: dict[str, Any]) -> None:
    """An upgrade that changed them would ask for every code again, and get a 409 for each."""
    hashed = qr_content_hash(vector["link_id"], vector["body"].encode())
    row_key = qr_row_key(vector["row_key"], vector["identifier"])
    key = idempotency_key(
        endpoint=QR_CODES.endpoint,
        project_id="prj_golden",
        link_set="nightly-walmart",
        row_key=row_key,
        content_hash=hashed,
        generation=vector["generation"],
    )
    assert (row_key, hashed.hex(), key) == (
        vector["code_row_key"],
        vector["content_hash"],
        vector["idempotency_key"],
    )


def test_key_in_the_table_is_the_documented_one(run: Run, make: Make) -> None:
    """Whoever knows the parts can compute a code's key."""
    run(products(1))
    make()
    body = b'{"identifier":"shelf","name":"shelf","projectId":"demo"}'
    assert code()["idempotency_key"] == idempotency_key(
        endpoint=QR_CODES.endpoint,
        project_id="demo",
        link_set="test",
        row_key="000000|shelf",
        content_hash=qr_content_hash(code()["link_id"], body),
        generation=0,
    )


def test_plan_of_links_is_as_before(run: Run, make: Make, settings: Settings) -> None:
    """Codes in doubt neither hold their row's link nor count in the link set's plan."""
    run(products(1))
    make()
    request = PlanRequest(catalog=products(1, quantity=[7]), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        assert (plan.figures.calls, plan.figures.doubts) == (1, 0)
