"""Command `incarts init`: look at any table, write a mapping for it, and plan it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline import suggest
from incarts_pipeline.cli import screen
from incarts_pipeline.cli.answers import Guess, InitAnswer
from incarts_pipeline.cli.options import (
    DelimiterOpt,
    EncodingOpt,
    EscapeOpt,
    FormatOpt,
    JsonOpt,
    LedgerOpt,
    QueryOpt,
    QuoteOpt,
    RecordsOpt,
    SheetOpt,
    TargetOpt,
    settings_for,
)
from incarts_pipeline.errors import MappingError, UndecidedError
from incarts_pipeline.text import Option, OptionText

if TYPE_CHECKING:
    from incarts_pipeline.mapping import Preset
    from incarts_pipeline.plan import Plan
    from incarts_pipeline.settings import Settings
    from incarts_pipeline.suggest import Answers, Suggestion

# Stands for a project in a plan that nobody can carry out.
_NO_PROJECT = "no-project-yet"


def init(
    catalog: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The table, as for `incarts plan`.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the mapping goes.")] = Path(
        "mapping.yaml"
    ),
    link_set: Annotated[
        str | None, typer.Option("--link-set", help="Name of the link set; else the file's name.")
    ] = None,
    unique_key: Annotated[
        list[str] | None, typer.Option("--unique-key", help="Key column; repeatable.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="A product's page, like https://shop.com/p/{sku}, or the shop."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="The platform that wrote it, like shopify.")
    ] = None,
    show_it: Annotated[
        bool, typer.Option("--show", help="Print what --preset stands for, and do nothing else.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over a mapping that is there.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take the guesses.")
    ] = False,
    catalog_format: FormatOpt = None,
    encoding: EncodingOpt = "utf-8",
    delimiter: DelimiterOpt = None,
    quote: QuoteOpt = None,
    escape: EscapeOpt = None,
    sheet: SheetOpt = None,
    records: RecordsOpt = None,
    query: QueryOpt = None,
    ledger: LedgerOpt = None,
    target: TargetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Look at any table, write a mapping for it with a comment on each guess, and plan it."""
    from incarts_pipeline.mapping import preset_named
    from incarts_pipeline.pipeline import plan_catalog
    from incarts_pipeline.plan import PlanRequest

    platform = None if preset is None else preset_named(preset)
    if show_it or catalog is None:
        _show_preset(platform)
        return
    if catalog == "-":
        raise _no_table()
    asks = sys.stdin.isatty() and not (yes or as_json)
    settings = settings_for(ledger, target)
    _check_place(out, catalog, settings, overwrite=overwrite, asks=asks)
    reading = {
        "format": catalog_format,
        "encoding": None if encoding == "utf-8" else encoding,
        "delimiter": delimiter,
        "quote": quote,
        "escape": escape,
        "sheet": sheet,
        "records": records,
        "query": query,
    }
    answers = suggest.Answers(link_set=link_set, unique_key=tuple(unique_key or ()), page=url)
    choose = _choose if asks else None
    made = suggest.suggestion_of(catalog, reading, platform, choose=choose).answered(answers)
    if asks:
        made = made.answered(_ask(made, answers))
    made.save(out)
    request = PlanRequest(catalog=catalog, mapping=out)
    if not as_json:
        _tell(made, out)
    with plan_catalog(request, _enough(settings)) as plan:
        _tell_plan(plan, made, out, settings, catalog, as_json=as_json)
        raise typer.Exit(1 if plan.figures.refusals else 0)


def _show_preset(preset: Preset | None) -> None:
    """Print what a preset stands for; raises MappingError when none is named."""
    if preset is None:
        raise _no_table()
    for line in suggest.preset_text(preset).splitlines():
        screen.say_whole(line)


def _no_table() -> MappingError:
    return MappingError(
        "incarts init needs a table to look at, which it reads twice.",
        fix="Name a file, like incarts init products.csv; or a preset to see what it stands for, "
        "with --preset shopify --show.",
    )


def _check_place(
    out: Path, catalog: str, settings: Settings, *, overwrite: bool, asks: bool
) -> None:
    """Make sure that the mapping may be written there.

    Raises:
        RefusedError: it is a file that is read.
        MappingError: there is one, and nobody said that it may go; or there is no such folder.
    """
    from incarts_pipeline.plan import NamedPath, check_apart, paths_read

    check_apart([NamedPath(what="mapping", path=str(out))], paths_read(settings, catalog=catalog))
    if not out.parent.is_dir():
        raise MappingError(
            f"There is no folder {out.parent}, so {out} can't be written.",
            fix="Make it, or choose another place.",
        )
    if not out.exists() or overwrite:
        return
    if asks and screen.asks(f"{out} exists. Write over it?"):
        return
    raise MappingError(
        f"{out} exists, and stays as it is.",
        fix=OptionText(
            *("Name another file with ", Option(name="out"), ", or say "),
            *(Option(name="overwrite"), "."),
        ),
    )


def _choose(undecided: UndecidedError) -> str:
    """Ask which of several tables of a file is meant."""
    screen.say_lines(undecided.message, err=True)
    return screen.choose("Which one has the products?", undecided.choices)


def _ask(made: Suggestion, given: Answers) -> Answers:
    """Ask what the table can't tell: each question says what it means for later."""
    return suggest.Answers(
        link_set=None if given.link_set else _ask_link_set(made),
        unique_key=() if given.unique_key else _ask_key(made),
        page=None if given.page else _ask_page(made),
    )


def _ask_link_set(made: Suggestion) -> str:
    found = made.finding("link_set")
    guess = str(found.value) if found is not None else "products"
    question = "What are these links called? Renaming them later makes every link anew"
    name: str = screen.prompt(question, default=guess)
    return name.strip()


def _ask_key(made: Suggestion) -> tuple[str, ...]:
    """Ask for the key where several columns fit, or something speaks against the guess."""
    key = made.finding("unique_key")
    if key is None or not (key.others or key.doubt):
        return ()
    screen.say(f"What is a row, today and next year? {key.doubt or ''}".strip(), err=True)
    listed = [key.value, *key.others]
    for number, one in enumerate(listed, 1):
        screen.say(f"  {number}  {suggest.shown(one)}", err=True)
    said: str = screen.prompt("A number, or columns' names with commas", default="1")
    if said.strip().isdecimal() and 1 <= int(said) <= len(listed):
        chosen = listed[int(said) - 1]
        return tuple(chosen) if isinstance(chosen, list) else ()
    return tuple(part.strip() for part in said.split(","))


def _ask_page(made: Suggestion) -> str | None:
    """Ask for the shop's address where the table doesn't have it."""
    page = made.finding("link.custom_url")
    if page is None or not isinstance(page.value, str) or not page.doubt:
        return None
    shop = made.preset is not None and made.preset.needs_shop
    question = (
        "Your shop's address, like https://www.your-shop.com"
        if shop
        else "A product's page, with columns in braces, like https://www.your-shop.com/p/{sku}"
    )
    guess = "" if suggest.PLACEHOLDER in page.value else page.value
    screen.say(f"Where do the links go? {page.value} {page.doubt}", err=True)
    said: str = screen.prompt(question, default=guess, show_default=bool(guess))
    return None if said.strip() in ("", guess) else said.strip()


def _enough(settings: Settings) -> Settings:
    """Return settings that a plan can be made with before any is given."""
    if settings.project_id is not None:
        return settings
    return settings.model_copy(update={"project_id": _NO_PROJECT})


def _tell(made: Suggestion, out: Path) -> None:
    """Print what was found."""
    columns = ("key", "guess", "why")
    rows = [
        (one.field.removeprefix("link."), suggest.flow(one.value), one.why)
        for one in made.findings
        if not one.is_offer
    ]
    screen.tell_table(f"{out}, for {made.title}", columns, rows)
    for one in made.doubts:
        screen.say(("look at", "yellow"), f" {one.field}: {one.doubt}")


def _tell_plan(
    plan: Plan, made: Suggestion, out: Path, settings: Settings, catalog: str, *, as_json: bool
) -> None:
    from incarts_pipeline.cli import show
    from incarts_pipeline.settings import TRY_IT

    if as_json:
        screen.tell_json(_answer(made, out, plan))
        return
    show.tell_plan(plan, as_json=False)
    if settings.project_id is None:
        screen.say("planned without INCARTS_PROJECT_ID, as if no link had been made before")
        screen.say(TRY_IT)
    given = shlex.join([catalog, "--mapping", str(out)])
    if plan.figures.to_make:
        screen.say(f"read {out}, then make a few links to look at:")
        screen.say_whole(f"  incarts apply {given} -o links.parquet --limit 20")
    else:
        screen.say(f"no link would be made as it stands: correct {out}, then:")
        screen.say_whole(f"  incarts plan {given}")


def _answer(made: Suggestion, out: Path, plan: Plan) -> InitAnswer:
    from incarts_pipeline.cli import show

    return InitAnswer(
        mapping=str(out),
        platform=made.preset.name if made.preset is not None else None,
        rows=made.rows,
        findings=[
            Guess(
                field=one.field,
                value=one.value,
                why=one.why,
                others=list(one.others),
                doubt=one.doubt,
                is_offer=one.is_offer,
            )
            for one in made.findings
        ],
        plan=show.plan_answer(plan),
    )
