"""The steps of planning: each says what of the workspace its SQL reads and makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from incarts_pipeline import plan_catalog, plan_qr_codes
from incarts_pipeline.identity import idempotency_key, key_digest
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import Call
from incarts_pipeline.plan import PlanRequest, QrRequest
from incarts_pipeline.plan.build import STEPS, Step
from incarts_pipeline.plan.planning import Planning
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.prepare import Partition
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

_LOADED = {"request", "ledger_row", "unlinked", "member", "made_code", "quiet"}
_OF_A_STEP = {name for step in STEPS for name in step.makes}
_MADE = re.compile(
    r"(?:CREATE OR REPLACE (?:TABLE|VIEW)|INSERT INTO|UPDATE)\s+(\w+)", re.IGNORECASE
)


class _Recording:
    """A connection that keeps the statements that pass it."""

    def __init__(self, db: object, said: list[str]) -> None:
        self._db, self._said = db, said

    def execute(self, query: str, *rest: object) -> object:
        self._said.append(query)
        return self._db.execute(query, *rest)  # type: ignore[attr-defined]

    def sql(self, query: str, **rest: object) -> object:
        self._said.append(query)
        return self._db.sql(query, **rest)  # type: ignore[attr-defined]

    def cursor(self) -> _Recording:
        return _Recording(self._db.cursor(), self._said)  # type: ignore[attr-defined]

    def __enter__(self) -> _Recording:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


def _named(statements: list[str]) -> tuple[set[str], set[str]]:
    """Return the tables of the workspace that statements read, and those that they make."""
    reads: set[str] = set()
    makes: set[str] = set()
    for statement in statements:
        text = re.sub(r"--[^\n]*|'[^']*'", " ", statement)
        made = set(_MADE.findall(text))
        makes |= made
        rest = _MADE.sub(" ", text)
        sources = set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", rest, re.IGNORECASE))
        updated = set(re.findall(r"UPDATE\s+(\w+)", text, re.IGNORECASE))
        reads |= (sources | updated) & (_LOADED | _OF_A_STEP)
    return reads, makes


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what each step of the plans to come executes, by the step's name."""
    said: dict[str, list[str]] = {}

    def recorded(step: Step) -> Step:
        def run(planning: Planning) -> None:
            workspace: Workspace = planning.workspace
            before, mine = workspace.db, said.setdefault(step.name, [])
            workspace.db = _Recording(before, mine)  # type: ignore[assignment]
            try:
                step.run(planning)
            finally:
                workspace.db = before

        return Step(
            name=step.name,
            reads=step.reads,
            makes=step.makes,
            optional=step.optional,
            keeps_content=step.keeps_content,
            run=run,
        )

    monkeypatch.setattr("incarts_pipeline.plan.build.STEPS", tuple(map(recorded, STEPS)))
    return said


def hold(call: Call, project_id: str) -> None:
    """Let the ledger hold a call's key, as a restored one may."""
    key = idempotency_key(
        endpoint=LINKS.endpoint,
        project_id=project_id,
        link_set=call.link_set,
        row_key=call.row_key,
        content_hash=call.content_hash,
        generation=0,
    )
    with opened("ledger.db") as connection:
        connection.execute("INSERT INTO lost_key VALUES (?)", [key_digest(key)])


def test_steps_say_what_their_sql_names(
    run: Run, settings: Settings, statements: dict[str, list[str]]
) -> None:
    """Of links and of QR codes, with changed, clashing and held rows, whole and in a partition."""
    run(products(3))
    names = ["a", "Product 1", "Product 2", "b", "a"]
    changed = products(5, name=names, sku=["000000"] * 2 + ["x"] * 2 + ["held"])
    with plan_catalog(
        PlanRequest(catalog=changed, link_set="test", unique_key=("sku",)), settings
    ) as plan:
        [call] = [call for calls in plan.calls({"test": 1}) for call in calls]
    hold(call, settings.project_id)
    for partition in (None, Partition(column="name", value="a")):
        request = PlanRequest(
            catalog=changed, link_set="test", unique_key=("sku",), partition=partition
        )
        plan_catalog(request, settings).close()
    codes = QrRequest(source=str(Path("links.parquet")), identifiers=("abc",))
    plan_qr_codes(codes, settings).close()
    for step in STEPS:
        reads, makes = _named(statements[step.name])
        assert reads - step.optional == step.reads, step.name
        assert makes == step.makes, step.name


def test_steps_stand_in_their_order() -> None:
    """Whatever a step reads was loaded, or made by a step before it, or by itself."""
    there = set(_LOADED)
    for step in STEPS:
        assert step.reads <= there | step.makes, step.name
        there |= step.makes
