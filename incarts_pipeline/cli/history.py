"""Command `incarts show`: all that was ever sent for a row."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import Attempt, Chapter, MadeLink, ShowAnswer
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.clock import from_micros
from incarts_pipeline.errors import MappingError
from incarts_pipeline.text import clock_time

if TYPE_CHECKING:
    from incarts_pipeline.ledger import HistoryEntry, Try
    from incarts_pipeline.ledger.history import Made

# The ledger knows what was sent; how a catalog's row stands, a run says in its table.
_NEVER_SENT = "If the catalog has it, its `problems` in links.parquet say why."
_AS_IT_STANDS = "Whether the row is held or rejected now is in links.parquet: `status`, `reason`."


def show(
    row: Annotated[list[str], typer.Argument(help="The row's key, like sku=123.")],
    link_set: Annotated[str | None, typer.Option("--link-set", help="Only this link set.")] = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Tell one row's history: its links, every attempt, and what changed."""
    from incarts_pipeline.maintenance import row_history

    chapters = row_history(_row(row), settings_for(ledger, target), link_set=link_set)
    if as_json:
        screen.tell_json(ShowAnswer(entries=[_chapter(one) for one in chapters]))
    else:
        _tell(" ".join(row), chapters)
    raise typer.Exit(0 if chapters else 1)


def _chapter(entry: HistoryEntry) -> Chapter:
    from incarts_pipeline.cli.show import change_of

    fields = {one.name: getattr(entry, one.name) for one in dataclasses.fields(entry)}
    return Chapter(
        **fields
        | {
            "intended_at": from_micros(entry.intended_at),
            "missing_since": _moment(entry.missing_since),
            "attempts": [_attempt(one) for one in entry.attempts],
            "links": [_made(one) for one in entry.links],
            "changed": entry.changed,
            "differences": [change_of(one) for one in entry.differences],
        }
    )


def _attempt(one: Try) -> Attempt:
    times = {"sent_at": from_micros(one.sent_at), "answered_at": _moment(one.answered_at)}
    return Attempt(**dataclasses.asdict(one) | times)


def _made(one: Made) -> MadeLink:
    return MadeLink(**dataclasses.asdict(one) | {"received_at": from_micros(one.received_at)})


def _row(given: Sequence[str]) -> str | dict[str, str]:
    """Return a row key that is given as it stands, or the pairs of `column=value` words."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = dict(word.partition("=")[::2] for word in given if "=" in word)
    if len(pairs) < len(given):
        raise MappingError("A row is named like sku=123 store=7.", fix="Name each key column once.")
    return pairs


def _tell(row: str, chapters: Sequence[HistoryEntry]) -> None:
    if not chapters:
        screen.say(f"Nothing was ever sent for row {row}. {_NEVER_SENT}")
        return
    for chapter in chapters:
        again = f", generation {chapter.generation}" if chapter.generation else ""
        screen.say(
            (f"{chapter.link_set} {chapter.row_key}", "bold"),
            f" {_action(chapter)}{again}: ",
            (chapter.state.value.replace("_", " "), "bold"),
            f" ({chapter.reason})" if chapter.reason else "",
        )
        for one in chapter.differences:
            screen.say(f"  {one}")
        screen.say(f"  key {chapter.idempotency_key}")
        for attempt in chapter.attempts:
            _tell_attempt(attempt)
        for link in chapter.links:
            use = "in use" if link.in_use else "not in use"
            use += f", proven by: {link.proof}" if link.proof else ""
            use += f", {link.status}" if link.status not in (None, "active") else ""
            screen.say(f"  {link.link_id} {link.short_link or ''} ({use})")
    screen.say(_AS_IT_STANDS)


def _action(chapter: HistoryEntry) -> str:
    if chapter.for_link_id is None:
        return chapter.action
    return f"{chapter.action} a QR code of {chapter.for_link_id}"


def _tell_attempt(one: Try) -> None:
    """Print one attempt in two lines; nothing is cut off, since Incarts will ask for the id."""
    took = f", {(one.answered_at - one.sent_at) / 1e6:.1f} s" if one.answered_at else ""
    answer = " ".join(str(part) for part in (one.http_status, one.said) if part)
    screen.say(
        f"  {one.number}. {clock_time(from_micros(one.sent_at))}{took}: {answer or 'no answer'}"
    )
    screen.say(f"     {one.correlation_id} by run {one.run_id}")


def _moment(micros: int | None) -> dt.datetime | None:
    return None if micros is None else from_micros(micros)
