"""Links read back from the sandbox: every verdict, the pace, and what ends a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from incarts_pipeline.dataframes.qr_codes import create_qr_codes
from incarts_pipeline.errors import CatalogError, RefusedError
from incarts_pipeline.maintenance import adopt, open_cases, recreate
from incarts_pipeline.maintenance.compare import Verdict
from incarts_pipeline.maintenance.verify import Verification, verify_links
from incarts_pipeline.models import Reason
from incarts_pipeline.sandbox import ApiKey, Limit, Sandbox
from incarts_pipeline.schemas import VERIFIED
from incarts_pipeline.settings import Settings
from incarts_pipeline.write.circuit_breaker import EndKind
from tests.support.runs import Run, products

Verify = Callable[..., Verification]


@pytest.fixture
def verify(settings: Settings) -> Verify:
    """Verify with the sandbox's settings, or others."""

    def go(links: object = None, **keywords: Any) -> Verification:
        used = settings.model_copy(
            update={k: keywords.pop(k) for k in list(keywords) if k in Settings.model_fields}
        )
        return verify_links(links, used, **keywords)

    return go


@pytest.fixture
def made(run: Run) -> list[str]:
    """Six links; their ids."""
    run(products(6))
    ids: list[str] = pq.read_table("links.parquet")["link_id"].to_pylist()
    return ids


def verdicts(result: Verification) -> list[str]:
    """Return the verdicts, link by link."""
    found: list[str] = result.table["verdict"].to_pylist()
    return found


def _held(run: Run) -> list[tuple[str, str, str | None]]:
    """Return what the next run says of the first two rows, and check that it sends nothing."""
    result = run(products(6))
    assert result.written.requests == 0
    rows = pq.read_table("links.parquet").to_pylist()[:2]
    return [(one["status"], one["reason"], one["error_code"]) for one in rows]


def test_link_of_something_else_is_held_until_it_is_reviewed(
    made: list[str], verify: Verify, box: Sandbox, run: Run, settings: Settings
) -> None:
    """A run keeps the link and says so; who says that it is right is believed from then on."""
    box.alter(made[1], {"retailer": "target"})
    assert verify().disputed == 1
    assert _held(run) == [
        ("unchanged", "same", None),
        ("in_doubt", "needs_review", "link_disputed"),
    ]
    assert pq.read_table("links.parquet")["link_id"].to_pylist() == made
    [case] = open_cases(settings)
    assert case.reason == "link_disputed"
    adopt(case.idempotency_key, made[1], settings, unchecked=True)
    assert _held(run)[1] == ("unchanged", "same", None)
    assert verify().disputed == 0


def test_link_of_something_else_is_made_anew(
    made: list[str], verify: Verify, box: Sandbox, run: Run, settings: Settings
) -> None:
    """Who gives it up gets another one with the next run."""
    box.alter(made[1], {"retailer": "target"})
    verify()
    [case] = open_cases(settings)
    recreate([case.idempotency_key], settings)
    assert run(products(6)).written.requests == 1
    row = pq.read_table("links.parquet").to_pylist()[1]
    assert (row["status"], row["generation"]) == ("created", 1)
    assert row["link_id"] != made[1]


def test_untouched_links_are_ok(made: list[str], verify: Verify, box: Sandbox) -> None:
    """Every link in use is read once, and is as it was sent."""
    before = box.audit().requests
    result = verify(output="links.verified.parquet")
    assert (result.exit_code(), result.counts[Verdict.OK], result.requests) == (0, 6, 6)
    assert box.audit().requests == before + 6
    table = pq.read_table("links.verified.parquet")
    assert table.schema.equals(VERIFIED)
    assert table["link_id"].to_pylist() == made
    assert table["row_key"].to_pylist() == [f"{i:06d}" for i in range(6)]
    assert table["checked_at"].null_count == 0
    assert b"incarts.project_id" in table.schema.metadata


def test_what_changed_at_incarts_is_reported(made: list[str], verify: Verify, box: Sandbox) -> None:
    """Drift, links that disappeared and ones that are no longer active, each told apart."""
    box.alter(made[1], {"name": "Somebody's", "targetUrl": "https://www.walmart.com/else"})
    box.alter(made[2], None)
    box.alter(made[3], {"status": "archived"})
    result = verify()
    assert result.exit_code() == 3
    assert verdicts(result) == ["ok", "drifted", "gone", "inactive", "ok", "ok"]
    rows = result.table.to_pylist()
    assert rows[1]["differences"][0] == {
        "field": "name",
        "sent": "Product 1",
        "found": "Somebody's",
    }
    assert [one["field"] for one in rows[1]["differences"]] == ["name", "target_url"]
    assert (rows[2]["http_status"], rows[3]["status"]) == (404, "archived")


def test_smart_select_is_no_drift(run: Run, verify: Verify) -> None:
    """A link with a ZIP code comes back with offers and a store, and is ok."""
    run(products(1, zip_code=["72712"]))
    assert verdicts(verify()) == ["ok"]


@pytest.mark.parametrize("fault", ["error_before", "half_answer", "lost_before", "no_id"])
def test_trouble_is_retried(made: list[str], verify: Verify, box: Sandbox, fault: str) -> None:
    """A read that fails is repeated, which changes nothing."""
    box.fail_next(fault, times=2, where=made[0])
    assert verify(only=made[:1]).exit_code() == 0
    assert [one.fault for one in box.requests() if one.method == "GET"] == [fault, fault, None]


def test_trouble_that_stays_is_reported(
    made: list[str], verify: Verify, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries a link that can't be read is told so, and the others are not held up."""
    monkeypatch.setattr("incarts_pipeline.maintenance.verify._TRIES", 2)
    box.fail_next("malformed", times=9, where=made[0])
    result = verify(only=made[:2])
    assert (verdicts(result), result.exit_code()) == (["unreadable", "ok"], 3)
    assert result.requests == 3


@pytest.mark.slow
def test_limit_is_obeyed(made: list[str], verify: Verify, box: Sandbox) -> None:
    """A 429 is never a verdict: the read waits for its turn."""
    box.reconfigure(limits=(Limit(requests=4, seconds=1.0),))
    result = verify(rate="adaptive")
    assert result.exit_code() == 0
    assert box.audit().statuses.get("200") == 6


def test_wrong_key_ends(made: list[str], verify: Verify) -> None:
    """A 401 ends the run at once, with what to do."""
    result = verify(api_key=SecretStr("ic_live_wrong_but_long_enough"))
    assert (result.exit_code(), result.end is not None) == (1, True)
    assert result.end is not None
    assert result.end.kind is EndKind.UNAUTHORIZED
    assert set(verdicts(result)) == {"not_checked"}
    assert result.table["checked_at"].null_count == 6


def test_missing_scope(made: list[str], verify: Verify, box: Sandbox) -> None:
    """INCARTS_SCOPES is looked at first; else a 403 says which scope reading needs."""
    with pytest.raises(RefusedError, match="links:read"):
        verify(scopes=frozenset({"links:write"}))
    box.reconfigure(keys=(ApiKey(scopes=frozenset({"links:write"})),))
    result = verify()
    assert result.exit_code() == 1
    assert result.end is not None
    assert "links:read" in (result.end.fix or "")


def test_part_of_the_links(made: list[str], verify: Verify, run: Run) -> None:
    """By row key or link id, by link set, or so many by chance."""
    run(products(2), link_set="other", output="other.parquet")
    assert verify(only=["000003", made[4]], link_sets=["test"]).table["link_id"].to_pylist() == [
        made[3],
        made[4],
    ]
    assert set(verify(link_sets=["other"]).table["link_set"].to_pylist()) == {"other"}
    assert verify(sample=3).table.num_rows == 3
    assert verify(sample=99).table.num_rows == 8
    with pytest.raises(RefusedError, match="'nobody'"):
        verify(only=["nobody"])


def test_table_of_links(made: list[str], verify: Verify, run: Run, box: Sandbox) -> None:
    """Links of an old table are read too: replaced ones as they were sent, foreign ones as are."""
    Path("links.parquet").rename("old.parquet")
    run(products(6, quantity=[5, 1, 1, 1, 1, 1]))
    result = verify("old.parquet")
    assert (result.table["link_id"].to_pylist(), result.exit_code()) == (made, 0)
    result = verify(pa.table({"link_id": [made[0], "lnk_foreign", None]}))
    assert verdicts(result) == ["ok", "gone"]
    assert result.table["row_key"].to_pylist() == ["000000", None]
    with pytest.raises(CatalogError, match="no column 'link_id'"):
        verify(pa.table({"id": ["x"]}))
    with pytest.raises(CatalogError, match="'NA' in 'link_id'"):
        verify(pa.table({"link_id": [made[0], "NA"]}))


@pytest.mark.slow
def test_out_of_time(made: list[str], verify: Verify, box: Sandbox) -> None:
    """What is left when the time is up is not checked, and the exit code says to go on."""
    result = verify(max_duration=0.4, rate="fixed:4")
    assert (result.exit_code(), result.stopped) == (4, Reason.OUT_OF_TIME)
    assert 0 < result.counts[Verdict.NOT_CHECKED] < 6


def test_codes_are_no_links(made: list[str], verify: Verify, settings: Settings) -> None:
    """QR codes in the ledger are not read back as if they were links."""
    create_qr_codes("links.parquet", settings, identifiers=["shelf"])
    assert verify().table.num_rows == 6
