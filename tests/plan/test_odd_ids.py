"""Odd item ids: told in the plan and noted on the row, and never a reason to send nothing."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from incarts_pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products

USUAL = [str(16_554_531 + at) for at in range(12)]


def warned(ids: list[str], settings: Settings, **more: list[str]) -> str:
    """Return what a plan warns of."""
    request = PlanRequest(
        catalog=products(len(ids), retailer_product_id=ids, **more),
        link_set="test",
        unique_key=("sku",),
    )
    with plan_catalog(request, settings) as plan:
        return "\n".join(plan.figures.warnings)


@pytest.mark.parametrize("odd", ["ABC-123", "0", "16554531-2", "12", "1655453116554531165"])
def test_an_id_unlike_the_others_is_told(settings: Settings, odd: str) -> None:
    """Letters among digits, and numbers of another length, with their row before all is sent."""
    said = warned([*USUAL[:7], odd, *USUAL[8:]], settings)
    assert "1 row has a product id unlike the others" in said
    assert f'row 7 (000007) "{odd}"' in said


@pytest.mark.parametrize(
    "ids",
    [
        USUAL,
        [*USUAL[:11], "655453"],  # ids of one retailer differ by some digits
        [*USUAL[:3], "ABC-1", "ABC-2"],  # of so few, two are no exception
        [f"B0{at}X" for at in range(12)],
        ["ABC-123", "16554531", "16554532", "1655"],
    ],
    ids=lambda ids: ids[-1],
)
def test_where_nothing_is_usual_nothing_is_odd(settings: Settings, ids: list[str]) -> None:
    """Lengths that are near, letters in most ids, and tables of a few rows say nothing."""
    assert warned(ids, settings) == ""


def test_each_retailer_has_its_own_usual_ids(settings: Settings) -> None:
    """What would be odd at one is what another has."""
    ids = [*USUAL[:6], *(f"8{at}" for at in range(6))]
    retailers = [*["walmart"] * 6, *["target"] * 6]
    intents = [*["add_to_cart"] * 6, *["product_detail"] * 6]
    assert "unlike" not in warned(ids, settings, retailer=retailers, intent=intents)


def test_backups_are_ids_too(settings: Settings) -> None:
    """A row with an odd one among its backups is named with that."""
    backups = ["16554599", "16554598,n-1", *["16554597"] * 10]
    said = warned(USUAL, settings, backup_product_ids=backups)
    assert 'row 1 (000001) "n-1"' in said


def test_odd_ids_are_sent_and_noted(run: Run, box: Sandbox) -> None:
    """Each has its link, and in the table a note with the id."""
    run(products(12, retailer_product_id=[*USUAL[:10], "ABC-123", "0"]))
    assert box.audit().links == 12
    rows = pq.read_table("links.parquet").to_pylist()
    notes = {row["row_key"]: row["problems"] for row in rows if row["problems"]}
    assert sorted(notes) == ["000010", "000011"]
    [note] = notes["000010"]
    assert (note["severity"], note["code"]) == ("note", "odd_id")
    assert '"ABC-123" is unlike the other ids' in note["message"]


def test_what_is_usual_is_told_by_rows_that_have_their_link(run: Run, settings: Settings) -> None:
    """A single new row is compared with those that are there."""
    run(products(12, retailer_product_id=USUAL))
    said = warned([*USUAL, "ABC-123"], settings)
    assert 'row 12 (000012) "ABC-123"' in said
    run(products(13, retailer_product_id=[*USUAL, "ABC-123"]))
    assert warned([*USUAL, "ABC-123"], settings) == ""  # once its link is made, it is too late
