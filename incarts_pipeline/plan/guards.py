"""Guards: what stops a plan before its first call. Pure functions of the plan's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from incarts_pipeline.kinds import Kind
from incarts_pipeline.models import Intent
from incarts_pipeline.text import LINE_BREAK, Option, OptionText, joined

SHARE_GUARD = "mass_change"
GROWTH_GUARD = "mass_growth"
OVER_GUARD = "too_many_new"
EMPTY_GUARD = "empty_catalog"
SCOPE_GUARD = "missing_scope"

_REFUSE_OVER = Option(name="refuse_over")

_SHARE = 0.30
_SHARE_FROM = 20  # links; below it a share says little
_GROWTH = 5  # new links for each that is there
_GROWTH_FROM = 100  # links that a set was complete with; what is begun grows as it must
_GROWTH_NEW = 1_000  # links; fewer are made and looked at by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFigures:
    """What a plan would do to one link set; all are numbers of links or rows.

    `was_complete` says that the set once had all links of its catalog.
    """

    link_set: str
    rows: int
    live: int  # links in use that were not already missing
    create: int
    replace: int
    newly_missing: int
    was_complete: bool = False
    changes: Sequence[str] = ()  # in lines: what replaced links have in common, and the first
    missing_examples: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One guard's verdict; `approvable` ones are let through by the plan's digest.

    `extent` is the number that the guard compares, of `link_set` or of the whole plan. `changes`
    are lines on what it stands against, which a plan says beside it anyway.
    """

    guard: str
    message: str
    fix: str
    extent: float
    link_set: str | None = None
    approvable: bool = True
    changes: Sequence[str] = ()

    def is_within(self, others: Sequence[Refusal]) -> bool:
        """Say whether who let the others through has let this one through, too."""
        return any(
            (self.guard, self.link_set) == (other.guard, other.link_set)
            and self.extent <= other.extent
            for other in others
        )

    def told(self) -> OptionText:
        """Return the message with the lines on what changes, for who doesn't see the plan."""
        return _lines(self.message, self.changes)


def refusals(
    sets: Sequence[SetFigures],
    *,
    refuse_over: int | None,
    allow_empty: bool,
    missing_scopes: Sequence[str],
) -> list[Refusal]:
    """Return every guard that stands against the plan."""
    found = [r for figures in sets for r in _of_set(figures, allow_empty=allow_empty)]
    new = sum(figures.create + figures.replace for figures in sets)
    if refuse_over is not None and new > refuse_over:
        found.append(
            Refusal(
                guard=OVER_GUARD,
                message=OptionText(
                    f"{new:,} new links would be made, ", _REFUSE_OVER, f" is {refuse_over:,}."
                ),
                fix=OptionText("Look at the plan; raise ", _REFUSE_OVER, ", or approve it."),
                extent=new,
            )
        )
    if missing_scopes:
        found.append(
            Refusal(
                guard=SCOPE_GUARD,
                message=f"The API key lacks scopes that are needed: {', '.join(missing_scopes)}.",
                fix="Use a key that has them, or correct INCARTS_SCOPES.",
                extent=len(missing_scopes),
                approvable=False,
            )
        )
    return found


def _of_set(figures: SetFigures, *, allow_empty: bool) -> list[Refusal]:
    if figures.rows == 0 and figures.live:
        if allow_empty:
            return []
        return [
            Refusal(
                guard=EMPTY_GUARD,
                message=f"The catalog is empty, but link set {figures.link_set!r} has "
                f"{figures.live:,} links.",
                fix=OptionText(
                    "Check where the catalog comes from; ",
                    Option(name="allow_empty", value=True),
                    " if it is meant.",
                ),
                extent=figures.live,
                link_set=figures.link_set,
                approvable=False,
            )
        ]
    return [*_share(figures), *_growth(figures)]


def _share(figures: SetFigures) -> list[Refusal]:
    """Count what is replaced or gone, whether or not as many new links stand beside it."""
    touched = figures.replace + figures.newly_missing
    if figures.live < _SHARE_FROM or touched <= _SHARE * figures.live:
        return []
    told = (
        f"{touched / figures.live:.0%} of the {figures.live:,} links of {figures.link_set!r} would "
        f"be replaced ({figures.replace:,}) or go missing ({figures.newly_missing:,}); the guard "
        f"is at {_SHARE:.0%}."
    )
    return [
        Refusal(
            guard=SHARE_GUARD,
            message=_lines(told, figures.missing_examples),
            changes=figures.changes,
            fix="If the change is meant, approve this plan.",
            extent=touched / figures.live,
            link_set=figures.link_set,
        )
    ]


def _lines(first: str, others: Sequence[str]) -> OptionText:
    return joined(LINE_BREAK, [first, *(f"  {line}" for line in others)])


def _growth(figures: SetFigures) -> list[Refusal]:
    if not figures.was_complete or figures.live < _GROWTH_FROM:
        return []
    if figures.create < _GROWTH_NEW or figures.create <= _GROWTH * figures.live:
        return []
    return [
        Refusal(
            guard=GROWTH_GUARD,
            message=f"{figures.create:,} new links would be made for {figures.link_set!r}, which "
            f"has {figures.live:,}; the guard is at {_GROWTH} times as many.",
            fix="Check that it is the right catalog and link set, and that its keys are spelled as "
            "before. If so much is new, approve this plan.",
            extent=figures.create / figures.live,
            link_set=figures.link_set,
        )
    ]


def scopes_needed(kind: Kind, calls: Sequence[tuple[str, str, int]]) -> dict[str, int]:
    """Return how many calls need each scope; `calls` are (retailer, intent, number)."""
    needed: dict[str, int] = {}
    for retailer, intent, n in calls:
        for name in kind.scopes(retailer, intent):
            needed[name] = needed.get(name, 0) + n
    return needed


def looks_rekeyed(rows: int, pairs: Sequence[str]) -> OptionText:
    """Return what to know of new rows that are held; `pairs` are the first old and new keys."""
    look = "1 new row looks" if rows == 1 else f"{rows:,} new rows look"
    return OptionText(
        f"{look} re-keyed, with the content of rows that left the catalog: {', '.join(pairs)}"
        f"{', …' if rows > len(pairs) else ''}. ",
        *(Option(name="rekeyed", value="move"), " moves their links over, "),
        *(Option(name="rekeyed", value="new"), " makes new ones; until then they are held."),
    )


def may_exist(rows: int) -> OptionText:
    """Return what to know of rows that were sent, perhaps, since a ledger's backup was made."""
    were = "1 row was" if rows == 1 else f"{rows:,} rows were"
    return OptionText(
        f"{were} sent, perhaps, after the backup of this restored ledger was made: held, and for "
        "`incarts review list` once it is applied (ledger_restored)."
    )


def look_wrong(held: Sequence[tuple[str, int]]) -> OptionText:
    """Return what to know of rows that are held as suspicious; `held` counts them by code."""
    rows = sum(n for _, n in held)
    looks = "1 row is" if rows == 1 else f"{rows:,} rows are"
    codes = [code for code, _ in held]
    return OptionText(
        f"{looks} held as suspicious ({', '.join(f'{code} {n:,}' for code, n in held)}). Correct "
        "what is wrong; ",
        Option(name="accept", value=codes, stand_in=codes[0] if len(codes) == 1 else "CODE"),
        " lets through what is meant.",
    )


def warnings(calls: Sequence[tuple[str, str, int]]) -> list[str]:
    """Return what to know before sending these kinds of links."""
    soon = sum(n for _, intent, n in calls if intent == Intent.PRODUCT_DETAIL)
    if not soon:
        return []
    return [f"{soon:,} product_detail links: Incarts lists that intent as coming soon."]
