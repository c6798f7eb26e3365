"""Command `incarts verify`: links read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incarts_pipeline.cli import screen, show
from incarts_pipeline.cli.answers import VerifyAnswer
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
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.maintenance import Verification

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
    from incarts_pipeline.cli import running
    from incarts_pipeline.maintenance import VerifyRequest
    from incarts_pipeline.maintenance.verify import verify as read_back

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
        screen.tell_json(_answer(result))
    else:
        _tables(result)
    raise typer.Exit(result.exit_code())


def _answer(result: Verification) -> VerifyAnswer:
    return VerifyAnswer(
        verified=result.output,
        verdicts={verdict.value: n for verdict, n in result.counts.items()},
        disputed=result.disputed,
        requests=result.requests,
        stopped=result.stopped,
        end=show.early_end(result.end),
        seconds=round(result.seconds, 3),
        exit_code=result.exit_code(),
    )


def _tables(result: Verification) -> None:
    from incarts_pipeline.maintenance import Verdict

    meaning = {
        Verdict.OK: "as it was sent",
        Verdict.DRIFTED: "differs from what was sent; see differences",
        Verdict.GONE: "Incarts has it no more, or doesn't show it to this key",
        Verdict.INACTIVE: "its status is not active",
        Verdict.UNREADABLE: "Incarts answered, but not with the link",
        Verdict.NOT_CHECKED: "not read; run again to go on",
    }
    columns = ("links", "verdict", "which means")
    rows = [(f"{n:,}", one.value, meaning[one]) for one, n in result.counts.items() if n]
    screen.tell_table("Links read back", columns, rows, right=columns[:1])
    for line in _lines(result):
        screen.say(*line)


def _lines(result: Verification) -> Iterator[Sequence[screen.Part]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from incarts_pipeline.cli import show
    from incarts_pipeline.maintenance import Verdict

    quiet = [Verdict.OK.value, Verdict.NOT_CHECKED.value]
    odd = result.table.filter(pc.invert(pc.is_in(result.table["verdict"], pa.array(quiet))))
    yield from (_line(row) for row in odd.slice(0, _SHOWN).to_pylist())
    if odd.num_rows > _SHOWN:
        yield [f"… and {odd.num_rows - _SHOWN:,} more in {result.output}"]
    if result.disputed:
        held = counted(result.disputed, "row is", "rows are")
        yield [f"{held} held until somebody has looked: see `incarts review list`"]
    if result.end is not None:
        yield show.end_line(result.end)
    sent = counted(result.requests, "request")
    yield [f"{sent} in {result.seconds:.1f} s → {result.output}"]


def _line(row: dict[str, Any]) -> Sequence[screen.Part]:
    place = " ".join(part for part in (row["link_set"], row["row_key"], row["link_id"]) if part)
    said = "; ".join(f"{d['field']}: {d['sent']} → {d['found']}" for d in row["differences"])
    status = f", status {row['status']}" if row["status"] not in (None, "active") else ""
    return [(row["verdict"], "bold"), f" {place}{status}{f': {said}' if said else ''}"]
