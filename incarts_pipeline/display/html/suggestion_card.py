"""Card of a suggested mapping: what each key was guessed from, and what to look at first."""

from __future__ import annotations

from collections.abc import Iterator

from incarts_pipeline.display.html.html import Child, Element, el, fragment, said
from incarts_pipeline.display.html.parts import facts, note, number, table
from incarts_pipeline.suggest import Finding, Suggestion, flow, shown
from incarts_pipeline.text import Surface, counted, spelled


def suggestion_card(suggestion: Suggestion) -> str:
    """Return a suggested mapping as HTML: each guess, its reason, what else it could be.

    Args:
        suggestion: of any table.
    """
    return fragment(
        el(
            "section",
            el(
                "p",
                el("span", "Mapping of ", said(suggestion.title)),
                _platform(suggestion),
                class_="ic-title",
            ),
            facts(("rows", number(suggestion.rows)), ("columns", number(len(suggestion.schema)))),
            *_doubts(suggestion),
            table(
                ("key", "guess", "why, and what else it could be"),
                (_row(one) for one in suggestion.findings if not one.is_offer),
                label="Guesses",
            ),
            *_offers(suggestion),
            class_="incarts ic-card",
            aria_label="Suggested mapping",
        )
    )


def _platform(suggestion: Suggestion) -> Element | None:
    return el("small", suggestion.preset.title) if suggestion.preset is not None else None


def _doubts(suggestion: Suggestion) -> Iterator[Element]:
    doubts = suggestion.doubts
    if not doubts:
        yield note("ic-good", el("b", "Nothing speaks against these guesses."), " Read them still.")
        return
    lines: list[Child] = [el("b", f"{counted(len(doubts), 'thing')} to look at first.")]
    for one in doubts:
        told = spelled(one.doubt or "", Surface.PYTHON)
        lines.append(el("p", el("code", one.field), " ", said(told)))
    yield note("ic-warn", *lines)


def _row(one: Finding) -> tuple[Child, ...]:
    why: list[Child] = [said(one.why)]
    if one.others:
        others = f" It could also be {', or '.join(map(shown, one.others))}."
        why.append(el("small", said(others)))
    guess = el("code", said(flow(one.value)), class_="ic-guess")
    return el("code", one.field.removeprefix("link.")), guess, el("div", *why)


def _offers(suggestion: Suggestion) -> Iterator[Element]:
    for one in suggestion.findings:
        if one.is_offer:
            guess = el("code", said(f"{one.field}: {flow(one.value)}"))
            yield el("p", el("small", said(one.why), " ", guess))
