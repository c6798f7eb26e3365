"""The shell's commands around review, history, import and plan files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.clocks import LaterClock
from tests.support.processes import NO_MAPPING
from tests.support.runs import Run, apply_at, products
from tests.support.shell import Shell, answering

LEDGER = ("--ledger", "ledger.db")


@pytest.fixture
def overdue(run: Run, box: Sandbox, settings: Settings) -> str:
    """A doubt that is too old to be replayed; its link exists."""
    box.fail_next("error_after", times=50)
    run(products(1), until=1)
    box.fail_next("error_after", times=0)
    apply_at(settings, LaterClock(3600))
    return str(pq.read_table("links.parquet")["idempotency_key"][0])


def test_review_from_list_to_adopt(shell: Shell, overdue: str, box: Sandbox) -> None:
    """What the runbook says, command by command."""
    code, out, _ = shell("review", "list", *LEDGER)
    assert code == 3
    assert overdue in out
    assert "needs review: too_old" in out
    code, out, _ = shell("review", "list", *LEDGER, "--json")
    assert (code, json.loads(out)["cases"][0]["needs_person"]) == (3, True)
    code, out, _ = shell("review", "evidence", *LEDGER)
    assert (code, "incarts-evidence.json" in out) == (0, True)
    text = Path("incarts-evidence.json").read_text()
    assert overdue in text
    assert box.api_key not in text
    code, out, _ = shell("review", "evidence", overdue, "-o", "-", *LEDGER)
    assert json.loads(out)["operations"][0]["idempotency_key"] == overdue
    [link_id] = {one.link_id for one in box.requests() if one.link_id}
    code, out, _ = shell("review", "adopt", overdue, str(link_id), *LEDGER)
    assert (code, "http" in out) == (0, True)
    assert shell("review", "list", *LEDGER)[:2] == (0, "nothing is in doubt\n")


def test_recreate_asks_only_in_a_terminal(shell: Shell, overdue: str) -> None:
    """A script isn't asked; the next run makes the new link."""
    code, out, _ = shell("review", "recreate", overdue, *LEDGER)
    assert (code, overdue in out) == (0, True)
    code, _, err = shell("review", "recreate", overdue, *LEDGER)
    assert (code, "is not open" in err) == (1, True)


def test_a_no_says_what_was_not_done(
    shell: Shell, overdue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is given up when the question is denied, or not answered at all."""
    for typed in ("n\n", ""):
        monkeypatch.setattr(sys, "stdin", answering(typed))
        code, _, err = shell("review", "recreate", overdue, *LEDGER)
        assert (code, err.endswith("Nothing was given up.\n")) == (1, True)
    assert shell("review", "recreate", overdue, "--yes", *LEDGER)[0] == 0


def test_show(shell: Shell, catalog: str) -> None:
    """A row's history in words and as JSON; exit 1 for a row that was never sent."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    code, out, _ = shell("show", "sku=000003")
    assert code == 0
    assert "create: done" in out
    assert "in use" in out
    code, out, _ = shell("show", "000003", "--json")
    [attempt] = json.loads(out)["entries"][0]["attempts"]
    assert (attempt["http_status"], attempt["sent_at"][-6:]) == (201, "+00:00")
    assert (
        "Whether the row is held or rejected now is in links.parquet"
        in shell("show", "sku=000003")[1]
    )
    code, out, _ = shell("show", "sku=nowhere")
    said = "If the catalog has it, its `problems` in links.parquet say why."
    assert (code, out) == (1, f"Nothing was ever sent for row sku=nowhere. {said}\n")
    code, _, err = shell("show", "upc=1")
    assert (code, "known by sku" in err) == (2, True)
    assert shell("show", "sku=1", "2")[0] == 2


def test_import_and_adopt(shell: Shell, catalog: str) -> None:
    """A lost ledger is refused, and taken over by `import`, or on the way by `--adopt`."""
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    shell(*arguments)
    code, _, err = shell(*arguments, "--ledger", "new.db")
    assert (code, "incarts import links.parquet" in err) == (1, True)
    code, out, _ = shell(*arguments, "--ledger", "new.db", "--adopt", "--json")
    assert (code, json.loads(out)["requests"]) == (0, 0)
    code, out, _ = shell("import", "links.parquet", "--ledger", "another.db")
    assert (code, out) == (0, "12 links taken over into another.db, 0 known\n")
    code, out, _ = shell("import", "links.parquet", "--ledger", "another.db", "--json")
    told = {"schema_version": 1, "links": 0, "needs_review": 0, "known": 12}
    assert json.loads(out) == told
    code, _, err = shell("import", catalog)
    assert (code, "--unique-key" in err) == (1, True)


def test_plan_file(shell: Shell, catalog: str, box: Sandbox) -> None:
    """A plan file is applied as it was seen, without other options, and refused once it moved."""
    code, out, _ = shell("plan", catalog, *NO_MAPPING, "--out", "plan.incarts")
    assert (code, "incarts apply plan.incarts" in out) == (0, True)
    code, _, err = shell("apply", "plan.incarts", "-o", "links.parquet", "--link-set", "other")
    assert (code, "fixes the mapping" in err) == (2, True)
    assert shell("apply", "plan.incarts", "-o", "links.parquet")[0] == 0
    assert box.audit().links == 12
    code, out, _ = shell("apply", "plan.incarts", "-o", "links.parquet", "--json")
    assert (code, json.loads(out)["requests"]) == (0, 0)
    pacsv.write_csv(products(13), catalog)
    code, _, err = shell("apply", "plan.incarts", "-o", "links.parquet")
    assert (code, "has moved" in err) == (1, True)


def test_no_evidence_of_nothing(shell: Shell, catalog: str) -> None:
    """With nothing open no file is written."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    code, out, _ = shell("review", "evidence")
    assert (code, "nothing is in doubt" in out) == (0, True)
    assert not Path("incarts-evidence.json").exists()


def test_list_says_until_when_a_run_settles_it(shell: Shell, catalog: str, box: Sandbox) -> None:
    """What the next run can settle by itself says how long it can."""
    box.fail_next("error_after", times=50)
    arguments = ("apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--limit", "1")
    shell(*arguments, "--max-duration", "0.3s")
    code, out, _ = shell("review", "list")
    first, blank, group, row, key = out.splitlines()
    assert (code, blank) == (0, "")
    assert re.fullmatch(r"1 in doubt; run `incarts apply` before .*\d\d:\d\d:\d\d UTC", first)
    assert re.fullmatch(r"test, in doubt: \w+; the next run settles it: 1 row", group)
    assert row.startswith("  000000  ")
    assert key.startswith("    incarts1-")
    told = json.loads(shell("review", "list", "--json")[1])
    [case] = told["cases"]
    assert case["settles_until"] > case["first_sent_at"]
    assert told["apply_before"] == case["settles_until"]
    assert (told["in_doubt"], told["needs_person"], told["in_flight"]) == (1, 0, 0)
