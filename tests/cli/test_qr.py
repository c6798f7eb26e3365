"""`incarts qr` and `incarts verify` as commands: what they print, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import ApiKey, Sandbox
from incarts_pipeline.settings import Settings
from tests.support.processes import NO_MAPPING
from tests.support.qr_codes import take
from tests.support.runs import products
from tests.support.shell import Shell, answering

QR = ("qr", "links.parquet", "--identifier", "shelf")


@pytest.fixture
def linked(shell: Shell) -> list[str]:
    """Links of three products; their ids."""
    pacsv.write_csv(products(3), "catalog.csv")
    assert shell("apply", "catalog.csv", "-o", "links.parquet", *NO_MAPPING)[0] == 0
    ids: list[str] = pq.read_table("links.parquet")["link_id"].to_pylist()
    return ids


def test_plan_only_sends_nothing(shell: Shell, linked: list[str], box: Sandbox) -> None:
    """`--plan-only` shows codes, scope and reasons, as text or JSON."""
    code, out, _ = shell(*QR, "--plan-only")
    assert (code, box.audit().qr_codes) == (0, 0)
    assert "3 QR codes to make" in out
    assert "qr-codes:write (3)" in out
    assert "the link has no code of this identifier yet" in out
    code, out, _ = shell(*QR, "--plan-only", "--json")
    assert json.loads(out)["calls"] == 3
    assert not Path("qr_codes.parquet").exists()


def test_key_is_asked_for_before_the_plan(
    shell: Shell, linked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says yes to codes that can't be made; a plan alone needs no key."""
    monkeypatch.delenv("INCARTS_API_KEY")
    code, out, err = shell(*QR)
    assert code != 0
    assert "INCARTS_API_KEY" in err
    assert "to make" not in out + err
    assert shell(*QR, "--plan-only")[0] == 0


def test_qr_then_again(shell: Shell, linked: list[str], box: Sandbox) -> None:
    """The codes are made once; a second time nothing is sent. `status` counts them apart."""
    code, _, err = shell(*QR, "--name", "{sku}")
    assert code == 0
    assert "3 QR codes to make" in err
    code, out, _ = shell(*QR, "--json")
    said = json.loads(out)
    assert (code, said["requests"], said["qr_codes"]) == (0, 0, "qr_codes.parquet")
    assert box.audit().qr_codes == 3
    assert "test, QR codes" in shell("status")[1]
    kinds = [one["kind"] for one in json.loads(shell("status", "--json")[1])["sets"]]
    assert kinds == ["links", "qr_codes"]
    assert f"create a QR code of {linked[1]}" in shell("show", "sku=000001")[1]


def test_a_no_sends_nothing(
    shell: Shell, linked: list[str], box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody at the keyboard decides, and reads what came of it; one code is one code."""
    monkeypatch.setattr(sys, "stdin", answering("n\n"))
    pq.write_table(pq.read_table("links.parquet").slice(0, 1), "one.parquet")
    code, _, err = shell("qr", "one.parquet", "--identifier", "shelf")
    assert "Make 1 QR code? [y/N]:" in err
    assert (code, err.endswith("Nothing was sent.\n")) == (1, True)
    monkeypatch.setattr(sys, "stdin", answering("n\n"))
    _, _, err = shell("qr", "links.parquet", "--identifier", "shelf", "--limit", "2")
    assert "Make 2 of 3 QR codes? [y/N]:" in err
    assert box.audit().qr_codes == 0


def test_taken_identifier_is_settled_in_the_shell(
    shell: Shell,
    linked: list[str],
    box: Sandbox,
    settings: Settings,
) -> None:
    """`review list` says what the matter is, `review adopt` takes the code's id."""
    theirs = asyncio.run(take(settings, linked[0], "shelf"))
    assert shell(*QR)[0] == 3
    code, out, _ = shell("review", "list")
    assert code == 3
    assert f"a QR code of the link {linked[0]}" in out
    assert "choose another identifier" in out
    [case] = json.loads(shell("review", "list", "--json")[1])
    code, out, _ = shell("review", "adopt", case["idempotency_key"], theirs)
    assert code == 0
    assert f"has the QR code {theirs}" in out
    assert shell(*QR)[0] == 0


def test_wrong_usage_exits_2(shell: Shell, linked: list[str]) -> None:
    """An identifier that can't be used ends with exit 2 and the fix; a missing scope with 1."""
    code, _, err = shell("qr", "links.parquet", "--identifier", "a b")
    assert code == 2
    assert "3 to 64 letters" in err


def test_forbidden_exits_1(shell: Shell, linked: list[str], box: Sandbox) -> None:
    """A key without the scopes says so, for codes and for reading."""
    box.reconfigure(keys=(ApiKey(scopes=frozenset({"links:write"})),))
    code, _, err = shell(*QR)
    assert code == 1
    assert "403 for qr_code" in err
    code, out, _ = shell("verify")
    assert code == 1
    assert "links:read" in out


def test_verify(shell: Shell, linked: list[str], box: Sandbox) -> None:
    """Exit 0 while all is as sent, 3 and the differences otherwise."""
    code, out, _ = shell("verify", "--json")
    assert (code, json.loads(out)["verdicts"]["ok"]) == (0, 3)
    box.alter(linked[0], {"name": "[bold]Else[/]"})
    box.alter(linked[1], None)
    code, out, _ = shell("verify", "-o", "mine.parquet")
    assert code == 3
    assert "name: Product 0 → [bold]Else[/]" in out
    assert f"gone test 000001 {linked[1]}" in out
    assert pq.read_table("mine.parquet").num_rows == 3
    assert shell("verify", "--only", "000002", "--sample", "5")[0] == 0
    assert shell("verify", "links.parquet", "--max-duration", "0s")[0] == 4
