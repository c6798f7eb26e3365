"""What a small run costs, counted: what it asks of the ledger, of the disk and of files."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import CacheStats, ExecutionContext

from incarts_pipeline.pipeline import apply_plan, plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking
from tests.support.runs import Run, products

_counting: dict[str, Counter[str]] = {}  # by the folder whose files are counted


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    for folder, counts in _counting.items():
        if event == "sqlite3.connect":
            counts["connections"] += 1
        elif event == "open" and str(arguments[0]).startswith(folder):
            counts["opens"] += 1


sys.addaudithook(_heard)  # which can't be taken away again


@contextmanager
def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what is asked of the ledger's database, of the disk and of the files of a folder."""
    counts: Counter[str] = Counter()
    sync = os.fsync

    def statement(
        _c: object, _cursor: object, text: str, _p: object, context: ExecutionContext, _many: bool
    ) -> None:
        if not text.startswith(("BEGIN", "PRAGMA")):
            counts["statements"] += 1
        if getattr(context, "cache_hit", None) is CacheStats.CACHE_MISS:
            counts["translations"] += 1

    def commit(_: object) -> None:
        counts["transactions"] += 1

    def synced(file: int) -> None:
        counts["fsyncs"] += 1
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        sa.event.listen(sa.Engine, "before_cursor_execute", statement)
        sa.event.listen(sa.Engine, "commit", commit)
        _counting[str(folder)] = counts
        try:
            yield counts
        finally:
            del _counting[str(folder)]
            sa.event.remove(sa.Engine, "before_cursor_execute", statement)
            sa.event.remove(sa.Engine, "commit", commit)


def test_a_plan_asks_each_thing_once(
    run: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan reads facts, pace, sets, and rows, and what is lost: each once.

    Which runs live is asked for where something is open, and what is complete for new links.
    """
    for _ in range(2):
        run(products(20))
    request = PlanRequest(catalog=products(20), link_set="test", unique_key=("sku",))
    with counted(tmp_path, monkeypatch) as costs, plan_catalog(request, settings):
        pass
    assert costs == {"opens": 1, "connections": 4, "transactions": 3, "statements": 4}


@pytest.mark.parametrize(
    ("rows", "most"),
    [
        (20, {"opens": 15, "connections": 7, "transactions": 14, "statements": 28, "fsyncs": 1}),
        # Five links more, in one flight: the claim, the mark, the answers, and three new files.
        (25, {"opens": 30, "connections": 10, "transactions": 17, "statements": 51, "fsyncs": 8}),
    ],
)
def test_what_a_small_run_asks_for(
    rows: int,
    most: dict[str, int],
    run: Run,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run's own share of statements, transactions, files and fsyncs grows only on purpose.

    Nor does SQLAlchemy translate a statement that an earlier run of the process had already.
    """
    for _ in range(2):
        run(products(20))
    request = PlanRequest(catalog=products(rows), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan, counted(tmp_path, monkeypatch) as costs:
        run_blocking(lambda stop: apply_plan(plan, settings, tmp_path / "links.parquet", stop=stop))
    # Answers that come later than others are a group of their own.
    late = {"transactions": 5, "statements": 40, "opens": 10} if rows > 20 else {}
    over = {name: n for name, n in costs.items() if n > most.get(name, 0) + late.get(name, 0)}
    assert not over, costs
