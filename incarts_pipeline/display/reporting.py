"""Reports of runs: a page that a run leaves behind, however it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from incarts_pipeline.display.html.failures import COLUMNS, FAILED
from incarts_pipeline.display.html.plan_page import plan_page
from incarts_pipeline.display.html.report import Reported, run_report
from incarts_pipeline.errors import LedgerError, PublishError
from incarts_pipeline.file_writer import check_writable, write_file
from incarts_pipeline.ledger import LedgerReader, Night
from incarts_pipeline.outgoing import logger_of
from incarts_pipeline.pipeline import RunResult, apply_plan
from incarts_pipeline.plan import NamedPath, Plan, check_apart, paths_read
from incarts_pipeline.publish import Output, check_place, read_published
from incarts_pipeline.settings import Settings
from incarts_pipeline.sync import Stop
from incarts_pipeline.write import RunMetrics, WriteOptions

logger = logger_of(__name__)


async def apply_and_report(
    plan: Plan,
    settings: Settings,
    output: str | Path,
    *,
    report: str | Path | None,
    options: WriteOptions,
    metrics: RunMetrics,
    stop: Stop,
) -> RunResult:
    """Do what `apply_plan` does, and write a report when it is over, also when it fails.

    Raises:
        PublishError: the report can't go there; nothing was sent.
        RefusedError: it would go to a file that the run reads, or another that it writes.
        IncartsError: as `apply_plan` raises; the report tells it.
    """
    plan = plan.within(options.limit, options.max_duration)
    if report is None:
        return await apply_plan(plan, settings, output, options=options, metrics=metrics, stop=stop)
    report = Path(report)
    _check_report(report)
    tables = Output(links=str(output)).paths_of(plan.kind)
    check_apart([*tables, page_path("report", report)], (*plan.read, *paths_read(settings)))
    figures, sets = plan.figures, plan.options.link_sets
    result: RunResult | None = None
    said: str | None = "It was broken off."
    try:
        result = await apply_plan(
            plan, settings, output, options=options, metrics=metrics, stop=stop
        )
        said = None
    except Exception as error:
        said = str(error)
        raise
    finally:
        made = Reported(
            link_sets=sets,
            figures=figures,
            metrics=metrics,
            at=dt.datetime.now(dt.UTC),
            result=result,
            error=said,
            approved=options.approved,
        )
        await asyncio.to_thread(_leave, report, made)
    return result


def write_plan_page(plan: Plan, path: str | Path) -> Path:
    """Write a plan as one page for whoever approves it, and return its path.

    Raises:
        PublishError: it can't be written there.
        RefusedError: there is a file that the plan was made from, or that is no page.
    """
    check_apart([page_path("plan page", path)], plan.read)
    return write_file(Path(path), plan_page(plan, dt.datetime.now(dt.UTC)))


def check_places(output: str | Path | None, report: str | Path | None) -> None:
    """Refuse places that can't be written, before anything is planned or asked; None is no place.

    Raises:
        PublishError: one can't; says which.
    """
    if output is not None:
        check_place(str(output), or_folder=True)
    if report is not None:
        _check_report(Path(report))


def page_path(what: str, path: str | Path) -> NamedPath:
    """Return the place of an HTML page."""
    return NamedPath(what=what, path=str(path), begins=b"<!doctype html>")


def report_of(result: RunResult, metrics: RunMetrics, rows: pa.Table) -> str:
    """Return the report of a run that came to its end, with the rows of its links.parquet."""
    figures = result.figures
    sets = [count.link_set for count in figures.counts] + list(figures.missing)
    names = tuple(dict.fromkeys(sets))
    return run_report(
        Reported(
            link_sets=names,
            figures=figures,
            metrics=metrics,
            at=dt.datetime.now(dt.UTC),
            result=result,
            failed=rows,
            approved=result.approved,
            nights=_nights(result, names),
        )
    )


def failed_rows(output: str) -> pa.Table:
    """Read the rows without what they asked for from a links.parquet, at a path or a URI."""
    return read_published(output, COLUMNS, [("status", "in", [status.value for status in FAILED])])


def _leave(path: Path, made: Reported) -> None:
    """Write the report; what was done stands whether or not that works."""
    try:
        if made.result:
            failed = failed_rows(made.result.published.output.links)
            nights = _nights(made.result, made.link_sets)
            made = dataclasses.replace(made, failed=failed, nights=nights)
        write_file(path, run_report(made))
    except (PublishError, LedgerError, OSError, pa.ArrowException) as error:
        logger.error("The run is over, but its report can't be written: %s", error)


def _nights(result: RunResult, link_sets: Sequence[str]) -> list[Night]:
    return LedgerReader(result.ledger).nights(link_sets) if result.ledger else []


def _check_report(path: Path) -> None:
    """Refuse a place that can't be written before anything is sent."""
    if path.is_dir():
        raise PublishError(f"{path} is a folder.", fix="Give the report a file name.")
    check_writable(path)
