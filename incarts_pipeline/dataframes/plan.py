"""Plan over a frame: what would be done, to look at, keep, and carry out."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq

from incarts_pipeline.clock import Clock
from incarts_pipeline.dataframes.result import LinksResult
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
from incarts_pipeline.errors import CatalogError, raising_ours, told_in
from incarts_pipeline.file_writer import new_file
from incarts_pipeline.outgoing import shown
from incarts_pipeline.pipeline import RunResult
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
from incarts_pipeline.sync import run_blocking
from incarts_pipeline.text import OptionText, Surface, counted, each_part, joined, spelled
from incarts_pipeline.workers import EnqueueResult, enqueue_plan, publish_plan
from incarts_pipeline.write import RunMetrics, WriteOptions

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
            self._plan_anew()
        self._carried_out = True

    def _plan_anew(self) -> None:
        """Decide by the ledger as it is now."""
        self.plan = replan(self.plan, self.plan.ledger.clock(Clock()).now())

    def enqueue(
        self,
        output: str | Path | None = None,
        *,
        approve: str | None = None,
        limit: int | None = None,
    ) -> EnqueueResult:
        """Record what the plan calls for in the ledger, for `incarts work` to carry out.

        Nothing is sent, and no API key is needed; `publish` writes the table afterwards.

        Args:
            output: where it is to be published, as in `write_links`: what is there may know of
                links that the ledger has lost.
            approve: the digest of a refused plan, which lets exactly that one through.
            limit: leave at most so many links to workers, by priority; by default the plan's.

        Raises:
            RefusedError: a guard stands against it, or the output isn't this ledger's.
            LedgerError: it can't be recorded; what was recorded before is enqueued.
        """
        self._check_open()
        with told_in(Surface.PYTHON):
            if self._carried_out:
                self._plan_anew()
            self._carried_out = True
            options = WriteOptions(
                approved=approve, limit=self.figures.limit if limit is None else limit
            )
            return run_blocking(
                lambda stop: enqueue_plan(
                    self.plan, self.settings, output or self.output, options=options, stop=stop
                )
            )

    def publish(
        self, output: str | Path | None = None, *, approve: str | None = None
    ) -> LinksResult:
        """Write links.parquet from what the ledger says now of each row. Sends nothing.

        Args:
            output: where links.parquet goes, as in `write_links`.
            approve: the digest of a refused plan, which lets exactly that one through.

        Raises:
            RefusedError: a guard stands against it, or the output isn't this ledger's.
            PublishError: the table can't be written; the old one is untouched.
        """
        self._check_open()
        self._carried_out = True
        with told_in(Surface.PYTHON):
            self._plan_anew()
            run = run_blocking(
                lambda _: publish_plan(
                    self.plan, self.settings, output or self.output, approved=approve
                )
            )
            return self.result(run, RunMetrics())

    def result(self, run: RunResult, metrics: RunMetrics) -> LinksResult:
        """Return how a run over the plan came out, beside the caller's rows."""
        return LinksResult(self.kept, run, metrics)

    def _take(self, plan: Plan) -> None:
        """Go on with another plan, and drop the one that was there."""
        self._close()
        self.plan, self._close = plan, weakref.finalize(self, plan.close)

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
