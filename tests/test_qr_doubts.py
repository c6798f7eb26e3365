"""QR codes whose answer is unknown, or that somebody else has made already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import LedgerError, RefusedError
from incarts_pipeline.maintenance.adoption import adopt
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.maintenance.review import evidence, open_cases, recreate
from incarts_pipeline.models import State
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.clocks import LaterClock
from tests.support.qr_codes import code, codes, sent_to, take
from tests.support.runs import Make, Run, products


@pytest.mark.parametrize("fault", ["lost_before", "half_answer", "late"])
def test_one_fault_is_settled_within_the_run(
    run: Run, make: Make, box: Sandbox, fault: str
) -> None:
    """Whatever befalls the first attempt, the replay under the same key brings the one code."""
    run(products(1))
    box.fail_next(fault)
    assert make().exit_code() == 0
    assert code()["attempts"] >= 2
    assert len(set(sent_to(box, "/qr-codes"))) == 1
    assert (box.audit().qr_codes, box.audit().second_bodies) == (1, 0)


def test_next_run_settles_a_doubt(run: Run, make: Make, box: Sandbox) -> None:
    """What one run left in doubt, the next one settles with the same key and bytes."""
    run(products(1))
    box.fail_next("error_after", times=50)
    assert make(until=1).exit_code() == 3
    assert (code()["status"], code()["reason"]) == ("in_doubt", "answer_unknown")
    box.fail_next("error_after", times=0)
    assert make().exit_code() == 0
    assert code()["status"] == "created"
    assert len(set(sent_to(box, "/qr-codes"))) == 1
    assert (box.audit().qr_codes, box.audit().second_bodies) == (1, 0)


def overdue(run: Run, make: Make, box: Sandbox, fault: str) -> str:
    """Leave a code in doubt until it is too old to be replayed; return its key."""
    run(products(1))
    box.fail_next(fault, times=50)
    make(until=1)
    box.fail_next(fault, times=0)
    requests = box.audit().requests
    assert make(clock=LaterClock(3600)).exit_code() == 3
    assert box.audit().requests == requests
    return str(code()["idempotency_key"])


def test_old_doubt_is_adopted(run: Run, make: Make, box: Sandbox, settings: Settings) -> None:
    """Past the window a code is never sent again by itself; a person gives its id."""
    key = overdue(run, make, box, "error_after")
    [case] = open_cases(settings)
    link = pq.read_table("links.parquet")["link_id"][0].as_py()
    assert (case.needs_person, case.reason, case.for_link_id) == (True, "too_old", link)
    [operation] = evidence(settings).content["operations"]
    assert operation["endpoint"] == f"POST /v1/links/{link}/qr-codes"
    assert operation["body"]["identifier"] == "shelf"
    made = next(one.link_id for one in box.requests() if one.idempotency_key == key and one.link_id)
    adopt(key, str(made), settings)
    assert make().written.requests == 0
    assert (code()["qr_code_id"], code()["status"]) == (made, "unchanged")


def test_old_doubt_is_made_anew(run: Run, make: Make, box: Sandbox, settings: Settings) -> None:
    """Where Incarts says that there is no code, the next run makes one, in generation 1."""
    key = overdue(run, make, box, "lost_before")
    recreate([key], settings)
    assert make().exit_code() == 0
    assert (code()["generation"], box.audit().qr_codes) == (1, 1)
    assert code()["idempotency_key"] != key


@pytest.mark.parametrize("wrong", ["x", "the link"])
def test_adopting_takes_a_codes_id(
    run: Run, make: Make, box: Sandbox, settings: Settings, wrong: str
) -> None:
    """A text that is no id, and the id of the link, are refused."""
    key = overdue(run, make, box, "error_after")
    link = pq.read_table("links.parquet")["link_id"][0].as_py()
    with pytest.raises(RefusedError, match="not a QR code's id"):
        adopt(key, link if wrong == "the link" else wrong, settings)
    with pytest.raises(RefusedError, match="already the link"):
        adopt(key, pq.read_table("links.parquet")["qr_code_id"][0].as_py(), settings)


def test_taken_identifier_needs_a_person(
    run: Run, make: Make, box: Sandbox, settings: Settings
) -> None:
    """A 409 for an identifier that the ledger doesn't know says what to do, and isn't repeated."""
    run(products(1))
    link = pq.read_table("links.parquet")["link_id"][0].as_py()
    theirs = asyncio.run(take(settings, link, "shelf"))
    assert make().exit_code() == 3
    assert (code()["status"], code()["reason"]) == ("in_doubt", "needs_review")
    [problem] = code()["problems"]
    assert problem["code"] == "identifier_taken"
    assert "another identifier" in problem["message"]
    [case] = open_cases(settings)
    assert (case.is_taken, case.http_status, case.attempts) == (True, 409, 1)
    assert make().written.requests == 0
    adopt(case.idempotency_key, theirs, settings)
    assert make().exit_code() == 0
    assert (code()["qr_code_id"], code()["status"]) == (theirs, "unchanged")


def test_conflict_on_a_replay_stays_a_doubt(
    run: Run, make: Make, box: Sandbox, settings: Settings
) -> None:
    """A server that forgot the key answers 409: the code may be ours, so a person must say."""
    run(products(1))
    box.reconfigure(idempotency_window=0)
    box.fail_next("error_after")
    assert make(until=2).exit_code() == 3
    assert (code()["status"], code()["http_status"]) == ("in_doubt", 409)
    [case] = open_cases(settings)
    assert case.state is State.IN_DOUBT
    assert box.audit().qr_codes == 1


def test_identifier_that_was_made_is_that_code(run: Run, make: Make, box: Sandbox) -> None:
    """Another name for a code that exists makes no call: it stays as it was made, and says so."""
    run(products(1))
    make(name="Old name")
    made = code()["qr_code_id"]
    result = make(name="New name")
    assert (result.written.requests, result.exit_code()) == (0, 0)
    assert (code()["status"], code()["qr_code_id"]) == ("unchanged", made)
    assert [one["code"] for one in code()["problems"]] == ["kept"]
    assert box.audit().statuses.get("409") is None


def test_doubt_under_an_older_name_is_that_code(run: Run, make: Make, box: Sandbox) -> None:
    """Once the older attempt turns out to have made the code, the new name makes no call."""
    run(products(1))
    box.fail_next("error_after", times=50)
    make(name="Old name", until=1)
    box.fail_next("error_after", times=0)
    assert make(name="New name").exit_code() == 0
    assert (code()["status"], box.audit().qr_codes) == ("created", 1)
    assert len(set(sent_to(box, "/qr-codes"))) == 1


def lose_ledger() -> None:
    """Remove the ledger and what is beside it."""
    for file in Path().glob("ledger.db*"):
        file.unlink()


@pytest.mark.slow
def test_lost_ledger_is_rebuilt(run: Run, make: Make, box: Sandbox, settings: Settings) -> None:
    """Codes that a ledger doesn't know stop the run; importing both tables brings them back."""
    run(products(3))
    box.fail_next("error_after", times=50, where='"flyer"')
    make(identifiers=("shelf", "flyer"), until=6)
    box.fail_next("error_after", times=0, where='"flyer"')
    before = codes()
    lose_ledger()
    with pytest.raises(LedgerError, match="no ledger"):
        make()
    import_links("links.parquet", settings)
    requests = box.audit().requests
    with pytest.raises(RefusedError, match="doesn't know"):
        make(identifiers=("shelf", "flyer"))
    brought = import_links("qr_codes.parquet", settings)
    assert (brought.links, brought.needs_review) == (3, 3)
    assert make(identifiers=("shelf", "flyer"), name="Another name").exit_code() == 3
    shelves = [(one["qr_code_id"], one["encoded_url"]) for one in codes()[::2]]
    assert shelves == [(one["qr_code_id"], one["encoded_url"]) for one in before[::2]]
    assert {one["status"] for one in codes()[1::2]} == {"in_doubt"}
    assert box.audit().requests == requests
    assert all(case.for_link_id and case.needs_person for case in open_cases(settings))
    assert run(products(3)).written.requests == 0
