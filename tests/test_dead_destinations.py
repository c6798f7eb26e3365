"""Dead destinations: what `incarts check` found dead gets no link while a mapping says so."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from incarts_pipeline import plan_links
from incarts_pipeline.errors import MappingError, RefusedError
from incarts_pipeline.maintenance import check_destinations
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.pipeline import plan_catalog, plan_saved
from incarts_pipeline.plan import PlanRequest, load_plan, save_plan
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.schemas import DESTINATIONS
from incarts_pipeline.settings import Settings, load_settings
from tests.support.runs import Run

CATALOG = pa.table(
    {
        "sku": ["1", "2", "3", "4"],
        "url": [f"https://shop.example/{name}" for name in ("ok", "gone", "odd", "nohost")],
    }
)
LINK = {
    "name": {"column": "sku"},
    "retailer": "shop",
    "intent": "custom_url",
    "custom_url": {"column": "url"},
}
MAPPING = {"link_set": "test", "unique_key": "sku", "link": LINK, "hold_dead": "checked.parquet"}


def planning() -> Settings:
    return load_settings(project_id="p")


def checked(path: str | Path = "checked.parquet", **verdicts: str) -> None:
    """Write what a check found of some pages of the shop."""
    day = dt.datetime(2026, 5, 1, 8, 30, tzinfo=dt.UTC)
    rows = [
        {
            "url": f"https://shop.example/{name}",
            "verdict": verdict,
            "http_status": None if name == "nohost" else 404,
            "reason": "no address" if name == "nohost" else None,
            "redirects": [],
            "fields": ["customUrl"],
            "links": 1,
            "catalog_row": 0,
            "checked_at": day,
        }
        for name, verdict in verdicts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DESTINATIONS), path)


def stood() -> list[tuple[object, object]]:
    """Return the statuses and reasons of links.parquet."""
    return [(row["status"], row["reason"]) for row in pq.read_table("links.parquet").to_pylist()]


def digest(mapping: object) -> str:
    with plan_catalog(PlanRequest(catalog=CATALOG, mapping=mapping), planning()) as plan:  # type: ignore[arg-type]
        return plan.figures.digest or ""


def test_rows_with_a_dead_url_are_held(run: Run, box: Sandbox) -> None:
    """Only dead ones; the message has the answer and the time, and a corrected page is sent."""
    checked(ok="ok", gone="dead", odd="unclear", nohost="dead")
    run(CATALOG, mapping=MAPPING)
    held, made = ("held", "dead_destination"), ("created", "new")
    assert stood() == [made, held, made, held]
    problems = [row["problems"] for row in pq.read_table("links.parquet").to_pylist()]
    assert [len(one) for one in problems] == [0, 1, 0, 1]
    assert (problems[1][0]["severity"], problems[1][0]["field"]) == ("suspicion", "custom_url")
    said = "led nowhere when it was checked at 2026-05-01 08:30 UTC"
    assert f'"https://shop.example/gone" {said}: status 404;' in problems[1][0]["message"]
    assert f"{said}: no address;" in problems[3][0]["message"]
    checked(ok="dead", gone="ok", nohost="dead")
    run(CATALOG, mapping=MAPPING)
    assert stood() == [("unchanged", "same"), made, ("unchanged", "same"), held]
    assert box.audit().links == 3


@pytest.mark.parametrize("fallback", ["https://shop.example/gone", {"column": "url"}])
def test_fallback_urls_count_too(fallback: object) -> None:
    """Also one that is the same in all rows."""
    checked(gone="dead")
    link = LINK | {"custom_url": "https://shop.example/a/{sku}", "fallback_url": fallback}
    with plan_links(CATALOG, mapping=MAPPING | {"link": link}, settings=planning()) as plan:
        held = {count.reason: count.rows for count in plan.plan.figures.counts}
    assert held.get("dead_destination") == (4 if isinstance(fallback, str) else 1)


def test_what_is_accepted_is_sent(run: Run) -> None:
    """By the mapping, or for one run."""
    checked(gone="dead", nohost="dead")
    run(CATALOG, mapping=MAPPING | {"accept": ["dead_destination"]})
    assert stood() == [("created", "new")] * 4


def test_the_path_begins_at_the_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs; for a mapping in Python at the working directory."""
    (tmp_path / "maps").mkdir()
    file = tmp_path / "maps" / "mapping.yaml"
    file.write_text(yaml.safe_dump(MAPPING))
    assert load_mapping(file).hold_dead == str(tmp_path / "maps" / "checked.parquet")
    monkeypatch.chdir(tmp_path)
    assert load_mapping(Path("maps/mapping.yaml")).hold_dead == load_mapping(file).hold_dead
    assert load_mapping(MAPPING).hold_dead == str(tmp_path / "checked.parquet")
    uri = MAPPING | {"hold_dead": "s3://bucket/checked.parquet"}
    assert load_mapping(uri).hold_dead == "s3://bucket/checked.parquet"
    with pytest.raises(MappingError, match="hold_dead"):
        load_mapping(MAPPING | {"hold_dead": ""})


def test_the_digest_knows_what_is_dead() -> None:
    """Not where the table is, nor in what order or when it was checked."""
    checked("a.parquet", gone="dead", nohost="dead", odd="unclear")
    checked("b.parquet", nohost="dead", gone="dead")
    checked("c.parquet", nohost="dead", elsewhere="dead")
    found = [digest(MAPPING | {"hold_dead": f"{name}.parquet"}) for name in "abc"]
    assert found[0] == found[1] != found[2]


def test_a_plan_file_knows_what_was_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the table from any folder, and is refused once another page is dead."""
    pq.write_table(CATALOG, "catalog.parquet")
    checked(gone="dead")
    request = PlanRequest(catalog="catalog.parquet", mapping=MAPPING)
    saved = Path("night.incarts").absolute()
    with plan_catalog(request, planning()) as plan:
        save_plan(plan, request, planning(), saved)
    table = Path("checked.parquet").absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan_saved(load_plan(saved), planning()).close()
    checked(table, gone="dead", elsewhere="dead")
    with pytest.raises(RefusedError, match="has moved"):
        plan_saved(load_plan(saved), planning())


@pytest.mark.parametrize("table", [None, pa.table({"url": ["a"], "verdict": ["dead"]}), b"PAR1no"])
def test_another_table_is_refused(table: pa.Table | bytes | None) -> None:
    """One that isn't there, isn't a check's or is broken: nobody would know what is dead."""
    if isinstance(table, bytes):
        Path("checked.parquet").write_bytes(table)
    elif table is not None:
        pq.write_table(table, "checked.parquet")
    with pytest.raises(MappingError, match=r"^hold_dead: .*checked\.parquet.*incarts check"):
        digest(MAPPING)


def test_no_run_writes_over_it(run: Run) -> None:
    """It is an input, also for a plan file."""
    checked(gone="dead")
    with pytest.raises(RefusedError, match="that is the table of dead destinations") as refused:
        run(CATALOG, mapping=MAPPING, output="checked.parquet")
    assert refused.value.guard == "output_is_input"
    Path("night.incarts").symlink_to("checked.parquet")
    request = PlanRequest(catalog=CATALOG, mapping=MAPPING)
    with plan_catalog(request, planning()) as plan, pytest.raises(RefusedError):
        save_plan(plan, request, planning(), "night.incarts")
    assert pq.read_table("checked.parquet").num_rows == 1


def test_a_check_writes_its_table_anew() -> None:
    """The first one has none to read yet, and the next one asks for the dead ones again."""
    found: dict[str, Any] = {}
    private = pa.table({"sku": ["1"], "url": ["http://127.0.0.1:9/p"]})
    request = PlanRequest(catalog=private, mapping=MAPPING)
    for _ in range(2):
        check_destinations(request, planning(), output="checked.parquet")
        [found] = pq.read_table("checked.parquet").to_pylist()
    assert found["verdict"] == "private"
    age = dt.datetime.now(dt.UTC) - found["checked_at"]
    assert dt.timedelta(0) <= age < dt.timedelta(hours=1)


def test_a_check_writes_over_no_other_table() -> None:
    """Not even over a table that is none of ours."""
    pq.write_table(CATALOG, "products.parquet")
    request = PlanRequest(catalog=CATALOG, mapping=MAPPING)
    with pytest.raises(RefusedError, match="holds something else, not destinations"):
        check_destinations(request, planning(), output="products.parquet")
