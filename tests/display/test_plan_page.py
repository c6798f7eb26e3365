"""Page of a plan: every row with old beside new, bounded, escaped, and one script of ours."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from incarts_pipeline.display import plan_page
from incarts_pipeline.display.reporting import write_plan_page
from incarts_pipeline.errors import PublishError, RefusedError
from incarts_pipeline.models import Action
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.settings import Settings
from tests.support.displayed import AT, IMAGE, SCRIPT, World
from tests.support.parsed_html import parsed
from tests.support.runs import Run, products


def test_every_row_is_there_with_old_beside_new(made: World) -> None:
    """Replaced rows first, each with its key, name and values; unchanged ones last."""
    text = parsed(without_script(plan_page(made.plan, AT))).text
    rows = text[text.index("Every row") :]
    assert rows.count("products[0].quantity 1 → 2") == 30  # replaced and held
    assert all(f"SKU-{i:04d}" in rows for i in range(72) if i not in (6, 61))
    assert rows.index("replace") < rows.index("reject") < rows.index("create")
    assert rows.index("create") < rows.rindex("unchanged")
    assert "products[0].retailer_product_id (none) → 500063" in rows


def test_what_is_left_out_is_said(made: World) -> None:
    """Of more rows than a browser takes, the first are there, and the others are counted."""
    text = parsed(without_script(plan_page(made.plan, AT, most=30))).text
    assert "42 rows of 72 are not on this page." in text
    rows = text[text.index("Every row") :]
    assert rows.count("products[0].quantity 1 → 2") == 27  # all that are replaced
    assert "create" not in rows


def test_rows_come_in_the_order_of_what_cannot_be_undone(made: World) -> None:
    """Within an action they stand in the catalog's order; the bound holds."""
    rows = list(made.plan.rows(72))
    actions = list(dict.fromkeys(row.action for row in rows))
    assert actions == [
        Action.REPLACE,
        Action.REJECT,
        Action.HOLD,
        Action.CREATE,
        Action.UNCHANGED,
    ]
    replaced = [row.catalog_row for row in rows if row.action is Action.REPLACE]
    assert replaced == sorted(replaced)
    assert len(list(made.plan.rows(5))) == 5


def test_names_are_text_and_only_our_script_may_run(made: World) -> None:
    """Markup in a name is shown, and the policy names the hash of the one script."""
    page = plan_page(made.plan, AT)
    seen = parsed(without_script(page))
    assert seen.has(IMAGE)
    assert seen.has(SCRIPT)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline" not in page.split("script-src", 1)[1].split('"', 1)[0]


def without_script(page: str) -> str:
    """Return the page without our script, which is no text of a catalog."""
    return re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_the_page_goes_over_nothing_that_is_read(
    run: Run, settings: Settings, tmp_path: Path
) -> None:
    """It is refused where the ledger is, and where it can't be written; a page is replaced."""
    run(products(1))
    request = PlanRequest(catalog=products(1), link_set="test", unique_key=("sku",))
    with plan_catalog(request, settings) as plan:
        with pytest.raises(RefusedError):
            write_plan_page(plan, settings.ledger)
        with pytest.raises(PublishError):
            write_plan_page(plan, tmp_path / "no" / "plan.html")
        first = write_plan_page(plan, tmp_path / "plan.html").read_text()
        assert write_plan_page(plan, tmp_path / "plan.html").read_text()[:900] == first[:900]
