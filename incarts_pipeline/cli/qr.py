"""Command `incarts qr`: further QR codes of links that exist."""

from __future__ import annotations

from typing import Annotated

import typer

from incarts_pipeline.cli.options import (
    DelimiterOpt,
    EncodingOpt,
    EscapeOpt,
    FailOnOpt,
    FormatOpt,
    JsonOpt,
    LedgerOpt,
    MaxDurationOpt,
    MaxInFlightOpt,
    PaceOpt,
    QueryOpt,
    QuoteOpt,
    RateOpt,
    RecordsOpt,
    RetryOpt,
    SheetOpt,
    TargetOpt,
    WaitOpt,
    seconds_of,
    settings_for,
    statuses,
)
from incarts_pipeline.write import IfRunning, WriteOptions

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
    quote: QuoteOpt = None,
    escape: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Say what would happen; send nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask, as without a terminal.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "--budget", min=0, help="Make at most so many codes.")
    ] = None,
    max_duration: MaxDurationOpt = None,
    max_rps: RateOpt = None,
    rate: PaceOpt = None,
    wait: WaitOpt = False,
    max_in_flight: MaxInFlightOpt = None,
    retry_rejected: RetryOpt = False,
    fail_on: FailOnOpt = "in_doubt",
    if_running: Annotated[
        IfRunning,
        typer.Option("--if-running", help="What to do about codes another run is sending."),
    ] = IfRunning.WAIT,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make further QR codes of links, each once, and write qr_codes.parquet."""
    from incarts_pipeline.cli import running, show
    from incarts_pipeline.plan import QrRequest, refuse
    from incarts_pipeline.qr_codes import apply_qr_codes, plan_qr_codes

    settings = settings_for(ledger, target, max_rps, rate, wait=wait)
    request = QrRequest(
        source=table,
        identifiers=tuple(identifier or ()),
        name=name,
        link_set=link_set,
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        sheet=sheet,
        records=records,
        query=query,
        retry_rejected=retry_rejected,
    )
    options = WriteOptions(
        limit=limit,
        max_duration=seconds_of(max_duration),
        if_running=if_running,
        max_in_flight=max_in_flight,
    )
    failing = statuses(fail_on)
    if not plan_only:
        settings.for_calls()
    with plan_qr_codes(request, settings) as made:
        plan = made.within(limit, options.max_duration)
        if plan_only:
            show.tell_plan(plan, _WHAT, as_json=as_json)
            raise typer.Exit(1 if plan.figures.refusals else 0)
        refuse(plan.figures, None)
        running.ask(plan, _WHAT, yes=yes, quiet=as_json, piped=table == "-")
        result = running.run(
            lambda metrics, stop: apply_qr_codes(
                plan, settings, output, options=options, metrics=metrics, stop=stop
            ),
            f"{_WHAT}s",
        )
    show.tell_result(result, failing, _WHAT, as_json=as_json)
    raise typer.Exit(result.exit_code(failing))
