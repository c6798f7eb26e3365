"""Plan over a frame: what would be done, to look at, keep, and carry out."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq

from incarts_pipeline.clock import Clock
from incarts_pipeline.dataframes.snapshot import KeptFrame
from incarts_pipeline.display import (
    COUNTED_FROM_0,
    REASONS,
    changed_lines,
    figures_lines,
    plan_card,
    problem_groups,
)
from incarts_pipeline.display.reporting import write_plan_page
from incarts_pipeline.errors import CatalogError, raising_ours
from incarts_pipeline.file_writer import new_file
from incarts_pipeline.outgoing import shown
from incarts_pipeline.plan import (
    SUFFIX,
    Count,
    NamedPath,
    Plan,
    PlanFigures,
    PlanRequest,
    Refusal,
    check_apart,
    plan_path,
    replan,
    save_plan,
)
from incarts_pipeline.settings import Settings
from incarts_pipeline.text import OptionText, Surface, counted, each_part, joined, spelled

_SHOWN_EXAMPLES = 3


class LinksPlan:
    """A plan over a frame. Close it (or use `with`) to drop its workspace; else Python does.

    Attributes:
        plan: the plan itself.
        settings: the settings that it was made with, and is carried out with.
        output: where links.parquet goes unless said otherwise.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        request: PlanRequest,
        settings: Settings,
        kept: KeptFrame,
        output: str,
    ) -> None:
        self.plan = plan
        self.settings = settings
        self.output = output
        self.kept = kept
        self._request = request
        self._carried_out = False
        self._close = weakref.finalize(self, plan.close)

    @property
    def figures(self) -> PlanFigures:
        """What would be done, in numbers."""
        return self.plan.figures

    @property
    def digest(self) -> str:
        """What `approve=` takes to let exactly this plan through."""
        return self.plan.figures.digest

    @property
    def refusals(self) -> Sequence[Refusal]:
        """The guards that stand against it; none when it may be carried out."""
        return self.plan.figures.refusals

    @raising_ours
    def save(self, path: str | Path, *, sign: str | Path | None = None) -> None:
        """Write a plan file that `incarts apply` takes; a frame goes into a Parquet file beside it.

        Args:
            path: the plan file.
            sign: the file of an ed25519 key that the plan is signed with; None for no signature.

        Raises:
            MappingError: the mapping is a Mapping, not what one is written as.
            RefusedError: a file is one that the plan was made from, or of another kind.
            PublishError: the plan file can't be written.
        """
        file = Path(path)
        catalog = file.with_name(f"{file.name.removesuffix(SUFFIX)}.catalog.parquet")
        copy = NamedPath(what="frame's copy", path=str(catalog), begins=b"PAR1")
        check_apart([plan_path(file), copy], self.plan.read)
        copied = dataclasses.replace(self._request, catalog=catalog, catalog_format="parquet")
        save_plan(self.plan, copied, self.settings, file, sign=sign)
        with new_file(catalog, private=True) as rows:
            pq.write_table(self.kept.arrow(), rows)

    @raising_ours
    def report(self, path: str | Path) -> Path:
        """Write the plan as one page for whoever approves it: every row, old beside new.

        Raises:
            CatalogError: the plan is closed, so its rows are gone.
            RefusedError: there is a file that the plan was made from, or that is no page.
            PublishError: the page can't be written.
        """
        self._check_open()
        return write_plan_page(self.plan, path)

    def _check_open(self) -> None:
        if not self._close.alive:
            raise CatalogError("The plan is closed, so its rows are gone.", fix="Plan again.")

    def renew(self) -> None:
        """Decide anew before the plan is carried out again: the ledger has moved since.

        Raises:
            CatalogError: the plan is closed, so its rows are gone.
        """
        self._check_open()
        if self._carried_out:
            self.plan = replan(self.plan, self.plan.ledger.clock(Clock()).now())
        self._carried_out = True

    def close(self) -> None:
        """Drop the plan's workspace."""
        self._close()

    def __enter__(self) -> LinksPlan:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        lines = [*self._head(), *changed_lines(self.figures), *self._problems()]
        return "\n".join([*map(shown, lines), *_notes(self.figures)])

    def _repr_html_(self) -> str:
        return plan_card(self.plan, with_examples=self._close.alive)

    def _head(self) -> list[str]:
        figures, several = self.figures, len(self.plan.options.link_sets) > 1
        sets = ", ".join(self.plan.options.link_sets)
        lines = [f"LinksPlan {figures.digest}: {counted(figures.rows, 'row')} of {sets}"]
        for count in figures.counts:
            where = f"{count.link_set}  " if several else ""
            told = f"{where}{count.action.value:<10} {REASONS[count.reason].meaning}"
            lines.append(f"  {count.rows:>9,}  {told}{self._examples(count)}")
        return lines

    def _problems(self) -> list[str]:
        """Return the broken rules, which are read from the plan's workspace."""
        groups = problem_groups(self.plan) if self._close.alive else []
        return [COUNTED_FROM_0, *map(str, groups)] if groups else []

    def _examples(self, count: Count) -> str:
        key = (count.link_set, count.action, count.reason)
        changed = {(one.link_set, one.action, one.reason) for one in self.figures.changed}
        if not self._close.alive or key in changed:
            return ""
        found = self.plan.examples(count.action, count.reason, count.link_set, n=_SHOWN_EXAMPLES)
        return f"  e.g. {'; '.join(map(str, found))}" if found else ""


def _notes(figures: PlanFigures) -> list[str]:
    lines = [shown(line) for line in figures_lines(figures)]
    told = [OptionText("warning: ", warning) for warning in figures.warnings]
    told += [joined(" ", ["REFUSED:", one.message, one.fix]) for one in figures.refusals]
    lines += [spelled(each_part(text, shown), Surface.PYTHON) for text in told]
    if figures.refusals and all(refusal.approvable for refusal in figures.refusals):
        lines.append(f'Let exactly this plan through with approve="{figures.digest}".')
    return lines
