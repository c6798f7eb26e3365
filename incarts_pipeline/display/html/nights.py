"""Nights: links made night by night, and what is left of them, with what is to be expected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from incarts_pipeline.display.html.chart import Series, by_day
from incarts_pipeline.display.html.html import Element, el
from incarts_pipeline.display.summary import left_lines
from incarts_pipeline.ledger import Night
from incarts_pipeline.pipeline import RunResult

_MOST = 400  # days before this one, and after it: beyond, a day would be narrower than a line


def nights_section(run: RunResult, nights: Sequence[Night]) -> Iterator[Element]:
    """Show the nights so far and those to come, when some left links to later ones.

    Args:
        run: the last one.
        nights: oldest first, the last one that of the run.
    """
    if not nights or not any(night.remaining for night in nights):
        return
    yield el("h2", "Night by night")
    # What the curves show, for those who don't see them.
    yield el("p", *(f"{line[0].upper()}{line[1:]}. " for line in left_lines(run)))
    known = _each_day(nights)
    per_night = run.figures.to_make if run.figures.nights else 0
    ahead = _ahead(nights[-1].remaining, per_night)
    blank = [None] * len(known)
    made = [Series(name="made", tone="ic-good", shape="bars", values=[n.made for n in known])]
    left = [Series(name="left", tone="ic-info", shape="area", values=[n.remaining for n in known])]
    if ahead:
        before = (nights[-1].remaining, *ahead)
        rates = [was - now for was, now in zip(before, ahead, strict=False)]
        made.append(Series(name="expected", tone="ic-calm", shape="bars", values=[*blank, *rates]))
        left.append(Series(name="expected", tone="ic-calm", shape="line", values=[*blank, *ahead]))
    yield el(
        "div",
        by_day("Links made per night", known[0].day, made),
        by_day("Links left to make", known[0].day, left),
        class_="ic-plots",
    )


def _each_day(nights: Sequence[Night]) -> list[Night]:
    """Return a value for each of the last days: where no run was, nothing was made."""
    by_date, found = {night.day: night for night in nights}, list[Night]()
    last, day = nights[-1].day, max(nights[0].day, nights[-1].day - dt.timedelta(days=_MOST))
    while day <= last:
        left = found[-1].remaining if found else 0
        found.append(by_date.get(day, Night(day=day, made=0, remaining=left)))
        day += dt.timedelta(days=1)
    return found


def _ahead(left: int, per_night: int) -> list[int]:
    """Return what is left after each night to come, if each makes as many."""
    if not per_night:
        return []
    nights = min(_MOST, -(-left // per_night))
    return [max(0, left - per_night * n) for n in range(1, nights + 1)]
