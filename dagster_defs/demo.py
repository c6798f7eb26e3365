"""The whole pipeline on the sample catalog, against a local Incarts: `make demo`."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from dagster_defs.definitions import defs
from dagster_defs.defs.catalog import SAMPLE
from incarts_pipeline.cli.show import plan_tables
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan.request import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import load_settings

FOLDER = Path("demo")
MAPPING = SAMPLE.with_name("mapping.yaml")
CONSOLE = Console(width=110)


def main() -> None:
    """Run the demo in the folder `demo`, made anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    export = FOLDER / "export.csv"
    shutil.copy(SAMPLE, export)
    with Sandbox() as box, _environment(box), dg.DagsterInstance.ephemeral() as instance:
        _say(f"1. A local Incarts runs at {box.base_url}. This is the plan:")
        _show_plan(export)
        _say("2. Dagster runs the job incarts_nightly: incarts/catalog, then incarts/links:")
        _nightly(instance, export)
        _say("3. The next night, with nothing changed. Nothing is sent:")
        _nightly(instance, export)
        changed = _change_three(export)
        _say(f"4. Three rows change their destination ({', '.join(changed)}):")
        _show_plan(export)
        _nightly(instance, export)
        audit = box.audit()
        _say(
            f"5. The sandbox counts {audit.links} links and {audit.duplicates} duplicates. "
            f"{FOLDER / 'links.parquet'} begins:"
        )
        _show_links(FOLDER / "links.parquet")
    _say("Next: `make ui` shows the same in Dagster; docs/guide.md begins with a table of yours.")


def _say(text: str) -> None:
    CONSOLE.print(f"\n[bold]{text}[/]", highlight=False)


@contextmanager
def _environment(box: Sandbox) -> Iterator[None]:
    """Point the settings at the sandbox, as you would at the real Incarts."""
    os.environ.update(
        INCARTS_API_BASE_URL=box.base_url,
        INCARTS_API_KEY=box.api_key,
        INCARTS_PROJECT_ID=box.project_id,
        INCARTS_LEDGER=str(FOLDER / "incarts-ledger.db"),
    )
    yield


def _show_plan(catalog: Path) -> None:
    request = PlanRequest(catalog=catalog, mapping=MAPPING)
    with plan_catalog(request, load_settings()) as plan:
        plan_tables(plan)


def _nightly(instance: dg.DagsterInstance, export: Path) -> None:
    job = defs().resolve_job_def("incarts_nightly")
    result = job.execute_in_process(
        instance=instance,
        run_config={
            "ops": {"incarts__catalog": {"config": {"export": str(export)}}},
            "loggers": {"console": {"config": {"log_level": "WARNING"}}},
        },
    )
    [event] = result.asset_materializations_for_node("incarts__links")
    facts = {
        name.removeprefix("incarts/"): value.value
        for name, value in event.metadata.items()
        if name.startswith("incarts/") and value.value
    }
    CONSOLE.print("   ".join(f"{name}: {value}" for name, value in facts.items()))
    for check in result.get_asset_check_evaluations():
        mark = "[green]passed[/]" if check.passed else f"[yellow]{check.severity.value.lower()}[/]"
        CONSOLE.print(f"check {check.check_name}: {mark} {check.description or ''}")


def _change_three(catalog: Path) -> list[str]:
    """Double the quantity of three Walmart rows, as an editor would."""
    with catalog.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names, rows = reader.fieldnames or [], list(reader)
    good = [
        r for r in rows if r["intent"] == "add_to_cart" and r["qty"] == "1" and not r["printed"]
    ]
    for row in good[:3]:
        row["qty"] = "2"
    with catalog.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return [row["sku"] for row in good[:3]]


def _show_links(path: Path) -> None:
    table = Table()
    columns = ("sku", "status", "reason", "link_id", "short_link", "target_url")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in pq.read_table(path, columns=list(columns)).slice(0, 8).to_pylist():
        table.add_row(*(str(row[name] or "") for name in columns))
    CONSOLE.print(table)


if __name__ == "__main__":
    main()
