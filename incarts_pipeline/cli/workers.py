"""Commands of workers: `incarts work` and `incarts publish`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen, show
from incarts_pipeline.cli.answers import WorkAnswer
from incarts_pipeline.cli.flow import ApproveOpt, OutputOpt, planned, saved_as
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
from incarts_pipeline.cli.run_answers import ForbiddenLinks
from incarts_pipeline.models import Rekeyed, Status
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.write import WorkResult


def work(
    link_set: Annotated[
        list[str] | None,
        typer.Option("--link-set", help="Work on this link set alone; repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Make at most so many links.")
    ] = None,
    max_duration: MaxDurationOpt = None,
    wait_for_work: Annotated[
        str | None,
        typer.Option(
            "--wait-for-work", help="Wait so long for something to be enqueued, like 10m."
        ),
    ] = None,
    max_rps: RateOpt = None,
    rate: PaceOpt = None,
    wait: WaitOpt = False,
    max_in_flight: MaxInFlightOpt = None,
    fail_on: FailOnOpt = "in_doubt",
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make what is enqueued, beside any number of other workers. Publishes nothing."""
    from incarts_pipeline.cli import running
    from incarts_pipeline.workers import work as work_on
    from incarts_pipeline.write import WorkOptions

    settings = settings_for(ledger, target, max_rps, rate, wait=wait)
    failing = statuses(fail_on)
    options = WorkOptions(
        link_sets=tuple(link_set or ()),
        limit=limit,
        max_duration=seconds_of(max_duration),
        wait_for_work=seconds_of(wait_for_work),
        max_in_flight=max_in_flight,
    )
    result = running.run(
        lambda metrics, stop: work_on(settings, options=options, metrics=metrics, stop=stop)
    )
    if as_json:
        screen.tell_json(work_answer(result, failing))
    else:
        for line in _work_lines(result):
            screen.say(*line, err=True)
    raise typer.Exit(result.exit_code(failing))


def publish(
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
    approve: ApproveOpt = None,
    retry_rejected: RetryOpt = False,
    allow_empty: AllowEmptyOpt = False,
    rekeyed: RekeyedOpt = Rekeyed.HOLD,
    accept: AcceptOpt = None,
    fail_on: FailOnOpt = "in_doubt",
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write links.parquet from what the ledger says of a catalog now. Sends nothing."""
    from incarts_pipeline.plan import PlanRequest
    from incarts_pipeline.sync import run_blocking
    from incarts_pipeline.workers import publish_plan

    settings = settings_for(ledger, target)
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
        allow_empty=allow_empty,
        rekeyed=rekeyed,
        accept=tuple(accept or ()),
    )
    failing = statuses(fail_on)
    with planned(request, settings, saved_as(request)) as made:
        result = run_blocking(lambda _: publish_plan(made, settings, output, approved=approve))
    show.tell_result(result, failing, as_json=as_json)
    raise typer.Exit(result.exit_code(failing))


def work_answer(result: WorkResult, fail_on: Sequence[Status]) -> WorkAnswer:
    """Return a worker's result as JSON; `fail_on` are the statuses that make its exit code 3."""
    return WorkAnswer(
        run_id=result.run_id,
        link_sets=result.link_sets,
        settled=result.settled,
        left=result.left,
        requests=result.requests,
        stopped=result.stopped,
        end=show.early_end(result.end),
        forbidden=[
            ForbiddenLinks(retailer=retailer, intent=intent, message=said)
            for (retailer, intent), said in result.forbidden.items()
        ],
        unrecorded=result.unrecorded,
        seconds=round(result.seconds, 3),
        exit_code=result.exit_code(fail_on),
    )


def _work_lines(result: WorkResult) -> Iterator[show.Line]:
    seconds = f"{result.seconds:.1f} s"
    yield [f"{counted(result.made, 'link')} made, {counted(result.requests, 'request')}, {seconds}"]
    if result.end:
        yield show.end_line(result.end)
    for (retailer, intent), said in result.forbidden.items():
        yield [(f"403 for {retailer}/{intent}: {said or 'not allowed'}.", "red")]
    if result.unrecorded:
        yield [("answered, but not recorded in the ledger:", "bold red")]
        yield from ([f"  {one}"] for one in result.unrecorded)
    if result.pending:
        yield [f"{counted(result.pending, 'link')} still enqueued: run it again to go on"]
    if result.in_doubt:
        yield [
            f"{counted(result.in_doubt, 'row')} in doubt: run again soon, and see "
            "`incarts review list` for what needs a person"
        ]
