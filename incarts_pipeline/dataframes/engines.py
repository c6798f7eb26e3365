"""Frames of engines: planned where their rows are, carried out from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from incarts_pipeline.catalog import Catalog, cannot_read
from incarts_pipeline.dataframes.arguments import (
    AnyMapping,
    PlanArguments,
    Planning,
    WriteArguments,
    planning_of,
    writing_of,
)
from incarts_pipeline.dataframes.functions import plan_of, write_links
from incarts_pipeline.dataframes.plan import LinksPlan
from incarts_pipeline.dataframes.result import LinksResult
from incarts_pipeline.dataframes.snapshot import FrameKind, KeptFrame
from incarts_pipeline.distributed import Engine, plan_on_engine
from incarts_pipeline.errors import CatalogError, IncartsError, RefusedError
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan import Plan, PlanRequest
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.settings import Settings
from incarts_pipeline.write import RunMetrics


class EngineFrame(Engine, Protocol):
    """A frame whose rows an engine's tasks read."""

    name: str  # for messages, as is the method that keeps its rows as they are
    keeps: str

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""

    def head(self) -> pa.Table:
        """Return some rows."""

    def collected(self) -> pa.Table:
        """Return all rows in the order of their partitions."""

    def framed(self, table: pa.Table) -> Any:
        """Return a table as the engine's kind of frame."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineRows(KeptFrame):
    """An engine's frame, of which nothing is here; `frame` is the `EngineFrame`."""

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.frame.schema.names)

    def catalog(self) -> Catalog:
        """Return it as a catalog that has only its columns here."""
        return Catalog(self.frame.name, self.frame.schema, lambda: self.arrow().to_batches())

    def some(self) -> pa.Table:
        """Return rows to show an example of."""
        return self.frame.head()

    def arrow(self) -> pa.Table:
        """Collect the rows."""
        return self.frame.collected()


class EngineResult(LinksResult):
    """How a run over an engine's frame came out; `links` and `failed` are such frames.

    `table` and what is made of the caller's rows (`to_arrow`, `to_pandas`, `to_polars`) are here,
    so these are for results that fit in memory. Others are read from `output`.
    """

    @property
    def links(self) -> Any:
        """The key columns and the link columns, as the engine's kind of frame."""
        return self._kept.frame.framed(self.table)

    @property
    def failed(self) -> Any:
        """The rows that are rejected, held, pending or in doubt, as the engine's kind of frame."""
        return self._kept.frame.framed(super().failed)

    def _places(self, table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
        places, ours = super()._places(table), self._kept.arrow()
        for name in ours.column_names:
            if name not in table.column_names or name in LINKS.names:
                continue
            was = table[name].combine_chunks()
            if not ours[name].cast(was.type).take(pa.array(places)).combine_chunks().equals(was):
                raise CatalogError(
                    f"{self._kept.frame.name} gives its rows in another order each time.",
                    fix=f"Join it with {self.output} by its key, or call {self._kept.frame.keeps} "
                    "on it first.",
                )
        return places


class EnginePlan(LinksPlan):
    """A plan over an engine's frame; whole once it is carried out or saved.

    Until then the rows that have their link already are known by their numbers alone.
    """

    _whole = False

    def whole(self) -> None:
        """Get all rows from the engine.

        Raises:
            RefusedError: the frame, or the ledger, is another one by now.
        """
        if self._whole:
            return
        plan, figures = self._with_all_rows(), self.figures
        if plan.figures.digest != figures.digest:
            plan.close()
            raise RefusedError(
                f"{self.kept.frame.name} or the ledger has changed since it was planned: the plan "
                f"is now {plan.figures.digest}, not {figures.digest}.",
                fix="Plan it again.",
                guard="plan_moved",
            )
        self._take(plan)
        self._whole = True

    def _with_all_rows(self) -> Plan:
        plan = planned_on(self.kept.frame, self._request, self.settings, whole=True)
        return plan.within(self.figures.limit, self.figures.max_duration)

    def _plan_anew(self) -> None:
        """Get all rows that aren't here yet, and decide by the ledger as it is now."""
        if self._whole:
            super()._plan_anew()
            return
        self._take(self._with_all_rows())
        self._whole = True

    def renew(self) -> None:
        """Get all rows, or decide anew before the plan is carried out again; raises as `whole`."""
        self._check_open()
        self.whole()
        super().renew()

    def save(self, path: str | Path, *, sign: str | Path | None = None) -> None:
        """Write a plan file, and the frame beside it; see `LinksPlan.save`."""
        self.whole()
        super().save(path, sign=sign)

    def report(self, path: str | Path) -> Path:
        """Write the plan as one page; see `LinksPlan.report`."""
        self.whole()
        return super().report(path)

    def result(self, run: RunResult, metrics: RunMetrics) -> EngineResult:
        """Return how a run over the plan came out."""
        return EngineResult(self.kept, run, metrics)


def plan_frame(frame: EngineFrame, planning: Planning, *, whole: bool = False) -> EnginePlan:
    """Plan an engine's frame; sends nothing. With `whole`, it gets all rows at once."""
    kept = EngineRows(kind=FrameKind.ARROW, frame=frame, in_memory=False)

    def planned(request: PlanRequest, settings: Settings) -> Plan:
        return planned_on(frame, request, settings, whole=whole)

    plan = cast(EnginePlan, plan_of(kept, planning, planned, EnginePlan))
    plan._whole = whole
    return plan


def planned_on(
    frame: EngineFrame, request: PlanRequest, settings: Settings, *, whole: bool
) -> Plan:
    """Plan an engine's frame as a request says, whose catalog it becomes; raises as `plan_catalog`.

    With `whole`, the plan has all rows and may be carried out.
    """
    kept = EngineRows(kind=FrameKind.ARROW, frame=frame, in_memory=False)
    asked = dataclasses.replace(request, catalog=kept.catalog())
    plan = plan_on_engine(asked, settings, frame, whole=whole)
    if not plan.is_part:
        return plan
    # What it lacks is published nowhere: no output can take it.
    return dataclasses.replace(plan, output=frame.name)


def plan_on(
    engine: Callable[[Any], EngineFrame], frame: Any, mapping: AnyMapping, arguments: PlanArguments
) -> EnginePlan:
    """Do what an engine's `plan_links` does with a frame of its own kind."""
    return plan_frame(engine(frame), planning_of("plan_links", mapping, arguments))


def write_on(
    engine: Callable[[Any], EngineFrame],
    frame_or_plan: Any,
    mapping: AnyMapping,
    arguments: WriteArguments,
) -> EngineResult:
    """Do what an engine's `write_links` does with a frame of its own kind, or a plan."""
    if isinstance(frame_or_plan, LinksPlan):
        return cast(EngineResult, write_links(frame_or_plan, mapping, **arguments))
    planning, writing = writing_of("write_links", mapping, arguments)
    with plan_frame(engine(frame_or_plan), planning, whole=True) as plan:
        return cast(EngineResult, write_links(plan, **writing.given()))


@contextmanager
def reading(name: str, *errors: type[Exception]) -> Iterator[None]:
    """Tell errors that an engine raises as those of a frame that can't be read, and ours as ours.

    What is raised in a task, they tell with all of its traceback: its own line counts.
    """
    try:
        yield
    except IncartsError:
        raise
    except errors as error:
        # That of Spark, and those of Ray.
        in_task = type(error).__name__ == "PythonException" or hasattr(error, "cause")
        text = str(error).partition("\nThe above exception was")[0]
        lines = [line for line in text.splitlines() if line.strip() and line == line.lstrip()]
        told = RuntimeError(lines[-1]) if in_task and lines else error
        raise cannot_read(name, told) from error
