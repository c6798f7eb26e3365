"""Plans of a part: equal to the byte to the plan over everything, once the rest is quiet."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.clock import Clock
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger import (
    LedgerReader,
    ReplayRule,
    ensure_sets,
    prepare_file,
)
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.models import Limits, Policy, Rekeyed
from incarts_pipeline.plan import GONE, QUIET, Plan, PlanOptions, Quiet, make_plan
from incarts_pipeline.plan.odd_ids import SEEN_ROWS
from incarts_pipeline.prepare.prepare import prepare
from incarts_pipeline.schemas import link_request_schema
from tests.support.ledger_states import Made, fill

_HOST = "https://api.incarts.example"
_NOW = Clock().now()
_KEYS = ["00012", "00034", "12", "34", "9", "0007", "a", "b", "c", "d", "NA", None]
_NAMES = ["one", "two", "three", "N/A"]
_SETS = ["s/a", "s/b"]


def _mapping(*, basket: bool) -> dict[str, Any]:
    link = {
        "name": {"column": "name"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {
            "retailer_product_id": {"column": "item"},
            "quantity": {"column": "quantity", "default": 1},
        },
        "basket": basket,
    }
    b = {**link, "name": "{name} b"}
    return {"unique_key": ["sku"], "link_set": "s", "links": {"a": link, "b": b}}


def _requests(chance: random.Random) -> tuple[pa.Schema, pa.Table]:
    """Return the link requests of a small catalog, most of them behind the first 10,000 rows."""
    n = chance.randint(0, 14)
    rows = {
        "sku": [chance.choice(_KEYS) for _ in range(n)],
        "name": [chance.choice(_NAMES) for _ in range(n)],
        "item": [chance.choice(["500001", "500002", "x", None]) for _ in range(n)],
        "quantity": [chance.choice([1, 2, None]) for _ in range(n)],
        "printed": [chance.choice(["yes", "no"]) for _ in range(n)],
    }
    kinds = {"quantity": pa.int64()}
    catalog = pa.table({k: pa.array(v, kinds.get(k, pa.string())) for k, v in rows.items()})
    mapping = load_mapping(
        _mapping(basket=chance.random() < 0.3) | {"pinned": {"column": "printed"}}
    )
    schema = link_request_schema(mapping.key_fields(catalog.schema))
    batches = prepare(
        catalog.to_batches(),
        mapping,
        schema=catalog.schema,
        project_id="demo",
        limits=Limits(),
    )
    table = pa.Table.from_batches(list(batches), schema)
    first = chance.choice([0, 2])
    numbers = [r if r < first else r + SEEN_ROWS for r in table["catalog_row"].to_pylist()]
    return schema, table.set_column(0, schema.field(0), pa.array(numbers, pa.int64()))


def _states(chance: random.Random, requests: Sequence[dict[str, Any]]) -> Iterator[Made]:
    """Say what the ledger has of each key: mostly what its rows ask for, else anything."""
    bodies = {r["content_hash"]: r["body"] for r in requests if r["content_hash"]}
    bodies |= {b"o" * 32: '{"name":"old"}', b"p" * 32: '{"name":"older"}'}
    settled = chance.choice([0.3, 0.95])
    for set_id, name in enumerate(_SETS, 1):
        for key in [*_KEYS[:-1], "gone", "left"]:
            own = [
                r["content_hash"]
                for r in requests
                if (r["link_set"], r["row_key"]) == (name, key) and r["content_hash"]
            ]

            def content(own: list[bytes] = own) -> bytes:
                return chance.choice(own if own and chance.random() < settled else list(bodies))

            here = {"set_id": set_id, "row_key": key}
            if chance.random() < 0.9:
                hash_ = content()
                yield Made(
                    **here,
                    content_hash=b"" if chance.random() < 0.05 else hash_,
                    body=bodies[hash_],
                    uses=True,
                    missing=chance.random() < (0.05 if own else 0.5),
                    disputed=chance.random() < 0.05,
                )
            if chance.random() < 1 - settled:
                state = chance.choice(["done", "rejected", "abandoned", "sent", "needs_review"])
                hash_ = content()
                yield Made(**here, content_hash=hash_, body=bodies[hash_], state=state)


def _quiet_keys(requests: Sequence[dict[str, Any]], made: Sequence[Made]) -> set[str]:
    """Return the keys that nothing is open about, by the words of `Quiet`."""
    uses = {(_SETS[m.set_id - 1], m.row_key): m for m in made if m.uses}
    is_open = {m.row_key for m in made if m.state in ("sent", "needs_review", "intended")}
    keys = {r["row_key"] for r in requests if r["row_key"] is not None} - is_open
    for r in requests:
        link = uses.get((r["link_set"], r["row_key"]))
        has_it = link is not None and link.content_hash == r["content_hash"]
        if not has_it or link.missing or link.disputed or r["catalog_row"] < SEEN_ROWS:  # type: ignore[union-attr]
            keys.discard(r["row_key"])
    return keys


def _counts(requests: Sequence[dict[str, Any]], quiet: set[str], buckets: int) -> pa.Table:
    """Count quiet rows, bucket by bucket."""
    found = []
    for bucket in range(buckets):
        for name in _SETS:
            ours = [
                r["row_key"]
                for r in requests
                if r["link_set"] == name
                and r["row_key"] in quiet
                and sum(r["row_key"].encode()) % buckets == bucket
            ]
            digits = [key for key in ours if key.isdigit() and len(key) > 1]
            padded = [key for key in digits if key.startswith("0")]
            found.append(
                {
                    "link_set": name,
                    "row_count": len(ours),
                    "key_count": len(set(ours)),
                    "longest": max(map(len, digits), default=None),
                    "shortest_padded": min(map(len, padded), default=None),
                    "padded_key": min(padded, default=None),
                }
            )
    return pa.Table.from_pylist(found, schema=QUIET)


@cache
def _ledger() -> tuple[Path, sa.Engine, dict[str, int], TemporaryDirectory[str]]:
    """Return the ledger of all examples, whose rows each of them replaces."""
    folder = TemporaryDirectory()
    file = Path(folder.name) / "ledger.db"
    engine = prepare_file(file, _HOST)
    with engine.begin() as connection:
        set_ids = ensure_sets(connection, "demo", _SETS, ["sku"], LINKS)
    return file, engine, set_ids, folder


def _all_of(plan: Plan, set_ids: dict[str, int]) -> dict[str, Any]:
    """Return all that a plan says and does, but for the rows that it wasn't given."""
    decisions = plan.workspace.db.execute("SELECT * FROM decision ORDER BY ALL").fetchall()
    calls = [call for batch in plan.calls(set_ids) for call in batch]
    newly, back = plan.missing_changes(set_ids)
    return {
        "figures": plan.figures,
        "decisions": decisions,
        "calls": calls,
        "reuses": sorted(plan.reuses(set_ids), key=repr),
        "rekeys": sorted(plan.rekeys(set_ids), key=repr),
        "stay": plan.rows_that_stay(set_ids),
        "unknown": sorted((c for b in plan.unknown_contents() for c in b), key=repr),
        "missing": (sorted(newly), sorted(back)),
        "zeroless": plan.workspace.db.execute("SELECT * FROM zeroless ORDER BY ALL").fetchall(),
    }


def _check(seed: int) -> None:
    chance = random.Random(seed)
    schema, table = _requests(chance)
    requests = table.to_pylist()
    made = [*_states(chance, requests)]
    file, engine, set_ids, _ = _ledger()
    fill(engine, made)
    quiet = _quiet_keys(requests, made)
    options = PlanOptions(
        project_id="demo",
        link_sets=tuple(_SETS),
        on_change=chance.choice(
            [
                dict.fromkeys(("destination", "tracking", "label"), Policy.REPLACE),
                dict.fromkeys(("destination", "tracking", "label"), Policy.HOLD),
                {"destination": Policy.REPLACE, "tracking": Policy.HOLD, "label": Policy.IGNORE},
            ]
        ),
        rule=ReplayRule(window=1500, api_key_fingerprint="fp"),
        retry_rejected=chance.random() < 0.3,
        rekeyed=chance.choice(list(Rekeyed)),
        accepted=chance.choice([(), ("lost_zeros",)]),
    )

    def planned(given: pa.Table, quiet: Quiet | None) -> dict[str, Any]:
        with make_plan(
            schema,
            given.to_batches(),
            catalog=open_catalog(pa.table({"sku": [""]})),
            kind=LINKS,
            ledger=LedgerReader(file),
            options=options,
            now=_NOW,
            quiet=quiet,
        ) as plan:
            return _all_of(plan, set_ids)

    rest = [i for i, r in enumerate(requests) if r["row_key"] not in quiet]
    chance.shuffle(rest)
    present = {r["row_key"] for r in requests}
    gone = [{"row_key": m.row_key} for m in made if m.uses and m.row_key not in present]
    part = Quiet(
        counts=_counts(requests, quiet, chance.choice([1, 2, 7])),
        gone=pa.Table.from_pylist(gone, schema=GONE).to_batches(),
    )
    whole = planned(table, None)
    assert planned(table.take(pa.array(rest, pa.int64())), part) == whole


@settings(max_examples=8, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_part_has_the_plan_of_all(seed: int) -> None:
    """Twins, baskets, lost zeros, doubts, disputes, what moved, left or came back: a few nights."""
    _check(seed)


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_part_has_the_plan_of_all_in_many_nights(seed: int) -> None:
    """The same, in more random nights."""
    _check(seed)
