"""`incarts plan --sign` and `apply --require-signature`: how two people use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.processes import NO_MAPPING
from tests.support.shell import Shell


def test_one_plans_and_another_approves(shell: Shell, catalog: str, box: Sandbox) -> None:
    """The approver looks at the plan file and signs it where it lies; then it is carried out."""
    code, out, _ = shell("keys", "new", "approver.key")
    assert (code, Path("approver.key.pub").read_text().strip() in out.replace("\n", " ")) == (
        0,
        True,
    )
    assert shell("plan", catalog, *NO_MAPPING, "--out", "night.incarts")[0] == 0
    apply = (
        "apply",
        "night.incarts",
        "-o",
        "links.parquet",
        "--require-signature",
        "approver.key.pub",
    )
    code, out, _ = shell(*apply, "--json")
    assert (code, json.loads(out)["guard"]) == (1, "unsigned_plan")
    assert box.audit().requests == 0
    code, out, _ = shell("plan", "night.incarts", "--json")
    assert (code, json.loads(out)["calls"]) == (0, 12)
    assert shell("plan", "night.incarts", "--sign", "approver.key")[0] == 0
    assert shell(*apply)[0] == 0
    assert (box.audit().links, shell(*apply)[0]) == (12, 0)


def test_required_by_a_setting(
    shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a catalog itself is refused, too; a plan that is signed as it is made goes."""
    shell("keys", "new", "approver.key")
    monkeypatch.setenv("INCARTS_REQUIRE_SIGNATURE", Path("approver.key.pub").read_text().strip())
    code, _, err = shell("apply", catalog, *NO_MAPPING, "-o", "links.parquet")
    assert (code, "it isn't signed" in " ".join(err.split())) == (1, True)
    assert box.audit().requests == 0
    code, _, err = shell("plan", catalog, *NO_MAPPING, "--sign", "approver.key")
    assert (code, "--out" in err) == (2, True)
    plan = ("plan", catalog, *NO_MAPPING, "--out", "n.incarts", "--sign", "approver.key")
    assert shell(*plan)[0] == 0
    assert shell("apply", "n.incarts", "-o", "links.parquet")[0] == 0
    assert box.audit().links == 12


def test_a_signed_copy(shell: Shell, catalog: str) -> None:
    """With --out the approver leaves the planner's file as it is."""
    shell("keys", "new", "approver.key")
    shell("plan", catalog, *NO_MAPPING, "--out", "night.incarts")
    before = Path("night.incarts").read_bytes()
    assert shell("plan", "night.incarts", "--sign", "approver.key", "--out", "ok.incarts")[0] == 0
    assert Path("night.incarts").read_bytes() == before
    assert json.loads(Path("ok.incarts").read_text())["signature"]["key"].startswith("ssh-ed25519 ")
