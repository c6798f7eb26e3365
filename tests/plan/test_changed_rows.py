"""Changed rows of a plan: patterns over all of them, values as they were and as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from incarts_pipeline import plan_catalog
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan import ChangedRows, Plan, PlanRequest, changes, refuse
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

N = 40


def planned(table: pa.Table, settings: Settings) -> Plan:
    """Plan a catalog of the link set `test`."""
    return plan_catalog(PlanRequest(catalog=table, link_set="test", unique_key=("sku",)), settings)


def changed(table: pa.Table, settings: Settings) -> list[ChangedRows]:
    """Return what changes in the rows of a catalog."""
    with planned(table, settings) as plan:
        return list(plan.figures.changed)


def shifted() -> pa.Table:
    """Return the catalog after an import that was off by one, with a few new names."""
    return products(
        N,
        retailer_product_id=[str(500_001 + i) for i in range(N)],
        name=[f"New {i}" if i in (3, 7) else f"Product {i}" for i in range(N)],
    )


def test_a_plan_says_what_changed_in_which_pattern(run: Run, settings: Settings) -> None:
    """The share of rows with just these fields, the step of all values, and the first rows."""
    run(products(N))
    [found] = changed(shifted(), settings)
    assert (found.action, found.reason, found.rows) == (Action.REPLACE, Reason.CHANGED, N)
    assert found.patterns() == [
        "38 of 40: only products.retailer_product_id",
        "2 of 40: only name, products.retailer_product_id",
        "40 of 40 products.retailer_product_id: +1",
        '2 of 2 name: begins with "New", not "Product"',
    ]
    assert [str(example) for example in found.examples] == [
        f"{i:06d}  products[0].retailer_product_id  {500_000 + i} → {500_001 + i}" for i in range(3)
    ]


def test_patterns_are_counted_in_all_rows_and_proposed_from_some(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few changes are looked at for a pattern, its share is that of all."""
    monkeypatch.setattr("incarts_pipeline.plan.changed_rows._SAMPLE", 5)
    run(products(N))
    ids = [str(500_001 + i if i % 4 else 700_000 + 7 * i * i) for i in range(N)]
    [found] = changed(products(N, retailer_product_id=ids), settings)
    assert found.patterns()[-1] == "30 of 40 products.retailer_product_id: +1"


def test_a_refusal_says_the_values(run: Run, settings: Settings) -> None:
    """A guard's message has the patterns and three rows, each on a line of its own."""
    run(products(N))
    with planned(shifted(), settings) as plan, pytest.raises(RefusedError) as caught:
        refuse(plan.figures, None)
    lines = str(caught.value.message).splitlines()
    assert lines[1] == "  38 of 40: only products.retailer_product_id"
    assert "  000000  products[0].retailer_product_id  500000 → 500001" in lines


def test_held_and_ignored_rows_say_what_changed(run: Run, settings: Settings) -> None:
    """A row that is held because it is in print, and one whose new name is ignored."""
    run(products(2))
    table = products(2, name=["A", "Product 1"], quantity=[1, 2]).append_column(
        "pinned", pa.array([False, True])
    )
    held, ignored = sorted(changed(table, settings), key=lambda one: one.action is not Action.HOLD)
    assert str(held.examples[0]) == "000001  products[0].quantity  1 → 2"
    assert (ignored.reason, str(ignored.examples[0])) == (
        Reason.IGNORED_CHANGE,
        "000000  name  Product 0 → A",
    )


def test_rows_without_a_body_in_the_ledger_are_counted_as_such(
    run: Run, settings: Settings, tmp_path: Path
) -> None:
    """Of a link whose content was never kept, only that it changed is known."""
    run(products(2))
    with opened("ledger.db") as connection:
        connection.execute("DELETE FROM body WHERE op_id = (SELECT MIN(op_id) FROM body)")
    [found] = changed(products(2, quantity=[2, 2]), settings)
    assert (found.rows, found.unknown) == (2, 1)
    assert "1 was an imported link, whose earlier content nobody knows" in found.patterns()


def test_a_row_keeps_a_bounded_number_of_values(run: Run, settings: Settings) -> None:
    """A link with many changed values shows a few, and counts the others."""
    many = {"link": "|".join(f"t{i}" for i in range(60))}
    mapping = {
        "link_set": "test",
        "unique_key": ["sku"],
        "on_change": {"tracking": "replace"},
        "link": {
            "name": "a",
            "retailer": "walmart",
            "intent": "add_to_cart",
            "products": {"retailer_product_id": "500"},
            "tracking": {"tags": {"column": "link", "split": "|"}},
        },
    }
    run([{"sku": "1", **many}], mapping=mapping)
    changed_tags = {"link": "|".join(f"u{i}" for i in range(60))}
    request = PlanRequest(catalog=[{"sku": "1", **changed_tags}], mapping=mapping)
    with plan_catalog(request, settings) as plan:
        [found] = plan.figures.changed
        [example] = found.examples
        kept = plan.workspace.db.execute("SELECT COUNT(*) FROM difference").fetchone()
    assert kept == (changes._KEPT,)
    assert (len(example.differences), example.more) == (changes._KEPT, 60 - changes._KEPT)
    assert example.changes().endswith("; and 57 more")


def test_what_is_unchanged_costs_no_word(run: Run, settings: Settings) -> None:
    """A plan in which nothing differs has no changed rows; nor has one over no ledger."""
    assert changed(products(2), settings) == []
    run(products(2))
    assert changed(products(3), settings) == []
