"""Card of a plan: what would happen, whether a guard refuses it, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from incarts_pipeline.display.html.html import Child, Element, el, fragment, said
from incarts_pipeline.display.html.parts import (
    badge,
    bar,
    facts,
    note,
    number,
    table,
    warned,
)
from incarts_pipeline.display.remedies import REASONS
from incarts_pipeline.models import Action
from incarts_pipeline.plan import Count, Example, Plan, PlanFigures
from incarts_pipeline.text import Surface, counted, duration, spelled

EXAMPLES = 3
_ORDER = list(Action)
_QUIET = (Action.UNCHANGED, Action.SKIP)  # their examples say nothing new


def plan_card(plan: Plan, *, with_examples: bool = True) -> str:
    """Return a plan as HTML: counts as bars, guards, scopes, time, three example rows each.

    Examples are read from the plan's workspace: without one, as after `close`, leave them out.

    Args:
        plan: open, when it is to show examples.
        with_examples: whether to read three rows of each count.
    """
    counts = in_order(plan.figures)
    examples = {
        count: plan.examples(count.action, count.reason, count.link_set, n=EXAMPLES)
        for count in counts
        if with_examples and count.action not in _QUIET
    }
    figures = plan.figures
    return fragment(
        el(
            "section",
            el(
                "p",
                el("span", "Plan ", el("code", figures.digest)),
                el("small", said(", ".join(plan.options.link_sets))),
                class_="ic-title",
            ),
            plan_facts(figures),
            verdict(figures, Surface.PYTHON),
            _counts_table(counts, examples),
            *needs(figures),
            class_="incarts ic-card",
            aria_label="Plan",
        )
    )


def in_order(figures: PlanFigures) -> list[Count]:
    """Return a plan's counts in the order of the actions, the larger ones first."""
    return sorted(figures.counts, key=lambda c: (_ORDER.index(c.action), -c.rows, c.link_set))


def plan_facts(figures: PlanFigures) -> Element:
    """Show a plan's few large numbers."""
    shown = [
        ("catalog rows", number(figures.rows)),
        ("links to make", number(figures.calls)),
        ("expected time", _time(figures)),
    ]
    # Not among the links to make: these were sent before.
    if figures.doubts:
        shown.append(("in doubt, settled first", number(figures.doubts)))
    return facts(*shown)


def _time(figures: PlanFigures) -> str:
    if not figures.calls and not figures.doubts:
        return "none"
    if figures.seconds is None:
        return "not known yet"
    return f"{'' if figures.seconds < 1 else 'about '}{duration(figures.seconds)}"


def verdict(figures: PlanFigures, surface: Surface = Surface.SHELL) -> Element:
    """Show what the guards say in one way in's words, and how to let a refused plan through."""
    if not figures.refusals:
        return note("ic-good", el("b", "No guard stands in the way."))
    lines: list[Child] = [el("b", "Refused: nothing is sent.")]
    for refusal in figures.refusals:
        lines += [el("p", said(spelled(text, surface))) for text in (refusal.message, refusal.fix)]
    # One that can't be approved stays, whatever is approved beside it.
    if all(refusal.approvable for refusal in figures.refusals):
        digest = figures.digest
        lines.append(
            el(
                "p",
                "To let exactly this plan through: ",
                el("code", f'write_links(plan, approve="{digest}")'),
                " or ",
                el("code", f"--approve {digest}"),
            )
        )
    return note("ic-bad", *lines)


def _counts_table(counts: Sequence[Count], examples: dict[Count, list[Example]]) -> Element | None:
    if not counts:
        return note("ic-calm", "The catalog has no rows.")
    # All bars to one scale.
    most = max(count.rows for count in counts)
    # With one link set its name is above the table already.
    several = len({count.link_set for count in counts}) > 1
    rows = (
        (
            badge(count.action),
            number(count.rows),
            bar(count.rows, most, count.action),
            _why(count, examples.get(count, []), several=several),
        )
        for count in counts
    )
    return table(
        ("action", "rows", "", "why, and examples (rows counted from 0)"),
        rows,
        label="Rows by action",
    )


def _why(count: Count, examples: Sequence[Example], *, several: bool) -> Element:
    meaning = REASONS[count.reason].meaning
    where = el("small", " in ", said(count.link_set)) if several else None
    if not examples:
        return el("div", meaning, where)
    items = (el("li", *_example(example)) for example in examples)
    return el("div", meaning, where, el("ul", *items, class_="ic-examples"))


def _example(example: Example) -> Iterator[Child]:
    yield f"row {example.catalog_row} · "
    yield said(example.keys or "no key")
    if example.name:
        yield " · "
        yield said(example.name)
    if example.fields:
        yield f" · changed: {', '.join(example.fields)}"
    elif example.problem:
        yield " · "
        yield said(example.problem)


def needs(figures: PlanFigures) -> Iterator[Element]:
    """Show the scopes that a plan needs, links without a row, and warnings."""
    if figures.scopes:
        # Only when INCARTS_SCOPES says what the key may do; else nobody knows before the first 403.
        lacking = set(figures.missing_scopes)
        pills = (
            el("span", f"{scope} × {n:,}", class_="ic-pill", aria_label=scope)
            for scope, n in figures.scopes.items()
            if scope not in lacking
        )
        lacked = (
            el("span", f"{scope}: lacking", class_="ic-pill ic-badge ic-bad")
            for scope in figures.missing_scopes
        )
        yield el("p", el("small", "scopes needed "), *pills, *lacked)
    for name, n in figures.missing.items():
        if n:
            yield note(
                "ic-calm",
                counted(n, "link"),
                " of ",
                said(name),
                " without a row in the catalog: kept, and listed in the missing table.",
            )
    yield from warned(figures.warnings)
