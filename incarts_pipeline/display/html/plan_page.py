"""Page of a plan: what whoever approves it has to see, with every row to be searched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import chain

from incarts_pipeline.display.html.html import Child, Element, el, page, said
from incarts_pipeline.display.html.parts import badge, note, table
from incarts_pipeline.display.html.plan_card import changes_of, plan_facts, what_happens
from incarts_pipeline.display.remedies import REASONS
from incarts_pipeline.plan import Plan, PlannedRow
from incarts_pipeline.text import Surface, counted

MOST_ROWS = 20_000  # that a browser shows and searches without a pause

# It hides the rows that don't have all words that are searched for. Without it, or before it runs,
# the page is whole, and the browser's own search finds every row.
_SCRIPT = """
(() => {
  const rows = [...document.querySelectorAll('.ic-rows tbody tr')];
  const place = document.querySelector('.ic-search');
  if (!rows.length || !place) return;
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const input = document.createElement('input');
  input.type = 'search';
  input.placeholder = 'Search in all rows: a key, a name, a value';
  input.setAttribute('aria-label', 'Search in all rows');
  const told = document.createElement('small');
  told.setAttribute('role', 'status');
  const search = () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let found = 0;
    rows.forEach((row, at) => {
      const fits = words.every((word) => texts[at].includes(word));
      if (row.hidden === fits) row.hidden = !fits;
      found += fits;
    });
    told.textContent = words.length
      ? found.toLocaleString('en') + ' of ' + rows.length.toLocaleString('en') + ' rows' : '';
  };
  let waiting;
  input.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, rows.length > 2000 ? 200 : 0);
  });
  place.replaceChildren(input, told);
})();
"""


def plan_page(plan: Plan, at: dt.datetime, *, most: int = MOST_ROWS) -> str:
    """Return a plan as one self-contained page: its card, and each row with old beside new.

    Args:
        plan: open.
        at: when it was made.
        most: rows on the page; of more, replaced, rejected and held ones come first, unchanged ones
            last, and it says how many are left out.
    """
    figures, options = plan.figures, plan.options
    sets = ", ".join(options.link_sets)
    content = el(
        "main",
        el("h1", "Plan for ", said(sets)),
        el("p", *_origin(plan, at), class_="ic-muted"),
        plan_facts(figures),
        *what_happens(plan, Surface.SHELL, with_examples=True),
        el("h2", "Every row"),
        *_rows(plan, most),
        el("footer", "incarts_pipeline · this page loads nothing"),
        class_="incarts ic-doc",
    )
    return page(f"Plan for {sets}", content, _SCRIPT)


def _origin(plan: Plan, at: dt.datetime) -> Iterator[Child]:
    yield f"{at:%Y-%m-%d %H:%M %Z} · plan "
    yield el("code", plan.figures.digest)
    yield " · project "
    yield said(plan.options.project_id)
    if plan.options.base_url:
        yield " at "
        yield said(plan.options.base_url)


def _rows(plan: Plan, most: int) -> Iterator[Element]:
    total = plan.figures.rows
    if left_out := max(0, total - most):
        yield note(
            "ic-warn",
            el("b", f"{counted(left_out, 'row')} of {total:,} are not on this page. "),
            "Rows whose link is replaced come first, then those that get none, then new ones, and "
            "at last those that stay as they are. The numbers and patterns above are of all rows.",
        )
    yield el("p", "Rows are counted from 0.", class_="ic-search ic-muted")
    several = len(plan.options.link_sets) > 1
    heads = ("action", "row", *(["link set"] if several else []), "key and name", "what changes")
    rows = (_row(row, several=several) for row in plan.rows(most))
    yield el("div", table(heads, rows, label="Every row"), class_="ic-rows")


def _row(row: PlannedRow, *, several: bool) -> list[Child]:
    where = [said(row.link_set)] if several else []
    name = el("small", said(row.name)) if row.name else None
    key = el("div", said(row.keys or "no key"), el("p", name) if name else None)
    wrong = (el("p", said(text)) for text in row.wrong)
    changes = [changes_of(row.differences, row.more)] if row.differences else []
    told = el("div", el("small", REASONS[row.reason].meaning), *chain(changes, wrong))
    return [badge(row.action), row.catalog_row, *where, key, told]
