"""Nights of a dataset: what changed is planned and published as if it were everything."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.ledger import once, tables
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.models import Limits, Rekeyed
from incarts_pipeline.pipeline import RunResult, apply_plan, plan_catalog
from incarts_pipeline.plan import Plan, PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import run_blocking

OUTPUT = "links/"
Rows = list[dict[str, Any]]


def write(rows: Rows, name: str = "a") -> None:
    """Write one of the catalog's files."""
    Path("catalog").mkdir(exist_ok=True)
    schema = pa.schema([("sku", pa.string()), ("name", pa.string()), ("item", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), f"catalog/{name}.parquet")


def products(n: int, first: int = 0, **columns: Any) -> Rows:
    """Return a few products."""
    return [
        {"sku": f"{i:05d}", "name": f"Product {i}", "item": str(500_000 + i)} | columns
        for i in range(first, first + n)
    ]


def mapping(**more: object) -> dict[str, Any]:
    """Return a mapping of two link sets."""
    link = {
        "name": {"column": "name"},
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "item"}},
    }
    links = {"a": link, "b": link | {"name": "{name} b"}}
    return {"link_set": "s", "unique_key": ["sku"], "links": links, **more}


def request(**more: Any) -> PlanRequest:
    """Return what is planned."""
    return PlanRequest(catalog="catalog", **({"mapping": mapping()} | more))


def apply(plan: Plan, settings: Settings, output: str = OUTPUT) -> RunResult:
    """Carry a plan out, and close it."""
    with plan:
        return run_blocking(lambda stop: apply_plan(plan, settings, output, stop=stop))


def night(settings: Settings, **more: Any) -> RunResult:
    """Plan what changed, and carry it out."""
    return apply(plan_catalog(request(**more), settings, output=OUTPUT), settings)


def settle(settings: Settings, **more: Any) -> None:
    """Let nights pass until what was made is known to be so."""
    for _ in range(2):
        night(settings, **more)
    with plan_catalog(request(**more), settings, output=OUTPUT) as plan:
        assert plan.is_part


def published(place: str) -> list[dict[str, Any]]:
    """Return a table's rows, but for their places in the catalog."""
    rows: Rows = ds.dataset(place, partitioning=None).to_table().to_pylist()
    rows = [{name: row[name] for name in row if name != "catalog_row"} for row in rows]
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def changed(chance: random.Random, rows: Rows) -> Rows:
    """Return the rows of another night."""
    now = [dict(row) for row in rows]
    for _ in range(chance.choice([0, 1, 4])):
        row = chance.choice(now)
        what = chance.choice(["name", "item", "gone", "twin", "new", "rekeyed", "unzeroed", "bad"])
        if what in ("name", "item"):
            row[what] = str(chance.choice([500_001, 500_002, "N/A"]))
        elif what == "gone":
            now.remove(row)
        elif what == "twin":
            now.insert(chance.randint(0, len(now)), dict(row))
        elif what == "new":
            now.append(products(1, chance.randint(100, 999))[0])
        elif what == "rekeyed":
            row["sku"] = f"{chance.randint(0, 99_999):05d}"
        elif what == "unzeroed":
            row["sku"] = (row["sku"] or "").lstrip("0") or None
        else:
            row["item"] = None
    return now or products(1)


def _parts_of_nights(settings: Settings, seed: int) -> int:
    """Let some nights pass, compare each with all rows, and return how many planned a part."""
    chance = random.Random(seed)
    files = {"a": products(9), "b": products(9, 20)}
    more = {"rekeyed": chance.choice(list(Rekeyed)), "allow_empty": True}
    more["mapping"] = mapping(where="name <> '500002'") if chance.random() < 0.3 else mapping()
    for name, rows in files.items():
        write(rows, name)
    settle(settings, **more)
    parts = 0
    for _ in range(4):
        for name in list(files):
            if chance.random() < 0.6:
                files[name] = changed(chance, files[name])
                write(files[name], name)
        with plan_catalog(request(**more), settings) as whole:
            figures = whole.figures
        part = plan_catalog(request(**more), settings, output=OUTPUT)
        parts += part.is_part
        assert part.figures == figures
        guarded = bool(figures.refusals)
        if guarded:
            part.close()
            continue
        apply(part, settings)
        # Once more: what was made is then known to be so, here and in a file of its own.
        again = plan_catalog(request(**more), settings, output=OUTPUT)
        with plan_catalog(request(**more), settings) as whole:
            assert again.figures == whole.figures
        apply(again, settings)
        apply(plan_catalog(request(**more), settings), settings, "links.parquet")
        assert published(OUTPUT) == published("links.parquet")
        assert published("links/_missing/") == published("links.missing.parquet")
    return parts


@pytest.mark.parametrize("seed", [1, 2])
def test_part_of_a_night_is_all_of_it(settings: Settings, seed: int) -> None:
    """Rows changed, gone, back, doubled, re-keyed, refused: plan and tables are those of all."""
    assert _parts_of_nights(settings, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 13))
def test_part_of_many_nights_is_all_of_them(settings: Settings, seed: int) -> None:
    """The same, in more nights."""
    assert _parts_of_nights(settings, seed)


def test_quiet_night_reads_and_writes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    """No row of a file that is as it was, and no file of the dataset."""
    write(products(9))
    settle(settings)
    before = {path: path.stat().st_mtime_ns for path in Path(OUTPUT).rglob("*")}
    monkeypatch.setattr("incarts_pipeline.catalog.Catalog.batches_of", None)
    result = night(settings)
    assert result.figures.rows == 18
    assert {path: path.stat().st_mtime_ns for path in Path(OUTPUT).rglob("*")} == before
    assert box.audit().links == 18


def test_file_that_only_looks_as_it_was_is_read(settings: Settings, box: Sandbox) -> None:
    """Written in place with as many bytes, and dated back: as some tools leave what they copy."""
    write(products(9))
    settle(settings)
    file = Path("catalog/a.parquet")
    before = file.stat()
    write([row | {"item": "6" + row["item"][1:]} for row in products(9)])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    with plan_catalog(request(), settings, output=OUTPUT) as plan:
        assert plan.figures.calls == 18


def test_exact_looks_at_every_row(settings: Settings) -> None:
    """Whatever is known of the last night."""
    write(products(9))
    settle(settings)
    with plan_catalog(request(), settings, output=OUTPUT, exact=True) as plan:
        assert not plan.is_part
        assert plan.seen is not None


def test_part_is_for_its_own_output(settings: Settings) -> None:
    """Elsewhere the other rows would be lacking."""
    write(products(9))
    settle(settings)
    with (
        plan_catalog(request(), settings, output=OUTPUT) as plan,
        pytest.raises(RefusedError, match="what changed since links/ was published"),
    ):
        run_blocking(lambda stop: apply_plan(plan, settings, "others/", stop=stop))


def _touch_ledger(settings: Settings) -> None:
    with once(settings.ledger) as connection:
        connection.execute(sa.update(tables.row).values(changed_at=tables.row.c.changed_at))


def _edit(name: str) -> Callable[[Settings], None]:
    def edit(_: Settings) -> None:
        file = min(Path(OUTPUT).glob(name))
        file.write_bytes(file.read_bytes()[:-1] + b"\0")

    return edit


def _other_type(_: Settings) -> None:
    rows = products(9)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    pq.write_table(pa.table(columns | {"item": range(500_000, 500_009)}), "catalog/a.parquet")


ASKED: dict[str, dict[str, Any]] = {
    "mapping": {"mapping": mapping(on_too_long="truncate")},
    "policy": {"mapping": mapping(on_change={"label": "replace"})},
    "accepted": {"accept": ("lost_zeros",)},
    "link set": {"mapping": mapping(link_set="t")},
    "rekeyed": {"rekeyed": Rekeyed.MOVE},
    "retried": {"retry_rejected": True},
    "refused over": {"refuse_over": 100_000},
    "empty allowed": {"allow_empty": True},
}
SET: dict[str, dict[str, Any]] = {
    "limits": {"limits": Limits(max_url_characters=1_999)},
    "project": {"project_id": "other"},
    "API key": {"api_key": SecretStr("ic_another_key")},
}
VERSIONS = ("_FORMAT", "_VERSION", "RECIPE", "duckdb.__version__", "pa.__version__")
CHANGES: dict[str, Callable[[Settings], None]] = {
    "ledger touched": _touch_ledger,
    "rows edited": _edit("bucket-0000.parquet"),
    "snapshot edited": _edit("_state/bucket-0000*"),
    "missing edited": _edit("_missing/missing.parquet"),
    "manifest edited": _edit("_manifest.json"),
    "another column type": _other_type,
}


def _plans_a_part(settings: Settings, **asked: Any) -> bool:
    with plan_catalog(request(**asked), settings, output=OUTPUT) as plan:
        return plan.is_part


def test_all_is_planned_when_anything_else_is_asked(settings: Settings) -> None:
    """Or set, or when the program, its recipe, or what makes texts of numbers is another one."""
    write(products(9))
    settle(settings)
    for what, asked in ASKED.items():
        assert not _plans_a_part(settings, **asked), what
    for what, own in SET.items():
        assert not _plans_a_part(settings.model_copy(update=own)), what
    for name in VERSIONS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"incarts_pipeline.engine.stamp.{name}", "another")
            assert not _plans_a_part(settings), name
    assert _plans_a_part(settings), "a plan changes nothing"


@pytest.mark.parametrize("what", CHANGES)
def test_all_is_planned_when_anything_else_was_changed(settings: Settings, what: str) -> None:
    """What was seen says nothing then; without the change it would."""
    write(products(9))
    settle(settings)
    CHANGES[what](settings)
    assert not _plans_a_part(settings)


def test_all_is_planned_with_another_ledger(settings: Settings, box: Sandbox) -> None:
    """One that has been copied, and given an identity of its own."""
    write(products(9))
    settle(settings)
    with once(settings.ledger) as connection:
        connection.execute(
            sa.update(tables.meta).where(tables.meta.c.name == "ledger_id").values(value="other")
        )
    with plan_catalog(request(), settings, output=OUTPUT) as plan:
        assert not plan.is_part


def test_mapping_that_counts_first_rows_is_planned_whole(settings: Settings) -> None:
    """What is the first of a key is known only when all rows were read."""
    write(products(9))
    link = load_mapping(mapping(first_of_key=True))
    for _ in range(3):
        with plan_catalog(request(mapping=link), settings, output=OUTPUT) as plan:
            assert not plan.is_part
            assert plan.seen is None
