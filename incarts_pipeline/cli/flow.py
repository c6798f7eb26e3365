"""`incarts plan` and `incarts apply`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from incarts_pipeline.cli import asking, show
from incarts_pipeline.display.progress import progress
from incarts_pipeline.errors import MappingError
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.pipeline import RunResult, plan_catalog, plan_saved
from incarts_pipeline.plan import SUFFIX, Plan, PlanRequest, load_plan, refuse, save_plan
from incarts_pipeline.publish import exists
from incarts_pipeline.reporting import apply_and_report, check_places
from incarts_pipeline.settings import Settings, load_settings, parse_duration
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.text import counted
from incarts_pipeline.write import SAMPLE_PER, IfRunning, RunMetrics, WriteOptions

CatalogArg = Annotated[
    str,
    typer.Argument(help="Parquet file, folder or glob, CSV, JSON lines, a URI, or - for stdin."),
]
MappingOpt = Annotated[
    Path | None, typer.Option("--mapping", "-m", help="The mapping, a YAML file.")
]
LinkSetOpt = Annotated[
    str | None, typer.Option("--link-set", help="Name of the link set; wins over the mapping's.")
]
UniqueKeyOpt = Annotated[
    list[str] | None,
    typer.Option("--unique-key", help="Key column, for a catalog without mapping; repeatable."),
]
FormatOpt = Annotated[
    str | None,
    typer.Option("--format", help="csv, jsonl or parquet, where the name doesn't tell."),
]
EncodingOpt = Annotated[str, typer.Option("--encoding", help="Of a CSV, like cp1252.")]
DelimiterOpt = Annotated[
    str | None, typer.Option("--delimiter", help="Of a CSV; a comma, or a tab for .tsv.")
]
RetryOpt = Annotated[
    bool, typer.Option("--retry-rejected", help="Try rows again that Incarts refused before.")
]
RefuseOverOpt = Annotated[
    int | None, typer.Option("--refuse-over", min=0, help="Refuse more new links than this.")
]
AllowEmptyOpt = Annotated[
    bool, typer.Option("--allow-empty", help="Accept an empty catalog over a set that has links.")
]
LedgerOpt = Annotated[Path | None, typer.Option("--ledger", help="The ledger's file.")]
TargetOpt = Annotated[str | None, typer.Option("--target", help="A target of incarts.toml.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
RateOpt = Annotated[
    str | None, typer.Option("--max-rps", help="Ceiling in requests a second, or none.")
]


def settings_for(
    ledger: Path | None = None,
    target: str | None = None,
    max_rps: str | None = None,
    rate: str | None = None,
) -> Settings:
    """Load the settings, with what the command line overrides."""
    given: dict[str, Any] = {"ledger": ledger, "max_rps": max_rps, "rate": rate}
    return load_settings(
        target=target, **{name: value for name, value in given.items() if value is not None}
    )


def plan(
    catalog: CatalogArg,
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    retry_rejected: RetryOpt = False,
    refuse_over: RefuseOverOpt = None,
    allow_empty: AllowEmptyOpt = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a plan file that `incarts apply` takes.")
    ] = None,
    max_rps: RateOpt = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Say what would happen, and why. Sends nothing."""
    settings = settings_for(ledger, target, max_rps)
    request = PlanRequest(
        catalog=catalog,
        mapping=mapping,
        link_set=link_set,
        unique_key=tuple(unique_key or ()),
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        retry_rejected=retry_rejected,
        refuse_over=refuse_over,
        allow_empty=allow_empty,
    )
    with plan_catalog(request, settings) as made:
        if out is not None:
            save_plan(made, request, settings, out)
        if as_json:
            typer.echo(json.dumps(show.plan_object(made)))
        else:
            show.plan_tables(Console(), made)
        if out is not None and not as_json:
            typer.echo(f"carry it out with: incarts apply {out} -o links.parquet")
        raise typer.Exit(1 if made.figures.refusals else 0)


def apply(
    catalog: Annotated[
        str, typer.Argument(help="As for `incarts plan`, or a plan file (.incarts).")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Where links.parquet goes.")],
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Don't ask, as without a terminal; guards still stand."),
    ] = False,
    approve: Annotated[
        str | None,
        typer.Option("--approve", help="Let exactly the plan with this digest through."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="Make at most so many links.")
    ] = None,
    sample_per: Annotated[
        str | None,
        typer.Option("--sample-per", help="Spread --limit over retailer,intent,link_set."),
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
    refuse_over: RefuseOverOpt = None,
    retry_rejected: RetryOpt = False,
    allow_empty: AllowEmptyOpt = False,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Statuses that make the exit code 3, or none.")
    ] = "in_doubt",
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
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make the links and write links.parquet. Running it again sends nothing twice."""
    settings = settings_for(ledger, target, max_rps, rate)
    request = PlanRequest(
        catalog=catalog,
        mapping=mapping,
        link_set=link_set,
        unique_key=tuple(unique_key or ()),
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        retry_rejected=retry_rejected,
        refuse_over=refuse_over,
        allow_empty=allow_empty,
    )
    options = WriteOptions(
        limit=limit,
        sample_per=_sample_per(sample_per),
        max_duration=parse_duration(max_duration) if max_duration else None,
        if_running=if_running,
        max_in_flight=max_in_flight,
        approved=approve,
    )
    failing = statuses(fail_on)
    settings.for_calls()
    check_places(output, report)
    if adopt and exists(output):
        import_links(output, settings)
    with _planned(request, settings) as made:
        refuse(made.figures, approve)
        _ask(made, yes=yes or catalog.endswith(SUFFIX), catalog=catalog, quiet=as_json)
        result = _carry_out(made, settings, output, options, report)
    if as_json:
        typer.echo(json.dumps(show.result_object(result, failing)))
    else:
        show.result_table(Console(stderr=True), result)
    raise typer.Exit(result.exit_code(failing))


def _planned(request: PlanRequest, settings: Settings) -> Plan:
    """Plan a catalog, or again what a plan file says.

    Raises:
        MappingError: a plan file was given together with what it fixes.
    """
    if not str(request.catalog).endswith(SUFFIX):
        return plan_catalog(request, settings)
    if dataclasses.replace(request, catalog="") != PlanRequest(catalog=""):
        raise MappingError(
            "A plan file fixes the mapping, the key and the guards.",
            fix="Leave these options out, or plan again with them.",
        )
    return plan_saved(load_plan(str(request.catalog)), settings)


def _carry_out(
    made: Plan, settings: Settings, output: str, options: WriteOptions, report: Path | None
) -> RunResult:
    metrics = RunMetrics()
    with progress(metrics):
        return run_blocking(
            lambda stop: apply_and_report(
                made, settings, output, report=report, options=options, metrics=metrics, stop=stop
            )
        )


def _ask(made: Plan, *, yes: bool, catalog: str, quiet: bool) -> None:
    """Show the plan; in a terminal, ask whether to go on."""
    console = Console(stderr=True)
    if not quiet:
        show.plan_tables(console, made, approved=True)
    terminal = sys.stdin.isatty() and catalog != "-"
    if yes or not terminal or not (made.figures.calls or made.figures.doubts):
        return
    asking.confirm(f"Make {counted(made.figures.calls, 'link')}?", otherwise="Nothing was sent.")


def _sample_per(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in SAMPLE_PER:
            raise MappingError(
                f"--sample-per doesn't know {name!r}.", fix=f"Choose from {', '.join(SAMPLE_PER)}."
            )
    return names


def statuses(text: str) -> tuple[Status, ...]:
    """Return the statuses that an option names, separated by commas; raises MappingError."""
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    try:
        return tuple(Status(name) for name in names)
    except ValueError as error:
        raise MappingError(
            f"--fail-on: {error}.", fix=f"Choose from {', '.join(Status)}, or none."
        ) from error
