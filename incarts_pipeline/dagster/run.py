"""Run of one step: plan, write and publish each partition, and say how it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster import metadata as md
from incarts_pipeline.dagster.checks import Findings, content_version, rejects_of
from incarts_pipeline.dagster.config import LinksConfig, Mode
from incarts_pipeline.dagster.engines import EngineKind, SparkTable, engine_frame
from incarts_pipeline.dagster.failures import failure_of, together, unfinished
from incarts_pipeline.dagster.ledger_mark import check_ledger
from incarts_pipeline.dagster.sources import (
    DuckDbTable,
    catalog_of,
    given,
    make_folder,
    output_place,
    plain_mapping,
    with_partition,
)
from incarts_pipeline.outgoing import shown
from incarts_pipeline.path_names import same_on_disk

if TYPE_CHECKING:
    from incarts_pipeline.pipeline import RunResult
    from incarts_pipeline.plan import Plan, PlanRequest
    from incarts_pipeline.settings import Settings


@dataclass(frozen=True)
class Source:
    """What an asset reads and where it writes; a place may be in a variable."""

    catalog: str | dg.EnvVar | dg.AssetKey | DuckDbTable | SparkTable
    mapping: str | Path | Mapping[str, Any] | None
    output: str | dg.EnvVar
    partitioned: bool
    link_set: str | None
    unique_key: Sequence[str]
    partition_column: str | None
    engine: EngineKind | None = None


@dataclass
class LinksRun:
    """One step of a links asset."""

    context: dg.AssetExecutionContext
    key: dg.AssetKey
    source: Source
    config: LinksConfig

    def go(self, settings_of: Callable[[], Settings], value: Any) -> Iterator[Any]:
        """Carry the step out.

        Args:
            settings_of: reads the settings; called within the step.
            value: the upstream asset's value, None where there is none.

        Yields:
            What Dagster records: a MaterializeResult and the checks; nothing when only planning.

        Raises:
            dagster.Failure: rows are pending, or nothing could be done; what was done is recorded.
        """
        from incarts_pipeline.write import less_garbage_collection

        try:
            # Beside all that Dagster has loaded, each look for garbage takes long.
            with less_garbage_collection():
                yield from self._work(settings_of, value)
        except dg.Failure as failure:  # as a line of its own, before Dagster's stack traces
            self.context.log.error("%s", failure.description)
            raise

    def _work(self, settings_of: Callable[[], Settings], value: Any) -> Iterator[Any]:
        from incarts_pipeline.errors import IncartsError, told_in
        from incarts_pipeline.text import Surface

        try:
            with told_in(Surface.DAGSTER):
                yield from self._steps(settings_of, value)
        except IncartsError as error:
            # Dagster keeps what is behind an error, with whatever another library says in it.
            raise failure_of(error, self._op) from None

    def _steps(self, settings_of: Callable[[], Settings], value: Any) -> Iterator[Any]:
        settings = settings_of()
        if self.config.mode is Mode.plan:
            # A plan from an older ledger would promise links that exist.
            check_ledger(self.context.instance, self.key, settings, self._output)
            self._plan_only(settings, value)
        # `can_subset` lets somebody run the checks alone.
        elif self.key not in self.context.selected_asset_keys:
            yield from self._look_only(settings, value)
        else:
            settings.for_calls()
            check_ledger(self.context.instance, self.key, settings, self._output)
            yield from self._write(settings, value)

    @property
    def _output(self) -> str:
        """Where the output goes, with a place for the partition."""
        return output_place(given(self.source.output), partitioned=self.source.partitioned)

    @property
    def _op(self) -> str:
        return self.context.op_execution_context.op.name

    def _partitions(self) -> list[str | None]:
        context = self.context
        # Asking an unpartitioned step for its keys is an error of Dagster's.
        partitioned = context.has_partition_key or context.has_partition_key_range
        return [*context.partition_keys] if partitioned else [None]

    # Without sending anything.

    def _plan_only(self, settings: Settings, value: Any) -> None:
        """Say what a run would do, as an observation of the asset."""
        for partition in self._partitions():
            with self._planned(settings, value, partition) as whole:
                plan = self._held_to(whole)
                line, text = md.plan_line(plan), md.plan_text(plan.figures, partition)
                numbers = {
                    f"incarts/plan/{action.value}": rows
                    for action, rows in plan.figures.rows_by_action().items()
                }
            told = (_named(partition), line, text)
            self.context.log.info("%sa plan, nothing was sent: %s\n\n%s", *told)
            self.context.log_event(
                dg.AssetObservation(
                    self.key,
                    description="A plan: nothing was sent.",
                    partition=partition,
                    metadata={"plan": dg.MetadataValue.md(text), **numbers},
                )
            )

    def _look_only(self, settings: Settings, value: Any) -> Iterator[dg.AssetCheckResult]:
        """Check the output as it is: somebody runs the checks without the asset."""
        from incarts_pipeline.publish import exists

        findings = Findings()
        for partition in self._partitions():
            place = with_partition(self._output, partition)
            # Checks that find nothing must not pass.
            if not exists(place):
                self.context.log.warning("%s is not there yet: nothing to check.", shown(place))
                return
            with self._planned(settings, value, partition) as plan:
                self._note(findings, place, None, plan)
        yield from self._checks(findings)

    # Writing.

    def _write(self, settings: Settings, value: Any) -> Iterator[Any]:
        from incarts_pipeline.errors import IncartsError

        partitions, findings = self._partitions(), Findings()
        self._check_names(partitions)
        # Partitions go one after the other. What is done stays done, whatever becomes of the next.
        done: dict[str | None, md.Metadata] = {}
        failures: dict[str | None, dg.Failure] = {}
        for partition in partitions:
            try:
                result = self._one(settings, value, partition, findings, done)
            except IncartsError as error:
                # One bad file among thirty days doesn't cost the others their links.
                failures[partition] = failure_of(error, self._op)
                continue
            except BaseException:  # terminated: what is done stays recorded
                self._tell(done)
                raise
            failure = unfinished(result)
            if failure is not None:
                failures[partition] = failure
                # What ended this one would end the next: a key, a limit, somebody who stopped the
                # run.
                if result.written.end is not None or result.written.stopped is not None:
                    break
        if failures and (not done or partitions != [None]):
            # A MaterializeResult would stand for all partitions of the step.
            self._tell(done)
            if done:
                yield from self._checks(findings)
            raise together(failures)
        yield self._result(done)
        yield from self._checks(findings)
        if failures:
            raise together(failures)

    def _check_names(self, partitions: Sequence[str | None]) -> None:
        """Refuse a partition whose output would be that of another one on some disks."""
        from incarts_pipeline.errors import PublishError

        found = same_on_disk(filter(None, partitions), self._known_partitions())
        if found is not None:
            raise PublishError(
                f"The partitions {found[0]!r} and {found[1]!r} differ in case alone: where a disk "
                "doesn't tell that, each would be written over the other.",
                fix="Give one of them another key.",
            )

    def _result(self, done: Mapping[str | None, md.Metadata]) -> dg.MaterializeResult[Any]:
        """Return what the step made, with each partition's own metadata beside it."""
        places = [with_partition(self._output, partition) for partition in done]
        for partition, found in done.items():
            if partition is not None:
                rows = found["dagster/row_count"]
                self.context.add_asset_metadata(
                    {**found, "dagster/partition_row_count": rows},
                    asset_key=self.key,
                    partition_key=partition,
                )
        schema = md.column_schema(places[0])
        whole = {"dagster/column_schema": schema, **self._lineage(schema)}
        return dg.MaterializeResult(
            self.key,
            metadata={**md.summed(list(done.values())), **whole},
            # By content: a night in which nothing changed leaves what is downstream as it is.
            data_version=dg.DataVersion(content_version(places[0])) if len(places) == 1 else None,
        )

    def _checks(self, findings: Findings) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in self.context.selected_asset_check_keys}
        # Dagster refuses results of checks that weren't asked for.
        yield from (one for one in findings.results(self.config) if one.check_name in selected)

    def _one(
        self,
        settings: Settings,
        value: Any,
        partition: str | None,
        findings: Findings,
        done: dict[str | None, md.Metadata],
    ) -> RunResult:
        """Plan and write one partition, look at what came out, and add it to what is done."""
        from incarts_pipeline.pipeline import apply_plan
        from incarts_pipeline.plan import refuse
        from incarts_pipeline.sync import run_blocking
        from incarts_pipeline.write import RunMetrics, WriteOptions

        place = with_partition(self._output, partition)
        metrics, named = RunMetrics(), _named(partition)
        # Read before the run writes over it.
        before = rejects_of(place)
        with self._to_write(settings, value, partition) as whole:
            plan = self._held_to(whole)
            approved = self._approved(plan)
            refuse(plan.figures, approved)
            options = WriteOptions(
                limit=plan.figures.limit,
                max_duration=plan.figures.max_duration,
                approved=approved,
            )
            # Only now: a plan that a guard refuses leaves nothing behind.
            make_folder(place)
            self.context.log.info("%s%s", named, md.plan_line(plan))
            for warning in plan.figures.warnings:
                self.context.log.warning("%s%s", named, shown(warning))

            finished: list[RunResult] = []

            # Noted inside, since an interrupted wait returns nothing although the run was finished.
            async def work(stop: Any) -> RunResult:
                result = await apply_plan(
                    plan, settings, place, options=options, metrics=metrics, stop=stop
                )
                done[partition] = md.run_metadata(result, metrics)
                finished.append(result)
                return result

            try:
                result = run_blocking(work)
            finally:  # whoever terminates it wants to know what was made
                for made in finished:
                    self.context.log.info("%s%s", named, md.run_line(made))
            self._note(findings, place, before, plan)
        return result

    def _held_to(self, whole: Plan) -> Plan:
        """Return a plan as the config's limit and time let the run carry it out."""
        from incarts_pipeline.settings import parse_duration

        longest = self.config.max_duration
        return whole.within(self.config.limit, parse_duration(longest) if longest else None)

    def _note(self, findings: Findings, place: str, before: Any, plan: Plan) -> None:
        """Look at a partition's output, beside what was read of its catalog."""
        chosen = plan.chosen
        findings.elsewhere |= self._elsewhere(chosen.others if chosen else {})
        rows = chosen.rows if chosen else 0
        findings.add(place, before, catalog_rows=rows, expected=plan.figures.rows)

    def _elsewhere(self, others: Mapping[str, int]) -> dict[str, int]:
        """Return the rows whose value is no partition at all."""
        if self.source.partition_column is None:
            return {}
        known = self._known_partitions()
        return {value or "(null)": n for value, n in others.items() if value not in known}

    def _known_partitions(self) -> set[str]:
        partitions = self.context.assets_def.get_asset_spec(self.key).partitions_def
        if partitions is None:
            return set()
        # Dynamic partitions are known to the instance alone.
        store = self.context.instance
        return set(partitions.get_partition_keys(dynamic_partitions_store=store))

    def _planned(
        self, settings: Settings, value: Any, partition: str | None, place: str | None = None
    ) -> Plan:
        from incarts_pipeline.pipeline import plan_catalog

        source, request = self.source, self._request(partition)
        if source.engine is not None:
            from incarts_pipeline.dataframes import planned_on

            frame = engine_frame(source.engine, source.catalog, value, partition)
            return planned_on(frame, request, settings, whole=place is not None)
        # A SparkTable has an engine, as `check_engine` asked when the asset was defined.
        catalog = catalog_of(source.catalog, value, partition)  # type: ignore[arg-type]
        return plan_catalog(replace(request, catalog=catalog), settings, output=place)

    def _to_write(self, settings: Settings, value: Any, partition: str | None) -> Plan:
        """Return what is carried out: the plan file's plan, where one is given."""
        if self.config.plan_file is None:
            place = with_partition(self._output, partition)
            return self._planned(settings, value, partition, place)
        from incarts_pipeline.errors import RefusedError
        from incarts_pipeline.pipeline import plan_saved
        from incarts_pipeline.plan import load_plan

        saved = load_plan(with_partition(self.config.plan_file, partition))
        if saved.request.partition != self._request(partition).partition:
            raise RefusedError(
                f"The plan file {saved.file.path} is not of the partition {partition!r}.",
                fix="Give the plan file of this partition; {partition} in its path is filled in.",
                guard="another_partition",
            )
        return plan_saved(saved, settings)

    def _request(self, partition: str | None) -> PlanRequest:
        """Return what is to be planned, but for the catalog."""
        from incarts_pipeline.models import Rekeyed
        from incarts_pipeline.plan import PlanRequest
        from incarts_pipeline.prepare import Partition

        source = self.source
        column = source.partition_column
        return PlanRequest(
            catalog=None,
            mapping=None if source.mapping is None else plain_mapping(source.mapping),
            link_set=source.link_set,
            unique_key=source.unique_key,
            retry_rejected=self.config.retry_rejected,
            refuse_over=self.config.refuse_over,
            allow_empty=self.config.allow_empty,
            rekeyed=Rekeyed(self.config.rekeyed.value),
            accept=tuple(self.config.accept),
            partition=Partition(value=partition, column=column) if partition is not None else None,
        )

    def _approved(self, plan: Plan) -> str | None:
        # Several, because a run of several partitions has several plans.
        digests = self.config.approve.split()
        return plan.figures.digest if plan.figures.digest in digests else None

    def _tell(self, done: Mapping[str | None, md.Metadata]) -> None:
        """Record each partition on its own, as a step that fails can't by its result."""
        for partition, found in done.items():
            self.context.log_event(
                dg.AssetMaterialization(self.key, partition=partition, metadata=found)
            )

    def _lineage(self, schema: dg.TableSchema) -> md.Metadata:
        mapping = self._request(None).mapping
        if not isinstance(self.source.catalog, dg.AssetKey) or mapping is None:
            return {}
        from incarts_pipeline.mapping import load_mapping

        columns = [column.name for column in schema.columns]
        lineage = md.column_lineage(self.source.catalog, load_mapping(mapping), columns)
        return {"dagster/column_lineage": lineage}


def _named(partition: str | None) -> str:
    return "" if partition is None else f"{shown(partition)}: "
