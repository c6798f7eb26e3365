"""Commands `incarts review`: what may exist at Incarts, and what a person decides."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import OpenCase, ReviewListAnswer
from incarts_pipeline.cli.options import JsonOpt, LedgerOpt, TargetOpt, settings_for
from incarts_pipeline.clock import from_micros
from incarts_pipeline.models import QrCode
from incarts_pipeline.text import clock_time, counted

if TYPE_CHECKING:
    from incarts_pipeline.ledger import Case
    from incarts_pipeline.maintenance import OpenCases

app = typer.Typer(
    help="Settle what needs a person: links that may exist at Incarts.",
    no_args_is_help=True,
)

_SHOWN = 20  # rows of a group

KeyArg = Annotated[str, typer.Argument(help="The idempotency key, as `review list` shows it.")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@app.command("list")
def list_cases(
    ledger: LedgerOpt = None, target: TargetOpt = None, as_json: JsonOpt = False
) -> None:
    """List what is in flight or in doubt; exit 3 when something needs a person."""
    from incarts_pipeline.maintenance import OpenCases, open_cases

    found = OpenCases(cases=open_cases(settings_for(ledger, target)))
    if as_json:
        screen.tell_json(_answer(found))
    else:
        _tell_cases(found)
    raise typer.Exit(3 if found.for_person else 0)


def _answer(found: OpenCases) -> ReviewListAnswer:
    return ReviewListAnswer(
        needs_person=len(found.for_person),
        in_doubt=len(found.in_doubt),
        in_flight=len(found.in_flight),
        apply_before=found.apply_before,
        cases=[_case(case) for case in found.cases],
    )


def _case(case: Case) -> OpenCase:
    fields = dataclasses.asdict(case)
    del fields["op_id"]
    times = ("first_sent_at", "settles_until")
    return OpenCase(
        **fields | {name: from_micros(fields[name]) if fields[name] else None for name in times}
    )


def _tell_cases(found: OpenCases) -> None:
    screen.say((str(found), "bold"))
    for (title, fix), cases in found.groups().items():
        screen.say()
        screen.say((title, "bold"), f": {counted(len(cases), 'row')}")
        for case in cases[:_SHOWN]:
            _tell_case(case)
        if len(cases) > _SHOWN:
            screen.say(f"  … and {len(cases) - _SHOWN:,} more; --json has all of them")
        if fix:
            screen.say(f"  {fix}")


def _tell_case(case: Case) -> None:
    tried = counted(case.attempts, "attempt")
    since = f" since {clock_time(from_micros(case.first_sent_at))}" if case.first_sent_at else ""
    screen.say("  ", (case.row_key, "bold"), f"  {tried}{since}")
    screen.say_whole(f"    {case.idempotency_key}")
    if case.for_link_id is not None:
        screen.say(f"    a QR code of the link {case.for_link_id}")
    if case.is_taken:
        screen.say(
            "    The link has a code of this identifier that the ledger doesn't know: adopt that "
            "by its id, or recreate the key and choose another identifier."
        )


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
    text = screen.plain(found.content, for_screen=str(output) == "-")
    if str(output) == "-":
        for line in text.split("\n"):
            screen.say_whole(line)
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
