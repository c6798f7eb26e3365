"""Command `incarts check`: the pages behind the links, before codes are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import CheckAnswer, Destination
from incarts_pipeline.cli.options import (
    CatalogArg,
    DelimiterOpt,
    EncodingOpt,
    EscapeOpt,
    FormatOpt,
    JsonOpt,
    LinkSetOpt,
    MappingOpt,
    QueryOpt,
    QuoteOpt,
    RecordsOpt,
    SheetOpt,
    TargetOpt,
    UniqueKeyOpt,
    settings_for,
)
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.maintenance import Checked

_SHOWN = 20


def check(
    catalog: CatalogArg,
    mapping: MappingOpt = None,
    link_set: LinkSetOpt = None,
    unique_key: UniqueKeyOpt = None,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    quote: QuoteOpt = None,
    escape_mark: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where the table of URLs goes, Parquet.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Ask for private addresses too.")
    ] = False,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Ask for each URL that links would lead to, once, and say which are dead. Makes no link."""
    from incarts_pipeline.maintenance import check_destinations
    from incarts_pipeline.plan import PlanRequest

    request = PlanRequest(
        catalog=catalog,
        mapping=mapping,
        link_set=link_set,
        unique_key=tuple(unique_key or ()),
        catalog_format=catalog_format,
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape_mark,
        sheet=sheet,
        records=records,
        query=query,
    )
    result = check_destinations(
        request, settings_for(target=target), output=output, private=private
    )
    if as_json:
        screen.tell_json(_answer(result))
    else:
        _tables(result)
    raise typer.Exit(result.exit_code())


def _answer(result: Checked) -> CheckAnswer:
    return CheckAnswer(
        checked=result.output,
        verdicts={reach.value: n for reach, n in result.counts.items()},
        requests=result.requests,
        not_ok=_not_ok(result),
        exit_code=result.exit_code(),
    )


def _not_ok(result: Checked) -> list[Destination]:
    from incarts_pipeline.prepare import Reach

    rows = result.table.to_pylist()
    return [Destination(**row) for row in rows if row["verdict"] != Reach.OK]


def _tables(result: Checked) -> None:
    from incarts_pipeline.prepare import Reach

    meaning = {
        Reach.OK: "answers with a page",
        Reach.DEAD: "404, 410, or no such host",
        Reach.UNCLEAR: "another answer, or none: look at it",
        Reach.PRIVATE: "only its own network can open it; --private asks for it too",
    }
    columns = ("URLs", "verdict", "which means")
    counts = [(f"{n:,}", one.value, meaning[one]) for one, n in result.counts.items() if n]
    screen.tell_table("Destinations", columns, counts, right=columns[:1])
    odd = _not_ok(result)
    for row in odd[:_SHOWN]:
        said = row.http_status or row.reason
        led = "".join(f" → {url}" for url in row.redirects)
        rows = f"{counted(row.links, 'link')}, first in row {row.catalog_row}"
        screen.say((row.verdict, "bold"), f" {row.url}{led}: {said} ({rows})")
    if len(odd) > _SHOWN:
        screen.say(f"… and {len(odd) - _SHOWN:,} more; --output has all of them")
