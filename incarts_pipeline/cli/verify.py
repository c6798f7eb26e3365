"""Command `incarts verify`: links read back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from incarts_pipeline.cli import running, show
from incarts_pipeline.cli.options import (
    JsonOpt,
    LedgerOpt,
    MaxDurationOpt,
    PaceOpt,
    RateOpt,
    TargetOpt,
    WaitOpt,
    seconds_of,
    settings_for,
)
from incarts_pipeline.maintenance import Verdict, Verification, VerifyRequest
from incarts_pipeline.maintenance.verify import verify as read_back
from incarts_pipeline.text import counted

_MEANING = {
    Verdict.OK: "as it was sent",
    Verdict.DRIFTED: "differs from what was sent; see differences",
    Verdict.GONE: "Incarts has it no more, or doesn't show it to this key",
    Verdict.INACTIVE: "its status is not active",
    Verdict.UNREADABLE: "Incarts answered, but not with the link",
    Verdict.NOT_CHECKED: "not read; run again to go on",
}
_SHOWN = 20


def verify(
    links: Annotated[
        str | None,
        typer.Argument(help="A table with a column link_id; without it, the links in use."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where the table of verdicts goes.")
    ] = "links.verified.parquet",
    link_set: Annotated[
        list[str] | None, typer.Option("--link-set", help="Only links of this set; repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this row key or link id; repeatable.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="So many links, chosen by chance.")
    ] = None,
    max_duration: MaxDurationOpt = None,
    max_rps: RateOpt = None,
    rate: PaceOpt = None,
    wait: WaitOpt = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Read links back (scope links:read) and report what is not as it was sent."""
    settings = settings_for(ledger, target, max_rps, rate, wait=wait)
    request = VerifyRequest(
        links=links, link_sets=tuple(link_set or ()), only=tuple(only or ()), sample=sample
    )
    seconds = seconds_of(max_duration)
    result = running.run(
        lambda metrics, stop: read_back(
            request, settings, output=output, max_duration=seconds, metrics=metrics, stop=stop
        )
    )
    if as_json:
        typer.echo(json.dumps(_object(result)))
    else:
        _tables(Console(), result)
    raise typer.Exit(result.exit_code())


def _object(result: Verification) -> dict[str, Any]:
    return {
        "verified": result.output,
        "verdicts": {verdict.value: n for verdict, n in result.counts.items()},
        "disputed": result.disputed,
        "requests": result.requests,
        **show.end_object(result.stopped, result.end),
        "seconds": round(result.seconds, 3),
        "exit_code": result.exit_code(),
    }


def _tables(console: Console, result: Verification) -> None:
    table = Table(title="Links read back")
    table.add_column("links", justify="right")
    table.add_column("verdict")
    table.add_column("which means")
    for verdict, n in result.counts.items():
        if n:
            table.add_row(f"{n:,}", verdict.value, _MEANING[verdict])
    console.print(table)
    for line in _lines(result):
        console.print(line, highlight=False, soft_wrap=True)


def _lines(result: Verification) -> list[str]:
    quiet = [Verdict.OK.value, Verdict.NOT_CHECKED.value]
    odd = result.table.filter(pc.invert(pc.is_in(result.table["verdict"], pa.array(quiet))))
    lines = [_line(row) for row in odd.slice(0, _SHOWN).to_pylist()]
    if odd.num_rows > _SHOWN:
        lines.append(f"… and {odd.num_rows - _SHOWN:,} more in {escape(str(result.output))}")
    if result.disputed:
        held = counted(result.disputed, "row is", "rows are")
        lines.append(f"{held} held until somebody has looked: see `incarts review list`")
    if result.end is not None:
        lines.append(show.end_line(result.end))
    sent = counted(result.requests, "request")
    lines.append(f"{sent} in {result.seconds:.1f} s → {escape(str(result.output))}")
    return lines


def _line(row: dict[str, Any]) -> str:
    place = " ".join(part for part in (row["link_set"], row["row_key"], row["link_id"]) if part)
    said = "; ".join(f"{d['field']}: {d['sent']} → {d['found']}" for d in row["differences"])
    status = f", status {row['status']}" if row["status"] not in (None, "active") else ""
    more = f": {escape(said)}" if said else ""
    return f"[bold]{row['verdict']}[/] {escape(place)}{escape(status)}{more}"
