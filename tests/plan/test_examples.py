"""Examples: the rows that a plan names, though the ledger goes on meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from incarts_pipeline.ledger import links_used_for
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import examples
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened


def test_row_that_another_process_moved_is_not_named(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link was there when the ledger was loaded, and is another row's when it is named."""

    def late(connection: Any, op_ids: Any) -> dict[int, str]:
        with opened("ledger.db") as other:
            other.execute("DELETE FROM row WHERE row_key = '000011'")
        return links_used_for(connection, op_ids)

    run(products(25))
    monkeypatch.setattr(examples, "links_used_for", late)
    request = PlanRequest(catalog=products(10), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        told = "".join(str(refusal) for refusal in plan.figures.refusals)
    assert "missing from the catalog: 000010" in told
    assert "000011" not in told
