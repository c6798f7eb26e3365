"""Card of a plan: what would happen, whether a guard refuses it, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from incarts_pipeline.differences import ARROW, Difference, told
from incarts_pipeline.display.html.html import Child, Element, el, fragment, said
from incarts_pipeline.display.html.parts import (
    badge,
    bar,
    facts,
    note,
    number,
    table,
    versioned,
    warned,
)
from incarts_pipeline.display.remedies import REASONS
from incarts_pipeline.display.summary import (
    ProblemGroup,
    calls_to_make,
    nights_lines,
    problem_groups,
)
from incarts_pipeline.models import Action, Severity
from incarts_pipeline.outgoing import visible
from incarts_pipeline.plan import ChangedRows, Count, Example, Plan, PlanFigures
from incarts_pipeline.text import Surface, counted, duration, spelled

EXAMPLES = 3
_PROBLEMS = 20  # kinds
_ORDER = list(Action)
_QUIET = (Action.UNCHANGED, Action.SKIP)  # their examples say nothing new


def plan_card(plan: Plan, *, with_examples: bool = True) -> str:
    """Return a plan as HTML: counts as bars, guards, broken rules, scopes, time, example rows.

    Broken rules and examples are read from the plan's workspace: without one, as after `close`,
    leave them out. What changed is there all the same.

    Args:
        plan: open, when it is to show examples.
        with_examples: whether to read broken rules, and three rows of each count.
    """
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
            *what_happens(plan, Surface.PYTHON, with_examples=with_examples),
            class_="incarts ic-card",
            aria_label="Plan",
        )
    )


def what_happens(plan: Plan, surface: Surface, *, with_examples: bool) -> Iterator[Element]:
    """Show the verdict, broken rules, rows by action with examples, and what a plan needs."""
    figures = plan.figures
    counts = in_order(figures)
    examples = {
        count: plan.examples(count.action, count.reason, count.link_set, n=EXAMPLES)
        for count in counts
        if with_examples and count.action not in _QUIET and _changed(figures, count) is None
    }
    yield verdict(figures, surface)
    if with_examples:
        yield from _problems(problem_groups(plan, most=_PROBLEMS + 1))
    yield _counts_table(figures, counts, examples)
    yield from needs(figures)


def _problems(groups: Sequence[ProblemGroup]) -> Iterator[Element]:
    """Show all broken rules and suspicions, the largest first."""
    if not groups:
        return
    rows = (
        (
            badge(Action.HOLD if group.severity is Severity.SUSPICION else Action.REJECT),
            number(group.rows),
            el(
                "div",
                said(f"{group.field}: "),
                el("code", group.code),
                el(
                    "ul",
                    el(
                        "li",
                        f"row {group.row} · ",
                        said(group.key or "no key"),
                        " · ",
                        said(group.message),
                    ),
                    class_="ic-examples",
                ),
            ),
        )
        for group in groups[:_PROBLEMS]
    )
    heads = ("action", "rows", "what is wrong, and the first row (counted from 0)")
    yield table(heads, rows, label="What is wrong")
    if len(groups) > _PROBLEMS:
        yield el("p", "There are more kinds of problems.", class_="ic-muted")


def in_order(figures: PlanFigures) -> list[Count]:
    """Return a plan's counts in the order of the actions, the larger ones first."""
    return sorted(figures.counts, key=lambda c: (_ORDER.index(c.action), -c.rows, c.link_set))


def plan_facts(figures: PlanFigures) -> Element:
    """Show a plan's few large numbers."""
    shown = [
        ("catalog rows", number(figures.rows)),
        ("links to make", number(figures.to_make) + _of(figures)),
        ("expected time", _time(figures)),
    ]
    if figures.nights is not None and figures.nights > 1:
        shown.append(("nights, if each makes as many", number(figures.nights)))
    # Not among the links to make: these were sent before.
    if figures.doubts:
        shown.append(("in doubt, settled first", number(figures.doubts)))
    return facts(*shown)


def _of(figures: PlanFigures) -> str:
    return f" of {number(figures.calls)}" if figures.to_make < figures.calls else ""


def _time(figures: PlanFigures) -> str:
    if not figures.to_make and not figures.doubts:
        return "none"
    if figures.seconds is None:
        return "not known yet"
    return f"{'' if figures.seconds < 1 else 'about '}{duration(figures.seconds)}"


def verdict(figures: PlanFigures, surface: Surface = Surface.SHELL) -> Element:
    """Show what the guards say in one way in's words, and how to let a refused plan through."""
    if not figures.refusals:
        return _outcome(figures)
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


def _outcome(figures: PlanFigures) -> Element:
    """Show what comes of a plan that no guard stops: not all is well where rows get no link."""
    rows = figures.rows_by_action()
    parts = [
        f"{calls_to_make(figures)} to make",
        *([f"{counted(n, 'row')} can't be linked"] if (n := rows[Action.REJECT]) else []),
        *([counted(n, "row is held", "rows are held")] if (n := rows[Action.HOLD]) else []),
    ]
    well = len(parts) == 1
    told = el("b", f"{'; '.join(parts)}.")
    nights = [f" {line[0].upper()}{line[1:]}." for line in nights_lines(figures)]
    return note("ic-good" if well else "ic-warn", told, " No guard stands in the way.", *nights)


def _changed(figures: PlanFigures, count: Count) -> ChangedRows | None:
    key = (count.link_set, count.action, count.reason)
    found = (one for one in figures.changed if (one.link_set, one.action, one.reason) == key)
    return next(found, None)


def counts_table(figures: PlanFigures) -> Element:
    """Show rows by action and why, with what changed in which pattern."""
    return _counts_table(figures, in_order(figures), {})


def _counts_table(
    figures: PlanFigures, counts: Sequence[Count], examples: Mapping[Count, Sequence[Example]]
) -> Element:
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
            _why(count, _listed(figures, count, examples), several=several),
        )
        for count in counts
    )
    return table(
        ("action", "rows", "", "why, and examples (rows counted from 0)"),
        rows,
        label="Rows by action",
    )


def _listed(
    figures: PlanFigures, count: Count, examples: Mapping[Count, Sequence[Example]]
) -> list[Element]:
    """Return what there is to list below a count: patterns of changes, and the first rows."""
    changed = _changed(figures, count)
    if changed is None:
        return [el("li", *_example(example)) for example in examples.get(count, ())]
    patterns = (el("li", said(line), class_="ic-pattern") for line in changed.patterns())
    return [*patterns, *(el("li", *_example(example)) for example in changed.examples)]


def _why(count: Count, listed: Sequence[Element], *, several: bool) -> Element:
    meaning = REASONS[count.reason].meaning
    where = el("small", " in ", said(count.link_set)) if several else None
    below = el("ul", *listed, class_="ic-examples") if listed else None
    return el("div", meaning, where, below)


def _example(example: Example) -> Iterator[Child]:
    yield f"row {example.catalog_row} · "
    yield said(example.keys or "no key")
    if example.name:
        yield " · "
        yield said(example.name)
    if example.differences:
        shown = example.differences[:EXAMPLES]
        yield changes_of(shown, example.more + len(example.differences) - len(shown))
    elif example.problem:
        yield " · "
        yield said(example.problem)


def changes_of(differences: Sequence[Difference], more: int = 0) -> Element:
    """Show values as they were beside what they will be; `more` are not among them."""
    rows = [
        el(
            "li",
            el("code", one.path),
            " ",
            said(visible(told(one.old)), class_="ic-old"),
            f" {ARROW} ",
            said(visible(told(one.new)), class_="ic-new"),
        )
        for one in differences
    ]
    if more:
        rows.append(el("li", f"and {more:,} more"))
    return el("ul", *rows, class_="ic-changes")


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
    yield from versioned(figures.catalog_version)
    yield from warned(figures.warnings)
