"""The curve of a report: links made night by night, and what is left."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from incarts_pipeline.display import last_night, left_lines, nights_lines
from incarts_pipeline.display.html.html import el, render
from incarts_pipeline.display.html.nights import nights_section
from incarts_pipeline.ledger import Night
from incarts_pipeline.pipeline import RunResult
from tests.support.displayed import World, result
from tests.support.parsed_html import Seen, parsed

FIRST = dt.date(2026, 2, 27)


def held(made: World, *, calls: int, limit: int | None, left: int) -> RunResult:
    """Return a run that was held to so many of its calls, and left some."""
    figures = dataclasses.replace(made.plan.figures, calls=calls, limit=limit)
    came = result("x", {})
    written = dataclasses.replace(came.written, remaining=left)
    return dataclasses.replace(came, figures=figures, written=written)


def shown(run: RunResult, nights: list[Night]) -> tuple[str, Seen]:
    """Return the section as HTML, and as it is read."""
    page = render(el("main", *nights_section(run, nights)))
    return page, parsed(page)


def test_curve(made: World) -> None:
    """Nights so far and to come, day by day, with a title each, and the same in words."""
    nights = [
        Night(day=FIRST, made=40, remaining=160),
        Night(day=FIRST + dt.timedelta(days=2), made=40, remaining=120),
    ]
    page, seen = shown(held(made, calls=160, limit=40, left=120), nights)
    last = (dt.datetime.now().astimezone().date() + dt.timedelta(days=3)).isoformat()
    assert f"120 links left to make: 3 more nights of 40, the last on {last}, or" in seen.text
    assert "<title>Links made per night</title>" in page
    assert "<title>Links left to make</title>" in page
    assert page.count('role="img"') == 2
    # Two nights that were, none on the day between, and three to come.
    assert page.count("ic-fill ic-good") - 1 == 2, "and one in the legend"
    assert page.count("ic-fill ic-calm") - 1 == 3
    for day in ("27 Feb", "28 Feb", "01 Mar", "02 Mar", "03 Mar", "04 Mar"):
        assert day in seen.text


def test_no_curve_where_one_night_is_enough(made: World) -> None:
    """A set that was never left unfinished has no such section."""
    done = [Night(day=FIRST, made=40, remaining=0)]
    assert shown(held(made, calls=40, limit=None, left=0), done)[1].text == ""
    assert shown(held(made, calls=40, limit=None, left=0), [])[1].text == ""


def test_last_night_of_many(made: World) -> None:
    """The night that makes the rest shows how it came to that; nothing is foretold any more."""
    nights = [
        Night(day=FIRST, made=40, remaining=40),
        Night(day=FIRST + dt.timedelta(days=1), made=40, remaining=0),
    ]
    page, seen = shown(held(made, calls=40, limit=None, left=0), nights)
    assert "Night by night" in seen.text
    assert "ic-calm" not in page
    assert "left to make:" not in seen.text


@pytest.mark.parametrize("limit", [1, 7])
def test_curve_of_years_stays_small(made: World, limit: int) -> None:
    """Some 800 days at most, whatever there is to make."""
    began = FIRST - dt.timedelta(days=3_000)
    nights = [
        Night(day=began, made=1, remaining=9),
        Night(day=FIRST, made=1, remaining=470_000_000),
    ]
    page, _ = shown(held(made, calls=470_000_001, limit=limit, left=470_000_000), nights)
    assert len(page) < 200_000


def test_words_where_no_calendar_reaches(made: World) -> None:
    """470 million nights have no last day; a run without limit foretells none."""
    assert last_night(470_000_000) is None
    run = held(made, calls=470_000_001, limit=1, left=470_000_000)
    assert left_lines(run) == [
        "470,000,000 links left to make: 470,000,000 more nights of 1, or a run that nothing holds"
    ]
    assert nights_lines(run.figures) == [
        "one such run a night makes all in 470,000,001 nights; a run that nothing holds makes all "
        "of them"
    ]
    unheld = held(made, calls=10, limit=None, left=4)
    assert left_lines(unheld) == ["4 links left to make"]
    assert nights_lines(unheld.figures) == []
    none = held(made, calls=10, limit=0, left=10)
    assert left_lines(none) == ["10 links left to make"]
