"""Stamps: one for each state of all that decides what becomes of a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from incarts_pipeline.engine import stamp_of
from incarts_pipeline.ledger import ReplayRule
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.models import Limits, Policy, Rekeyed
from incarts_pipeline.plan import PlanOptions

RULE = ReplayRule(window=1_500, api_key_fingerprint="a")
OPTIONS = PlanOptions(
    project_id="demo",
    link_sets=("s",),
    on_change={"label": Policy.IGNORE},
    rule=RULE,
    base_url="https://api.incarts.example",
    mapping="mapping",
)
SCHEMA = pa.schema([("sku", pa.string()), ("name", pa.string()), ("other", pa.string())])
MAPPING = load_mapping(
    {
        "link_set": "s",
        "unique_key": ["sku"],
        "link": {
            "name": {"column": "name"},
            "retailer": "walmart",
            "intent": "custom_url",
            "custom_url": "https://a.b/",
        },
    }
)


def stamp(schema: pa.Schema = SCHEMA, **options: Any) -> dict[str, Any]:
    """Return the stamp with some options."""
    return stamp_of(
        replace(OPTIONS, **options), MAPPING, schema, limits=Limits(), ledger_id="ledger"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"project_id": "other"},
        {"link_sets": ("s", "t")},
        {"on_change": {"label": Policy.REPLACE}},
        {"rule": replace(RULE, api_key_fingerprint="b")},
        {"base_url": "https://other.example"},
        {"mapping": "another"},
        {"retry_rejected": True},
        {"refuse_over": 5},
        {"allow_empty": True},
        {"rekeyed": Rekeyed.NEW},
        {"accepted": ("lost_zeros",)},
        {"partition": "p"},
        {"schema": SCHEMA.set(1, pa.field("name", pa.large_string()))},
    ],
)
def test_stamps_tell_options_apart(other: dict[str, Any]) -> None:
    """Each that a plan depends on, beside what the ledger and the rows say."""
    assert stamp(**other) != stamp()


def test_stamps_tell_limits_and_ledgers_apart() -> None:
    """Also of the same options."""
    assert stamp_of(OPTIONS, MAPPING, SCHEMA, limits=Limits(), ledger_id="other") != stamp()
    limits = Limits(max_products=3)
    assert stamp_of(OPTIONS, MAPPING, SCHEMA, limits=limits, ledger_id="ledger") != stamp()


def test_columns_that_nobody_maps_are_no_part_of_a_stamp() -> None:
    """Nor is what can't change what becomes of a row: how fast, or with which right, it is sent."""
    assert stamp(SCHEMA.set(2, pa.field("other", pa.int64()))) == stamp()
    assert stamp(scopes=frozenset({"retailers:walmart"})) == stamp()
