"""Functions over frames: see in one call what would happen, or make it happen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.dataframes.arguments import (
    AnyMapping,
    PlanArguments,
    Planning,
    WriteArguments,
    Writing,
    planning_of,
    shows,
    writing_of,
)
from incarts_pipeline.dataframes.plan import LinksPlan
from incarts_pipeline.dataframes.result import LinksResult, how_to_go_on
from incarts_pipeline.dataframes.snapshot import FrameKind, KeptFrame, keep
from incarts_pipeline.display.progress import progress as progress_of
from incarts_pipeline.display.reporting import apply_and_report, check_places
from incarts_pipeline.errors import MappingError, SettingsError, told_in
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.models import Reason
from incarts_pipeline.outgoing import shown
from incarts_pipeline.path_names import path_name
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import Plan, PlanRequest, paths_read
from incarts_pipeline.settings import Settings, load_settings
from incarts_pipeline.sync import Stop, run_beside, run_blocking
from incarts_pipeline.text import OptionText, Surface
from incarts_pipeline.write import RunMetrics, WriteOptions


@shows(Planning)
def plan_links(
    frame: Any, mapping: AnyMapping = None, **arguments: Unpack[PlanArguments]
) -> LinksPlan:
    """Say what `write_links` would do with a frame, and why. Sends nothing.

    Args:
        frame: a pandas or Polars frame, a DuckDB relation, an Arrow table or reader, a list of
            dicts, or the path of a file. It is never changed. The named levels of a pandas index
            are columns like the others.
        mapping: a Mapping, a dict, YAML text or a path; None for a frame whose columns carry the
            fields' own names, which needs `link_set` and `unique_key`.

    Keyword Args:
        link_set (str | None): the name of this family of links; wins over the mapping's.
            Default None.
        unique_key (str | Sequence[str]): the column or columns that say what a row is, where there
            is no mapping. Default ().
        settings (Settings | None): settings made by `load_settings`; by default it reads the
            environment and `incarts.toml`. Default None.
        target (str | None): a target of `incarts.toml`. Default None.
        ledger (str | Path | None): the ledger's file, `incarts-ledger.db` in the working directory
            by default. Default None.
        retry_rejected (bool): try rows again that Incarts refused before with the same content.
            Default False.
        refuse_over (int | None): refuse a plan with more new links than this. Default None.
        allow_empty (bool): accept an empty frame over a link set that has links. Default False.
        rekeyed (str): what becomes of new rows with the content of rows that left the frame:
            `hold` them, `move` those rows' links over, or make `new` ones. Default "hold".
        accept (str | Sequence[str]): suspicions that hold no row, by their codes, beside those
            that the mapping accepts. Default ().
        limit (int | None): the budget: `write_links` makes at most so many links of the plan, by
            priority, and the plan says in how many nights all are made. Default None.
        max_duration (str | float | None): the same in time: seconds, or a text like `2h`, at the
            learned pace. Default None.

    Raises:
        CatalogError: the frame holds what no table can; names the column, a row and the fix.
        MappingError: the mapping doesn't fit the frame.
        SettingsError: a setting is missing.
        LedgerError: the ledger can't be read, or belongs to another base URL.
        TypeError: there is no such argument; names the nearest one.
    """
    return _plan(frame, planning_of("plan_links", mapping, arguments))


@shows(Planning, Writing)
def write_links(
    frame_or_plan: Any, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]
) -> LinksResult:
    """Make a frame's links, each exactly once, and return them row by row.

    The same call works in a script and in a notebook, whose running loop doesn't matter. Ctrl-C, or
    a notebook's interrupt, stops cleanly: what is in flight is finished, what is done is published,
    and the result comes back with the other rows pending; running the same call again goes on.

    Args:
        frame_or_plan: what `plan_links` takes, or a plan that it made. A plan fixes the mapping,
            the settings and the guards, so these stay away then.
        mapping: as for `plan_links`, like `link_set` to `accept`.

    Keyword Args:
        link_set (str | None): see `plan_links`. Default None.
        unique_key (str | Sequence[str]): see `plan_links`. Default ().
        settings (Settings | None): see `plan_links`. Default None.
        target (str | None): see `plan_links`. Default None.
        ledger (str | Path | None): see `plan_links`. Default None.
        retry_rejected (bool): see `plan_links`. Default False.
        refuse_over (int | None): see `plan_links`. Default None.
        allow_empty (bool): see `plan_links`. Default False.
        rekeyed (str): see `plan_links`. Default "hold".
        accept (str | Sequence[str]): see `plan_links`. Default ().
        limit (int | None): make at most so many links, by priority: a pilot, or a night's budget.
            By default that of the plan. Default None.
        max_duration (str | float | None): stop after this time: seconds, or a text like `2h`. By
            default that of the plan. Default None.
        output (str | Path | None): where links.parquet goes, a path or a URI, or as text with a
            slash at its end a folder for a table in many files, or `delta://FOLDER` for a Delta
            table; by default `links-<link set>.parquet` in the working directory. Default None.
        approve (str | None): the digest of a refused plan, which lets exactly that one through.
            Default None.
        sample_per (str | Sequence[str]): spread `limit` over `retailer`, `intent` or `link_set`.
            Default ().
        if_running (str): `wait` for rows that another run is sending, `skip` them, or `fail`.
            Default "wait".
        progress (bool): show how it gets on, in a terminal or a notebook. Default True.
        report (str | Path | None): where a report of the run goes, an HTML page; also when the run
            ends early. Default None.

    Raises:
        RefusedError: a guard stands against the plan, or the output isn't this ledger's; nothing
            was sent.
        CatalogError, MappingError, SettingsError, LedgerError, TypeError: as for `plan_links`;
            nothing was sent.
        PublishError: the output can't be written; what was answered is in the ledger.
    """
    planning, writing = writing_of("write_links", mapping, arguments)
    with told_in(Surface.PYTHON):
        options = _checked(writing)
        with _plan_of(frame_or_plan, planning) as plan, _progress(writing) as metrics:
            result = run_blocking(lambda stop: _carry_out(plan, writing, options, metrics, stop))
        _say_how_to_go_on(result)
        return result


@shows(Planning, Writing)
async def awrite_links(
    frame_or_plan: Any, mapping: AnyMapping = None, **arguments: Unpack[WriteArguments]
) -> LinksResult:
    """Do what `write_links` does, without holding up the caller's event loop.

    Cancelling it, as a notebook's interrupt does, stops cleanly and publishes, then raises
    `asyncio.CancelledError`. Arguments and errors are those of `write_links`.
    """
    planning, writing = writing_of("awrite_links", mapping, arguments)
    with told_in(Surface.PYTHON):
        options, results = _checked(writing), list[LinksResult]()
        try:
            with _progress(writing) as metrics:

                async def work(stop: Stop) -> None:
                    with _plan_of(frame_or_plan, planning) as plan:
                        results.append(await _carry_out(plan, writing, options, metrics, stop))

                await run_beside(work)
        finally:
            for result in results:
                _say_how_to_go_on(result)
        return results[0]


def _checked(writing: Writing) -> WriteOptions:
    """Return the run's options, once it is sure that its files can be written.

    Raises:
        SettingsError: an argument makes no sense.
        PublishError: the output or the report can't be written there.
    """
    options = writing.options()
    check_places(writing.output, writing.report)
    return options


@contextmanager
def _progress(writing: Writing) -> Iterator[RunMetrics]:
    """Yield what counts a run, shown while it goes if that is wanted."""
    metrics = RunMetrics()
    with progress_of(metrics) if writing.progress else nullcontext():
        yield metrics


def _plan(frame: Any, planning: Planning) -> LinksPlan:
    with told_in(Surface.PYTHON):
        mapping = None if planning.mapping is None else load_mapping(planning.mapping)
        kept = keep(frame, mapping.read.said() if mapping is not None else None)

    def planned(request: PlanRequest, settings: Settings) -> Plan:
        plan = plan_catalog(request, settings)
        if isinstance(frame, str | Path):  # which was read by now, but not to be overwritten
            return replace(plan, read=(*plan.read, *paths_read(settings, catalog=frame)))
        return plan

    return plan_of(kept, planning, planned)


def plan_of(
    kept: KeptFrame,
    planning: Planning,
    planned: Callable[[PlanRequest, Settings], Plan],
    kind: type[LinksPlan] = LinksPlan,
) -> LinksPlan:
    """Return the plan over a frame that is kept; `planned` makes it, `kind` is what it becomes."""
    with told_in(Surface.PYTHON):
        settings, rekeyed = _settings(planning), planning.policy()
        limit, seconds = planning.held_to()
        mapping = None if planning.mapping is None else load_mapping(planning.mapping)
        if mapping is not None and planning.unique_key:
            raise MappingError(
                "The mapping says what a row is, so unique_key can't.",
                fix=f"Leave it out, or correct the mapping's, which is {mapping.unique_key}.",
            )
        request = PlanRequest(
            catalog=kept.catalog(),
            mapping=planning.mapping,
            link_set=planning.link_set,
            unique_key=planning.keys,
            retry_rejected=planning.retry_rejected,
            refuse_over=planning.refuse_over,
            allow_empty=planning.allow_empty,
            rekeyed=rekeyed,
            accept=planning.accepted,
        )
        with _with_example(kept, mapping.unique_key if mapping else planning.keys):
            plan = planned(request, settings)
        plan = plan.within(limit, seconds)
        name = planning.link_set or (mapping.link_set if mapping else "")
        output = f"links-{path_name(name)}.parquet"
        return kind(plan, request=request, settings=settings, kept=kept, output=output)


def _settings(planning: Planning) -> Settings:
    given: dict[str, Any] = {} if planning.ledger is None else {"ledger": planning.ledger}
    if planning.settings is None:
        return load_settings(target=planning.target, **given)
    if planning.target is not None:
        raise SettingsError(
            "settings and target are both given.", fix="Give load_settings the target."
        )
    return planning.settings.model_copy(update=given)


@contextmanager
def _plan_of(frame_or_plan: Any, planning: Planning) -> Iterator[LinksPlan]:
    """Yield the plan that is given, or one made of a frame, which is closed again."""
    if not isinstance(frame_or_plan, LinksPlan):
        _settings(planning).for_calls()
        with _plan(frame_or_plan, planning) as plan:
            yield plan
        return
    if fixed := planning.given():
        raise MappingError(
            f"A plan fixes what it was made with: {', '.join(fixed)} can't be given again.",
            fix="Leave it out, or give the frame instead of the plan.",
        )
    yield frame_or_plan


async def _carry_out(
    plan: LinksPlan, writing: Writing, options: WriteOptions, metrics: RunMetrics, stop: Stop
) -> LinksResult:
    plan.renew()
    figures = plan.figures
    options = replace(
        options,
        limit=figures.limit if options.limit is None else options.limit,
        max_duration=(
            figures.max_duration if options.max_duration is None else options.max_duration
        ),
    )
    run = await apply_and_report(
        plan.plan,
        plan.settings,
        writing.output or plan.output,
        report=writing.report,
        options=options,
        metrics=metrics,
        stop=stop,
    )
    return plan.result(run, metrics)


def _say_how_to_go_on(result: LinksResult) -> None:
    """After an interruption, tell on standard error what the next step is."""
    if result.run.written.stopped is Reason.STOPPED:
        lines = how_to_go_on(result.run)
        sys.stderr.write("\n".join(map(shown, [*lines, f"links: {result.output}", ""])))


@contextmanager
def _with_example(kept: KeptFrame, keys: Sequence[str]) -> Iterator[None]:
    """Give errors about a column's type a row for example; name an index that may be the key."""
    try:
        yield
    except MappingError as error:
        if error.column is not None:
            error.message = OptionText(error.message, _example(kept.some().column(error.column)))
        elif _may_be_index(kept, keys):
            error.fix = OptionText(
                error.fix or "", " An index without a name is no column: name it."
            )
        raise


def _may_be_index(kept: KeptFrame, keys: Sequence[str]) -> bool:
    """Say whether a key column that isn't there may be the frame's index, which has no name."""
    if kept.kind is not FrameKind.PANDAS or set(keys) <= set(kept.names):
        return False
    index = kept.frame.index
    return None in index.names and type(index).__name__ != "RangeIndex"  # that one counts the rows


def _example(column: pa.ChunkedArray) -> str:
    found = pc.indices_nonzero(column.is_valid())
    if not len(found):
        return ""
    row = found[0].as_py()
    return f" Row {row} (the first is 0) has {ascii(column[row].as_py())[:60]}."
