"""`incarts qr`: further QR codes of links that exist."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from incarts_pipeline.cli import asking, show
from incarts_pipeline.cli.flow import (
    DelimiterOpt,
    EncodingOpt,
    FormatOpt,
    JsonOpt,
    LedgerOpt,
    RateOpt,
    RetryOpt,
    TargetOpt,
    settings_for,
    statuses,
)
from incarts_pipeline.display.progress import progress
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import QrRequest, RunResult, apply_qr_codes, plan_qr_codes
from incarts_pipeline.plan import CodePlan, refuse
from incarts_pipeline.settings import Settings, parse_duration
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.text import counted
from incarts_pipeline.write import IfRunning, RunMetrics, WriteOptions

_WHAT = "QR code"


def qr(
    table: Annotated[
        str,
        typer.Argument(
            help="A published links.parquet, or a table with the key's columns and `identifier`."
        ),
    ],
    identifier: Annotated[
        list[str] | None,
        typer.Option("--identifier", help="A code for each link under this name; repeatable."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Template of the codes' names, like '{sku} {identifier}'."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where the table of codes goes.")
    ] = "qr_codes.parquet",
    link_set: Annotated[
        str | None, typer.Option("--link-set", help="The set that the table's rows belong to.")
    ] = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Say what would happen; send nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask, as without a terminal.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Make at most so many codes.")
    ] = None,
    max_duration: Annotated[
        str | None, typer.Option("--max-duration", help="Stop after this time, like 2h or 90s.")
    ] = None,
    max_rps: RateOpt = None,
    rate: Annotated[
        str | None,
        typer.Option("--rate", help="adaptive (learns the limit), or fixed:N a second."),
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option("--max-in-flight", min=1, help="Requests under way at once.")
    ] = None,
    retry_rejected: RetryOpt = False,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Statuses that make the exit code 3, or none.")
    ] = "in_doubt",
    if_running: Annotated[
        IfRunning,
        typer.Option("--if-running", help="What to do about codes another run is sending."),
    ] = IfRunning.WAIT,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make further QR codes of links, each once, and write qr_codes.parquet."""
    settings = settings_for(ledger, target, max_rps, rate)
    request = QrRequest(
        source=table,
        identifiers=tuple(identifier or ()),
        name=name,
        link_set=link_set,
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        retry_rejected=retry_rejected,
    )
    options = WriteOptions(
        limit=limit,
        max_duration=parse_duration(max_duration) if max_duration else None,
        if_running=if_running,
        max_in_flight=max_in_flight,
    )
    failing = statuses(fail_on)
    if not plan_only:
        settings.for_calls()
    with plan_qr_codes(request, settings) as plan:
        if plan_only:
            _show_plan(plan, as_json=as_json)
            raise typer.Exit(1 if plan.figures.refusals else 0)
        refuse(plan.figures, None)
        _ask(plan, yes=yes, quiet=as_json, piped=table == "-")
        result = _carry_out(plan, settings, output, options)
    if as_json:
        typer.echo(json.dumps(_result_object(result, failing)))
    else:
        show.result_table(Console(stderr=True), result, _WHAT)
    raise typer.Exit(result.exit_code(failing))


def _show_plan(plan: CodePlan, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(show.plan_object(plan)))
    else:
        show.plan_tables(Console(), plan, _WHAT)


def _ask(plan: CodePlan, *, yes: bool, quiet: bool, piped: bool) -> None:
    """Show the plan; in a terminal, ask whether to go on."""
    console = Console(stderr=True)
    if not quiet:
        show.plan_tables(console, plan, _WHAT)
    terminal = sys.stdin.isatty() and not piped
    if yes or not terminal or not (plan.figures.calls or plan.figures.doubts):
        return
    asking.confirm(f"Make {counted(plan.figures.calls, _WHAT)}?", otherwise="Nothing was sent.")


def _carry_out(plan: CodePlan, settings: Settings, output: str, options: WriteOptions) -> RunResult:
    metrics = RunMetrics()
    with progress(metrics, f"{_WHAT}s"):
        return run_blocking(
            lambda stop: apply_qr_codes(
                plan, settings, output, options=options, metrics=metrics, stop=stop
            )
        )


def _result_object(result: RunResult, fail_on: Sequence[Status]) -> dict[str, object]:
    found = show.result_object(result, fail_on)
    return {"qr_codes": found.pop("links"), **found}
