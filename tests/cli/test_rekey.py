"""`incarts rekey`: links that move to rows whose key was spelled anew."""

from __future__ import annotations

import json
import sys

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.processes import NO_MAPPING
from tests.support.runs import products
from tests.support.shell import Shell


def test_rekey_moves_links_and_makes_none(shell: Shell, catalog: str, box: Sandbox) -> None:
    """Rows whose key lost its zeros get their links back; other new rows are for another run."""
    arguments = (catalog, *NO_MAPPING, "-o", "links.parquet")
    assert shell("apply", *arguments)[0] == 0
    skus = [*map(str, range(4)), *(f"{i:06d}" for i in range(4, 13))]
    pacsv.write_csv(products(13, sku=skus), catalog)
    code, out, _ = shell("plan", catalog, *NO_MAPPING)
    assert code == 0
    told = " ".join(out.split())
    assert "4 new rows look re-keyed" in told
    assert "000000 → 0, 000001 → 1, 000002 → 2, …" in told
    assert "--rekeyed move moves their links over" in told
    code, out, _ = shell("rekey", *arguments, "--json")
    statuses = {status: n for status, n in json.loads(out)["statuses"].items() if n}
    assert (code, statuses) == (4, {"rekeyed": 4, "unchanged": 8, "pending": 1})
    assert shell("apply", *arguments)[0] == 0
    assert box.audit().links == 13


def test_moves_are_asked_about(
    shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """Who is at the keyboard sees what would move, and may say no."""
    arguments = (catalog, *NO_MAPPING, "-o", "links.parquet")
    shell("apply", *arguments)
    pacsv.write_csv(products(12, sku=[str(i) for i in range(12)]), catalog)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    questions: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text, **_: bool(questions.append(text)))
    assert shell("rekey", *arguments)[0] == 1
    assert questions == ["Move 12 links to new keys?"]
    assert box.audit().links == 12
