"""Options that several commands share, and the settings and values made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incarts_pipeline.catalog import FORMATS
from incarts_pipeline.errors import MappingError
from incarts_pipeline.models import Rekeyed, Status

if TYPE_CHECKING:
    from incarts_pipeline.settings import Settings

CatalogArg = Annotated[
    str,
    typer.Argument(
        help="Parquet, CSV, JSON, XML or Excel: a file, folder, glob or URI, or - for stdin."
    ),
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
    typer.Option("--format", help=f"{', '.join(FORMATS)}, where the name doesn't tell."),
]
EncodingOpt = Annotated[str, typer.Option("--encoding", help="Of a CSV, like cp1252.")]
DelimiterOpt = Annotated[
    str | None, typer.Option("--delimiter", help="Of a CSV; a comma, or a tab for .tsv.")
]
QuoteOpt = Annotated[
    str | None,
    typer.Option("--quote", help="Of a CSV: a character, or none where quotes are text."),
]
EscapeOpt = Annotated[
    str | None, typer.Option("--escape", help="Of a CSV: what stands before a quote that is text.")
]
SheetOpt = Annotated[
    str | None, typer.Option("--sheet", help="Of an Excel file, by its name or number from 1.")
]
RecordsOpt = Annotated[
    str | None,
    typer.Option("--records", help="Where the products are in JSON or XML, like shop.products."),
]
QueryOpt = Annotated[
    str | None, typer.Option("--query", help="One SELECT, for a DuckDB or SQLite file.")
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
RekeyedOpt = Annotated[
    Rekeyed,
    typer.Option("--rekeyed", help="New rows with the content of rows that left the catalog."),
]
AcceptOpt = Annotated[
    list[str] | None,
    typer.Option("--accept", help="Let a suspicion through, by its code; repeatable."),
]
LedgerOpt = Annotated[
    str | None, typer.Option("--ledger", help="The ledger's file, or the URI of its database.")
]
TargetOpt = Annotated[str | None, typer.Option("--target", help="A target of incarts.toml.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
RateOpt = Annotated[
    str | None, typer.Option("--max-rps", help="Ceiling in requests a second, or none.")
]
MaxDurationOpt = Annotated[
    str | None, typer.Option("--max-duration", help="Stop after this time, like 2h or 90s.")
]
WaitOpt = Annotated[
    bool,
    typer.Option("--wait", help="Wait for a quota however long it lasts, a day's say."),
]
PaceOpt = Annotated[
    str | None,
    typer.Option("--rate", help="adaptive (learns the limit), or fixed:N a second."),
]
MaxInFlightOpt = Annotated[
    int | None, typer.Option("--max-in-flight", min=1, help="Requests under way at once.")
]
FailOnOpt = Annotated[
    str, typer.Option("--fail-on", help="Statuses that make the exit code 3, or none.")
]


def settings_for(
    ledger: str | None = None,
    target: str | None = None,
    max_rps: str | None = None,
    rate: str | None = None,
    *,
    wait: bool = False,
    require_signature: str | None = None,
) -> Settings:
    """Load the settings, with what the command line overrides."""
    from incarts_pipeline.settings import load_settings

    given: dict[str, Any] = {
        "ledger": ledger,
        "max_rps": max_rps,
        "rate": rate,
        "wait": wait or None,
        "require_signature": require_signature,
    }
    return load_settings(
        target=target, **{name: value for name, value in given.items() if value is not None}
    )


def seconds_of(duration: str | None) -> float | None:
    """Return the seconds of a duration that may not be given; raises SettingsError."""
    from incarts_pipeline.settings import parse_duration

    return parse_duration(duration) if duration else None


def statuses(text: str) -> tuple[Status, ...]:
    """Return the statuses that an option names, separated by commas; raises MappingError."""
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    try:
        return tuple(Status(name) for name in names)
    except ValueError as error:
        raise MappingError(
            f"--fail-on: {error}.", fix=f"Choose from {', '.join(Status)}, or none."
        ) from error
