"""Commands `incarts review` and `show`: what happened, and what a person decides."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.clock import from_micros
from incarts_pipeline.errors import MappingError
from incarts_pipeline.models import QrCode
from incarts_pipeline.text import counted

if TYPE_CHECKING:
    from incarts_pipeline.ledger import Case, HistoryEntry, Try

app = typer.Typer(
    help="Settle what needs a person: links that may exist at Incarts.", no_args_is_help=True
)

# The ledger knows what was sent; how a catalog's row stands, a run says in its table.
_NEVER_SENT = "If the catalog has it, its `problems` in links.parquet say why."
_AS_IT_STANDS = "Whether the row is held or rejected now is in links.parquet: `status`, `reason`."

KeyArg = Annotated[str, typer.Argument(help="The idempotency key, as `review list` shows it.")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@app.command("list")
def list_cases(
    ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False
) -> None:
    """List what is in flight or in doubt; exit 3 when something needs a person."""
    from incarts_pipeline.maintenance import open_cases

    found = open_cases(settings_for(ledger, target))
    if as_json:
        screen.tell_json([_case_object(case) for case in found])
    else:
        _tell_cases(found)
    raise typer.Exit(3 if any(case.needs_person for case in found) else 0)


def _case_object(case: Case) -> dict[str, Any]:
    fields = dataclasses.asdict(case)
    del fields["op_id"]
    times = {name: _time(fields[name]) for name in ("first_sent_at", "settles_until")}
    return fields | times


def _tell_cases(found: Sequence[Case]) -> None:
    if not found:
        screen.say("nothing is in doubt")
        return
    for case in found:
        tried = counted(case.attempts, "attempt")
        since = f"{case.reason}, {tried} since {_time(case.first_sent_at)}"
        screen.say((f"{case.link_set} {case.row_key}", "bold"), f"  {_standing(case)}: {since}")
        screen.say(f"  {case.idempotency_key}")
        for line in _about_code(case):
            screen.say(f"  {line}")
    if any(case.needs_person for case in found):
        for line in _FOR_PERSONS:
            screen.say(line)


_FOR_PERSONS = (
    "",
    "Incarts can tell whether these links exist: send them the file of `incarts review evidence`.",
    "Then `incarts review adopt KEY LINK_ID` for one that exists, `incarts review recreate KEY` "
    "for one",
    "that doesn't, and run `incarts apply` again.",
)


def _standing(case: Case) -> str:
    """Say who settles a case."""
    if case.needs_person:
        return "needs review"
    if case.run_id is not None:
        return f"in flight, run {case.run_id} is at it and settles it"
    until = f" until {_time(case.settles_until)}" if case.settles_until is not None else ""
    return f"in doubt, the next run settles it{until}"


def _about_code(case: Case) -> list[str]:
    if case.for_link_id is None:
        return []
    about = [f"a QR code of the link {case.for_link_id}"]
    if case.is_taken:
        about += [
            "The link has a code of this identifier that the ledger doesn't know: adopt that by",
            "its id, or recreate the key and choose another identifier.",
        ]
    return about


def _time(micros: int | None) -> str | None:
    return from_micros(micros).strftime("%Y-%m-%d %H:%M:%S UTC") if micros else None


@app.command()
def evidence(
    keys: Annotated[list[str] | None, typer.Argument(help="Only these; all without.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; - prints it.")
    ] = Path("incarts-evidence.json"),
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
) -> None:
    """Write all that Incarts' support needs into one JSON file; it holds no API key."""
    from incarts_pipeline.file_writer import write_file
    from incarts_pipeline.maintenance.review import evidence as gathered
    from incarts_pipeline.plan import NamedPath, check_apart, paths_read

    settings = settings_for(ledger, target)
    found = gathered(settings, keys=keys or ())
    if not found.cases and str(output) != "-":
        screen.say("nothing is in doubt: there is nothing to ask")
        return
    text = screen.plain(found.content)
    if str(output) == "-":
        for line in text.split("\n"):
            screen.say(line)
        return
    file = NamedPath(what="evidence", path=str(output), begins=b'{\n  "question"')
    check_apart([file], paths_read(settings))
    write_file(output, text + "\n", private=True)
    screen.say(f"{counted(len(found.cases), 'operation')} → {output}")


@app.command()
def adopt(
    key: KeyArg,
    link_id: Annotated[
        str, typer.Argument(help="The link, or QR code, that Incarts has for this key.")
    ],
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Don't read the link back to compare it.")
    ] = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
) -> None:
    """Take over a link that exists: its row uses it from now on."""
    from incarts_pipeline.maintenance import adoption

    link = adoption.adopt(key, link_id, settings_for(ledger, target), unchecked=unchecked)
    if isinstance(link, QrCode):
        screen.say(f"{key} has the QR code {link.id}")
        screen.say("Run `incarts qr` again to publish it.")
        return
    screen.say(f"{key} has the link {link.id} {link.short_link or ''}".rstrip())
    screen.say("Run `incarts apply` again to publish it.")


@app.command()
def recreate(
    keys: Annotated[list[str], typer.Argument(help="Idempotency keys, as `review list` shows.")],
    yes: YesOpt = False,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
) -> None:
    """Give operations up that have no link: the next run makes a new one for each row."""
    from incarts_pipeline.maintenance import review

    if not yes and sys.stdin.isatty():
        screen.confirm(
            "If one of these links exists after all, its row gets a second one. Has Incarts "
            "said that they don't?",
            otherwise="Nothing was given up.",
        )
    for case in review.recreate(keys, settings_for(ledger, target)):
        screen.say(f"given up: {case.link_set} {case.row_key} ({case.idempotency_key})")
    screen.say("Run the same command again, `incarts apply` or `incarts qr`, to make new ones.")


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
        told = [dataclasses.asdict(one) | {"changed": one.changed} for one in chapters]
        screen.tell_json(told)
    else:
        _tell(" ".join(row), chapters)
    raise typer.Exit(0 if chapters else 1)


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
    screen.say(f"  {one.number}. {_time(one.sent_at)}{took}: {answer or 'no answer'}")
    screen.say(f"     {one.correlation_id} by run {one.run_id}")
