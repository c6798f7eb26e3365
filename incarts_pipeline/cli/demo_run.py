"""Run of `incarts demo`: what it makes, does twice, and says."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from pathlib import Path

import segno  # noqa: F401 - for the sheet at the end; whoever lacks it knows before

from incarts_pipeline.cli import running, screen, show
from incarts_pipeline.display import qr_sheet
from incarts_pipeline.display.reporting import apply_and_report
from incarts_pipeline.errors import PublishError
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.ledger import LedgerReader
from incarts_pipeline.pipeline import RunResult, plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.write import WriteOptions

FILES = ("catalog.csv", "mapping.yaml")
SHEET = "codes.html"
_CODES = 12  # on the sheet: a page that one looks at


def run_demo(folder: Path, *, browser: bool) -> None:
    """Make the links of a sample catalog in a new folder, and say what was made.

    Raises:
        PublishError: the folder is there already.
    """
    _make(folder)
    with Sandbox() as box, tempfile.TemporaryDirectory() as hidden:
        # The ledger of a server that is about to be gone is of no use to anybody.
        settings = _settings(box, Path(hidden) / "ledger.db")
        _first_night(folder, settings)
        _sheet(folder, settings)
        _second_night(folder, settings)
        made, twice = box.audit().links, box.audit().duplicates
    _say(f"The local Incarts counted {made} links, {twice} made twice; it is gone now.")
    _tell_files(folder)
    if browser and sys.stdout.isatty():
        webbrowser.open((folder / SHEET).absolute().as_uri())


def _make(folder: Path) -> None:
    """Make the demo's folder with its catalog and mapping; never over what somebody has."""
    if folder.exists():
        raise PublishError(
            f"{folder} exists already.",
            fix="Name another folder: `incarts demo demo-2`. The demo writes over nothing.",
        )
    folder.mkdir(parents=True)
    for name in FILES:
        write_file(folder / name, (Path(__file__).with_name("demo_files") / name).read_bytes())


def _settings(box: Sandbox, ledger: Path) -> Settings:
    """Return the settings of the local Incarts, and of nothing else.

    Somebody's own variables and files are for an Incarts where links are real.
    """
    for name in [name for name in os.environ if name.startswith("INCARTS_")]:
        del os.environ[name]
    os.environ.update(
        INCARTS_API_BASE_URL=box.base_url,
        INCARTS_API_KEY=box.api_key,
        INCARTS_PROJECT_ID=box.project_id,
        INCARTS_LEDGER=str(ledger),
        # A limit that is learned is remembered in the person's own folder, for later runs.
        INCARTS_RATE="fixed:50",
    )
    return Settings()


def _first_night(folder: Path, settings: Settings) -> None:
    _say("1. The plan. Nothing is sent yet; some rows are wrong on purpose.")
    show.tell_result(_night(folder, settings), (), as_json=False)


def _second_night(folder: Path, settings: Settings) -> None:
    _say("2. The next night, with nothing changed: nothing is sent.")
    result = _night(folder, settings, quiet=True)
    screen.say(f"{result.written.requests} requests")


def _night(folder: Path, settings: Settings, *, quiet: bool = False) -> RunResult:
    catalog, mapping = (folder / name for name in FILES)
    output, report = folder / "links.parquet", folder / "report.html"
    request = PlanRequest(catalog=catalog, mapping=mapping)
    with plan_catalog(request, settings) as plan:
        if not quiet:
            show.plan_tables(plan)
        return running.run(
            lambda metrics, stop: apply_and_report(
                plan,
                settings,
                output,
                report=None if quiet else report,
                options=WriteOptions(),
                metrics=metrics,
                stop=stop,
            )
        )


def _sheet(folder: Path, settings: Settings) -> None:
    """Write a page with the first codes."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "links.parquet")
    linked = table.filter(pc.is_valid(table["link_id"])).slice(0, _CODES)
    labels = LedgerReader(settings.ledger).labels(linked["link_id"].to_pylist())
    write_file(folder / SHEET, qr_sheet(linked, labels, title="The demo's first links"))


def _tell_files(folder: Path) -> None:
    _say(f"Left behind, all of it in {folder}:")
    says = {
        "catalog.csv": "24 invented products, three of them wrong on purpose",
        "mapping.yaml": "which column fills which field",
        "links.parquet": "one row per product: its link, or why it has none",
        "links.missing.parquet": "links whose row left the catalog",
        "links.history.parquet": "all that was sent",
        "report.html": "a picture of the run",
        SHEET: "their QR codes; the links behind them went with the local Incarts",
    }
    for file in sorted(folder.iterdir()):
        screen.say(f"  {file.name:24}{says.get(file.name, '')}")
    screen.say("With a table of your own: `incarts init products.csv`.")


def _say(text: str) -> None:
    screen.say("")
    screen.say((text, "bold"))
