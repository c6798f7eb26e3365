"""Links from a frame in one call: see what would happen, or make it happen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping as Dict, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.dataframes.plan import LinksPlan
from incarts_pipeline.dataframes.result import LinksResult, how_to_go_on
from incarts_pipeline.dataframes.snapshot import FrameKind, KeptFrame, keep
from incarts_pipeline.display.progress import progress as progress_of
from incarts_pipeline.errors import MappingError, SettingsError, told_in
from incarts_pipeline.mapping import Mapping, load_mapping
from incarts_pipeline.models import Reason
from incarts_pipeline.pipeline import plan_catalog
from incarts_pipeline.plan import PlanRequest
from incarts_pipeline.reporting import apply_and_report, check_places
from incarts_pipeline.settings import Settings, load_settings, parse_duration
from incarts_pipeline.sync import Stop, run_beside, run_blocking
from incarts_pipeline.text import OptionText, Surface
from incarts_pipeline.write import SAMPLE_PER, IfRunning, RunMetrics, WriteOptions

AnyMapping = Mapping | Dict[str, object] | str | Path | None


def plan_links(
    frame: Any,
    mapping: AnyMapping = None,
    *,
    link_set: str | None = None,
    unique_key: str | Sequence[str] = (),
    settings: Settings | None = None,
    target: str | None = None,
    ledger: str | Path | None = None,
    retry_rejected: bool = False,
    refuse_over: int | None = None,
    allow_empty: bool = False,
) -> LinksPlan:
    """Say what `write_links` would do with a frame, and why. Sends nothing.

    Args:
        frame: a pandas or Polars frame, a DuckDB relation, an Arrow table or reader, a list of
            dicts, or the path of a file. It is never changed. The named levels of a pandas index
            are columns like the others.
        mapping: a Mapping, a dict, YAML text or a path; None for a frame whose columns carry the
            fields' own names, which needs `link_set` and `unique_key`.
        link_set: the name of this family of links; wins over the mapping's.
        unique_key: the column or columns that say what a row is, where there is no mapping.
        settings: settings made by `load_settings`; by default it reads the environment and
            `incarts.toml`.
        target: a target of `incarts.toml`.
        ledger: the ledger's file, `incarts-ledger.db` in the working directory by default.
        retry_rejected: try rows again that Incarts refused before with the same content.
        refuse_over: refuse a plan with more new links than this.
        allow_empty: accept an empty frame over a link set that has links.

    Raises:
        CatalogError: the frame holds what no table can; names the column, a row and the fix.
        MappingError: the mapping doesn't fit the frame.
        SettingsError: a setting is missing.
        LedgerError: the ledger can't be read, or belongs to another base URL.
    """
    return _plan(frame, _planning(locals()))


def write_links(
    frame_or_plan: Any,
    mapping: AnyMapping = None,
    *,
    output: str | Path | None = None,
    link_set: str | None = None,
    unique_key: str | Sequence[str] = (),
    settings: Settings | None = None,
    target: str | None = None,
    ledger: str | Path | None = None,
    retry_rejected: bool = False,
    refuse_over: int | None = None,
    allow_empty: bool = False,
    approve: str | None = None,
    limit: int | None = None,
    sample_per: str | Sequence[str] = (),
    max_duration: str | float | None = None,
    if_running: str = "wait",
    progress: bool = True,
    report: str | Path | None = None,
) -> LinksResult:
    """Make a frame's links, each exactly once, and return them row by row.

    The same call works in a script and in a notebook, whose running loop doesn't matter. Ctrl-C, or
    a notebook's interrupt, stops cleanly: what is in flight is finished, what is done is published,
    and the result comes back with the other rows pending; running the same call again goes on.

    Args:
        frame_or_plan: what `plan_links` takes, or a plan that it made. A plan fixes the mapping,
            the settings and the guards, so these stay away then.
        mapping: as for `plan_links`, like `link_set` to `allow_empty`.
        output: where links.parquet goes, a path or a URI; by default `links-<link set>.parquet` in
            the working directory.
        link_set: see `plan_links`.
        unique_key: see `plan_links`.
        settings: see `plan_links`.
        target: see `plan_links`.
        ledger: see `plan_links`.
        retry_rejected: see `plan_links`.
        refuse_over: see `plan_links`.
        allow_empty: see `plan_links`.
        approve: the digest of a refused plan, which lets exactly that one through.
        limit: make at most so many links: a pilot.
        sample_per: spread `limit` over `retailer`, `intent` or `link_set`.
        max_duration: stop after this time: seconds, or a text like `2h`.
        if_running: `wait` for rows that another run is sending, `skip` them, or `fail`.
        progress: show how it gets on, in a terminal or a notebook.
        report: where a report of the run goes, an HTML page; also when the run ends early.

    Raises:
        RefusedError: a guard stands against the plan, or the output isn't this ledger's; nothing
            was sent.
        CatalogError, MappingError, SettingsError, LedgerError: as for `plan_links`; nothing was
            sent.
        PublishError: the output can't be written; what was answered is in the ledger.
    """
    with told_in(Surface.PYTHON):
        writing = _writing(locals())
        with _plan_of(frame_or_plan, _planning(locals())) as plan:
            metrics = RunMetrics()
            with progress_of(metrics) if progress else nullcontext():
                result = run_blocking(lambda stop: _carry_out(plan, writing, metrics, stop))
            _say_how_to_go_on(result)
            return result


async def awrite_links(
    frame_or_plan: Any,
    mapping: AnyMapping = None,
    *,
    output: str | Path | None = None,
    link_set: str | None = None,
    unique_key: str | Sequence[str] = (),
    settings: Settings | None = None,
    target: str | None = None,
    ledger: str | Path | None = None,
    retry_rejected: bool = False,
    refuse_over: int | None = None,
    allow_empty: bool = False,
    approve: str | None = None,
    limit: int | None = None,
    sample_per: str | Sequence[str] = (),
    max_duration: str | float | None = None,
    if_running: str = "wait",
    progress: bool = True,
    report: str | Path | None = None,
) -> LinksResult:
    """Do what `write_links` does, without holding up the caller's event loop.

    Cancelling it, as a notebook's interrupt does, stops cleanly and publishes, then raises
    `asyncio.CancelledError`. Arguments and errors are those of `write_links`.
    """
    with told_in(Surface.PYTHON):
        writing, planning = _writing(locals()), _planning(locals())
        metrics, results = RunMetrics(), list[LinksResult]()

        async def work(stop: Stop) -> None:
            with _plan_of(frame_or_plan, planning) as plan:
                results.append(await _carry_out(plan, writing, metrics, stop))

        try:
            with progress_of(metrics) if progress else nullcontext():
                await run_beside(work)
        finally:
            for result in results:
                _say_how_to_go_on(result)
        return results[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planning:
    """What a plan is made of beside the frame; the names are the arguments'."""

    mapping: AnyMapping = None
    link_set: str | None = None
    unique_key: str | Sequence[str] = ()
    settings: Settings | None = None
    target: str | None = None
    ledger: str | Path | None = None
    retry_rejected: bool = False
    refuse_over: int | None = None
    allow_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """How a plan is carried out."""

    output: str | None
    report: Path | None
    options: WriteOptions


def _planning(given: Dict[str, Any]) -> _Planning:
    return _Planning(**{field.name: given[field.name] for field in fields(_Planning)})


def _writing(given: Dict[str, Any]) -> _Writing:
    """Check and pack the arguments of writing.

    Raises:
        SettingsError: one of them makes no sense.
        PublishError: the output or the report can't be written there.
    """
    sample_per, if_running = _names(given["sample_per"]), given["if_running"]
    for name in sample_per:
        if name not in SAMPLE_PER:
            raise SettingsError(
                f"sample_per doesn't know {name!r}.", fix=f"Choose from {', '.join(SAMPLE_PER)}."
            )
    if if_running not in list(IfRunning):
        raise SettingsError(
            f"if_running can't be {if_running!r}.", fix=f"Choose from {', '.join(IfRunning)}."
        )
    duration, output = given["max_duration"], given["output"]
    options = WriteOptions(
        limit=given["limit"],
        sample_per=sample_per,
        max_duration=None if duration is None else parse_duration(duration),
        if_running=IfRunning(if_running),
        approved=given["approve"],
    )
    report = given["report"]
    writing = _Writing(
        output=None if output is None else str(output),
        report=None if report is None else Path(report),
        options=options,
    )
    check_places(writing.output, writing.report)
    return writing


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _plan(frame: Any, planning: _Planning) -> LinksPlan:
    with told_in(Surface.PYTHON):
        settings = _settings(planning)
        mapping = None if planning.mapping is None else load_mapping(planning.mapping)
        if mapping is not None and planning.unique_key:
            raise MappingError(
                "The mapping says what a row is, so unique_key can't.",
                fix=f"Leave it out, or correct the mapping's, which is {mapping.unique_key}.",
            )
        kept = keep(frame)
        request = PlanRequest(
            catalog=kept.catalog(),
            mapping=planning.mapping,
            link_set=planning.link_set,
            unique_key=_names(planning.unique_key),
            retry_rejected=planning.retry_rejected,
            refuse_over=planning.refuse_over,
            allow_empty=planning.allow_empty,
        )
        keys = mapping.unique_key if mapping else _names(planning.unique_key)
        with _with_example(kept, keys):
            plan = plan_catalog(request, settings)
        name = planning.link_set or (mapping.link_set if mapping else "")
        output = f"links-{name.replace('/', '-')}.parquet"
        return LinksPlan(plan, request=request, settings=settings, kept=kept, output=output)


def _settings(planning: _Planning) -> Settings:
    ledger = planning.ledger
    if planning.settings is None:
        given = {} if ledger is None else {"ledger": Path(ledger)}
        return load_settings(target=planning.target, **given)
    if planning.target is not None:
        raise SettingsError(
            "settings and target are both given.", fix="Give load_settings the target."
        )
    changes = {} if ledger is None else {"ledger": Path(ledger)}
    return planning.settings.model_copy(update=changes)


@contextmanager
def _plan_of(frame_or_plan: Any, planning: _Planning) -> Iterator[LinksPlan]:
    """Yield the plan that is given, or one made of a frame, which is closed again."""
    if not isinstance(frame_or_plan, LinksPlan):
        _settings(planning).for_calls()
        with _plan(frame_or_plan, planning) as plan:
            yield plan
        return
    fixed = [f.name for f in fields(_Planning) if getattr(planning, f.name) != f.default]
    if fixed:
        raise MappingError(
            f"A plan fixes what it was made with: {', '.join(fixed)} can't be given again.",
            fix="Leave it out, or give the frame instead of the plan.",
        )
    yield frame_or_plan


async def _carry_out(
    plan: LinksPlan, writing: _Writing, metrics: RunMetrics, stop: Stop
) -> LinksResult:
    plan.renew()
    output = writing.output or plan.output
    run = await apply_and_report(
        plan.plan,
        plan.settings,
        output,
        report=writing.report,
        options=writing.options,
        metrics=metrics,
        stop=stop,
    )
    return LinksResult(plan.kept, run, metrics)


def _say_how_to_go_on(result: LinksResult) -> None:
    """After an interruption, tell on standard error what the next step is."""
    if result.run.written.stopped is Reason.STOPPED:
        lines = how_to_go_on(result.run.published.by_status, result.run.written)
        sys.stderr.write("\n".join([*lines, f"links: {result.output}", ""]))


@contextmanager
def _with_example(kept: KeptFrame, keys: Sequence[str]) -> Iterator[None]:
    """Give errors about a column's type a row for example; name an index that may be the key."""
    try:
        yield
    except MappingError as error:
        if error.column is not None:
            error.message = OptionText(error.message, _example(kept.arrow().column(error.column)))
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
