"""Commands of the flow: `incarts plan` and `incarts apply`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.options import (
    AcceptOpt,
    AllowEmptyOpt,
    CatalogArg,
    DelimiterOpt,
    EncodingOpt,
    EscapeOpt,
    FailOnOpt,
    FormatOpt,
    JsonOpt,
    LedgerOpt,
    LinkSetOpt,
    MappingOpt,
    MaxDurationOpt,
    MaxInFlightOpt,
    PaceOpt,
    QueryOpt,
    QuoteOpt,
    RateOpt,
    RecordsOpt,
    RefuseOverOpt,
    RekeyedOpt,
    RetryOpt,
    SheetOpt,
    TargetOpt,
    UniqueKeyOpt,
    WaitOpt,
    seconds_of,
    settings_for,
    statuses,
)
from incarts_pipeline.errors import MappingError
from incarts_pipeline.models import Rekeyed
from incarts_pipeline.write import SAMPLE_PER, IfRunning, WriteOptions

if TYPE_CHECKING:
    from incarts_pipeline.plan import Plan, PlanFigures, PlanRequest, SavedPlan
    from incarts_pipeline.settings import Settings

OutputOpt = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        help="Where links.parquet goes, or links/ for many files, or delta://links.",
    ),
]
LimitOpt = Annotated[
    int | None,
    typer.Option("--limit", "--budget", min=0, help="Make at most so many links, by priority."),
]
EnqueueOpt = Annotated[
    bool,
    typer.Option("--enqueue", help="Only record what is to be made, for `incarts work`."),
]
YesOpt = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask, as without a terminal; guards still stand.")
]
ExactOpt = Annotated[
    bool, typer.Option("--exact", help="Plan every row, also of a folder's that are as they were.")
]
ApproveOpt = Annotated[
    str | None, typer.Option("--approve", help="Let exactly the plan with this digest through.")
]


def plan(
    catalog: CatalogArg,
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    quote: QuoteOpt = None,
    escape: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    retry_rejected: RetryOpt = False,
    refuse_over: RefuseOverOpt = None,
    allow_empty: AllowEmptyOpt = False,
    rekeyed: RekeyedOpt = Rekeyed.HOLD,
    accept: AcceptOpt = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a plan file that `incarts apply` takes.")
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            "--sign", help="Sign the plan file with this ed25519 key; `incarts keys new`."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page for whoever approves: every row, old and new."),
    ] = None,
    limit: LimitOpt = None,
    max_duration: MaxDurationOpt = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The folder that it is for: look at what changed."),
    ] = None,
    exact: ExactOpt = False,
    max_rps: RateOpt = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Say what would happen, and why. Sends nothing."""
    from incarts_pipeline.cli import show
    from incarts_pipeline.plan import PlanRequest, save_plan, sign_plan

    settings = settings_for(ledger, target, max_rps)
    request = PlanRequest(
        catalog=catalog,
        mapping=mapping,
        link_set=link_set,
        unique_key=tuple(unique_key or ()),
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        sheet=sheet,
        records=records,
        query=query,
        retry_rejected=retry_rejected,
        refuse_over=refuse_over,
        allow_empty=allow_empty,
        rekeyed=rekeyed,
        accept=tuple(accept or ()),
    )
    seconds, saved = seconds_of(max_duration), saved_as(request)
    if saved is None and sign is not None and out is None:
        raise MappingError("Only a plan file is signed.", fix="Name one with --out.")
    if html is not None:
        from incarts_pipeline.display.reporting import check_places, write_plan_page

        check_places(None, html)
    # A plan file says what all rows ask for, and a page shows them.
    is_whole = exact or out is not None or html is not None
    with planned(request, settings, saved, output, exact=is_whole) as whole:
        made = whole.within(limit, seconds)
        if saved is not None and sign is not None:
            out = out or Path(catalog)
            sign_plan(saved, sign, out)
        elif out is not None:
            save_plan(made, saved.request if saved else request, settings, out, sign=sign)
        if html is not None:
            write_plan_page(made, html)
            if not as_json:
                screen.say(f"a page for whoever approves: {html}", err=True)
        show.tell_plan(made, as_json=as_json)
        if out is not None and not as_json:
            screen.say("carry it out with:")
            screen.say_whole(f"  incarts apply {out} -o links.parquet{_budget(made.figures)}")
        raise typer.Exit(1 if made.figures.refusals else 0)


def apply(
    catalog: Annotated[
        str, typer.Argument(help="As for `incarts plan`, or a plan file (.incarts).")
    ],
    output: OutputOpt,
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    quote: QuoteOpt = None,
    escape: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    yes: YesOpt = False,
    approve: ApproveOpt = None,
    limit: LimitOpt = None,
    sample_per: Annotated[
        str | None,
        typer.Option("--sample-per", help="Spread --limit over retailer,intent,link_set."),
    ] = None,
    max_duration: MaxDurationOpt = None,
    max_rps: RateOpt = None,
    rate: PaceOpt = None,
    wait: WaitOpt = False,
    max_in_flight: MaxInFlightOpt = None,
    refuse_over: RefuseOverOpt = None,
    retry_rejected: RetryOpt = False,
    allow_empty: AllowEmptyOpt = False,
    rekeyed: RekeyedOpt = Rekeyed.HOLD,
    accept: AcceptOpt = None,
    fail_on: FailOnOpt = "in_doubt",
    if_running: Annotated[
        IfRunning,
        typer.Option("--if-running", help="What to do about rows another run is sending."),
    ] = IfRunning.WAIT,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a report of the run, an HTML page.")
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over the links that the output holds already.")
    ] = False,
    require_signature: Annotated[
        str | None,
        typer.Option("--require-signature", help="Only a plan signed with this public key."),
    ] = None,
    exact: ExactOpt = False,
    enqueue: EnqueueOpt = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make the links and write links.parquet. Running it again sends nothing twice."""
    from incarts_pipeline.cli import enqueueing, running, show
    from incarts_pipeline.display.reporting import apply_and_report, check_places
    from incarts_pipeline.plan import SUFFIX, PlanRequest, refuse
    from incarts_pipeline.publish import exists

    if enqueue and report is not None:
        raise MappingError(
            "A report is written of what a run has made, and --enqueue makes nothing.",
            fix="Leave --report out.",
        )
    settings = settings_for(
        ledger, target, max_rps, rate, wait=wait, require_signature=require_signature
    )
    request = PlanRequest(
        catalog=catalog,
        mapping=mapping,
        link_set=link_set,
        unique_key=tuple(unique_key or ()),
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        sheet=sheet,
        records=records,
        query=query,
        retry_rejected=retry_rejected,
        refuse_over=refuse_over,
        allow_empty=allow_empty,
        rekeyed=rekeyed,
        accept=tuple(accept or ()),
    )
    options = WriteOptions(
        limit=limit,
        sample_per=_sample_per(sample_per),
        max_duration=seconds_of(max_duration),
        if_running=if_running,
        max_in_flight=max_in_flight,
        approved=approve,
    )
    failing = statuses(fail_on)
    if not enqueue:
        settings.for_calls()
    check_places(output, report)
    if adopt and exists(output):
        from incarts_pipeline.maintenance.import_links import import_links

        import_links(output, settings)
    with planned(request, settings, saved_as(request), output, exact=exact or enqueue) as whole:
        made = whole.within(limit, options.max_duration)
        refuse(made.figures, approve)
        agreed = yes or catalog.endswith(SUFFIX)
        running.ask(made, yes=agreed, quiet=as_json, piped=catalog == "-")
        if enqueue:
            raise typer.Exit(enqueueing.enqueue(made, settings, output, options, as_json=as_json))
        result = running.run(
            lambda metrics, stop: apply_and_report(
                made, settings, output, report=report, options=options, metrics=metrics, stop=stop
            )
        )
    show.tell_result(result, failing, as_json=as_json)
    raise typer.Exit(result.exit_code(failing))


def rekey(
    catalog: CatalogArg,
    output: OutputOpt,
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    quote: QuoteOpt = None,
    escape: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    yes: YesOpt = False,
    approve: ApproveOpt = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Move links to rows whose key was spelled anew; what is in doubt is settled first."""
    apply(
        catalog,
        output,
        mapping=mapping,
        link_set=link_set,
        unique_key=unique_key,
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        sheet=sheet,
        records=records,
        query=query,
        yes=yes,
        approve=approve,
        limit=0,
        rekeyed=Rekeyed.MOVE,
        ledger=ledger,
        target=target,
        as_json=as_json,
    )


def planned(
    request: PlanRequest,
    settings: Settings,
    saved: SavedPlan | None,
    output: str | None = None,
    *,
    exact: bool = False,
) -> Plan:
    """Plan a catalog, or again what a plan file says."""
    from incarts_pipeline.pipeline import plan_catalog, plan_saved

    if saved is not None:
        return plan_saved(saved, settings)
    return plan_catalog(request, settings, output=output, exact=exact)


def saved_as(request: PlanRequest) -> SavedPlan | None:
    """Return the plan file that was given as the catalog, None for another catalog.

    Raises:
        MappingError: it was given together with what it fixes.
    """
    from incarts_pipeline.plan import SUFFIX, PlanRequest, load_plan

    if not str(request.catalog).endswith(SUFFIX):
        return None
    if dataclasses.replace(request, catalog="") != PlanRequest(catalog=""):
        raise MappingError(
            "A plan file fixes the mapping, the key and the guards.",
            fix="Leave these options out, or plan again with them.",
        )
    return load_plan(str(request.catalog))


def _budget(figures: PlanFigures) -> str:
    """Return the options that hold a run to what a plan was held to; a plan file has neither."""
    limit, seconds = figures.limit, figures.max_duration
    told = (
        "" if limit is None else f" --limit {limit}",
        f" --max-duration {seconds:g}s" if seconds else "",
    )
    return "".join(told)


def _sample_per(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in SAMPLE_PER:
            raise MappingError(
                f"--sample-per doesn't know {name!r}.", fix=f"Choose from {', '.join(SAMPLE_PER)}."
            )
    return names
