"""One step: plan, write and publish each partition, and say in Dagster's terms how it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster import metadata as md
from incarts_pipeline.dagster.checks import Findings, content_version, rejects_of
from incarts_pipeline.dagster.config import LinksConfig, Mode
from incarts_pipeline.dagster.sources import DuckDbTable, catalog_of, make_folder, with_partition

if TYPE_CHECKING:
    from incarts_pipeline.pipeline import PlanRequest, RunResult
    from incarts_pipeline.plan import Plan
    from incarts_pipeline.settings import Settings


@dataclass(frozen=True)
class Source:
    """What an asset reads and where it writes; `output` has a place for the partition."""

    catalog: str | dg.AssetKey | DuckDbTable
    mapping: str | Path | Mapping[str, Any] | None
    output: str
    link_set: str | None
    unique_key: Sequence[str]
    partition_column: str | None


@dataclass
class LinksRun:
    """One step of a links asset."""

    context: dg.AssetExecutionContext
    key: dg.AssetKey
    source: Source
    config: LinksConfig

    def go(self, settings_of: Callable[[], Settings], value: Any) -> Iterator[Any]:
        """Carry the step out.

        Yields:
            What Dagster records: a MaterializeResult with its checks; nothing when only planning.

        Raises:
            dagster.Failure: rows are pending, or nothing could be done; what was done is recorded.
        """
        from incarts_pipeline.errors import IncartsError

        try:
            settings = settings_of()
            if self.config.mode is Mode.plan:
                self._plan_only(settings, value)
                return
            yield from self._write(settings, value)
        except IncartsError as error:
            raise _failure(error, self._op) from error

    @property
    def _op(self) -> str:
        return self.context.op_execution_context.op.name

    def _partitions(self) -> list[str | None]:
        context = self.context
        partitioned = context.has_partition_key or context.has_partition_key_range
        return [*context.partition_keys] if partitioned else [None]

    # Planning only.

    def _plan_only(self, settings: Settings, value: Any) -> None:
        """Say what a run would do, as an observation of the asset."""
        for partition in self._partitions():
            with self._planned(settings, value, partition) as plan:
                text = md.plan_text(plan.figures, partition)
                numbers = {
                    f"incarts/plan/{action.value}": rows
                    for action, rows in plan.figures.rows_by_action().items()
                }
            self.context.log.info("The plan; nothing was sent.\n%s", text)
            self.context.log_event(
                dg.AssetObservation(
                    self.key,
                    description="A plan: nothing was sent.",
                    partition=partition,
                    metadata={"plan": dg.MetadataValue.md(text), **numbers},
                )
            )

    # Writing.

    def _write(self, settings: Settings, value: Any) -> Iterator[Any]:
        partitions, findings = self._partitions(), Findings()
        done: dict[str | None, md.Metadata] = {}
        failure: dg.Failure | None = None
        versions = []
        for partition in partitions:
            place = with_partition(self.source.output, partition)
            before = rejects_of(place)
            plan_rows, result, found = self._one(settings, value, partition, place, done)
            findings.elsewhere |= plan_rows.pop("elsewhere")
            findings.add(place, before, **plan_rows)
            done[partition] = found
            versions.append(content_version(place))
            failure = _unfinished(result)
            if failure is not None:
                break
        total = md.summed(list(done.values()))
        total["dagster/column_schema"] = md.column_schema(
            with_partition(self.source.output, partitions[-1] if failure is None else partition)
        )
        total |= self._lineage(total["dagster/column_schema"])
        if failure is not None and partitions != [None]:
            # A result would stand for all partitions of the step, so these are told one by one.
            self._tell_partitions(done)
            raise failure
        if partitions != [None]:
            for one, found in done.items():
                self.context.add_asset_metadata(
                    {**found, "dagster/partition_row_count": found["dagster/row_count"]},
                    asset_key=self.key,
                    partition_key=one,
                )
        yield dg.MaterializeResult(
            self.key,
            metadata=total,
            check_results=list(findings.results(self.config)),
            data_version=dg.DataVersion(" ".join(versions)) if len(versions) == 1 else None,
        )
        if failure is not None:
            raise failure

    def _one(
        self,
        settings: Settings,
        value: Any,
        partition: str | None,
        place: str,
        done: Mapping[str | None, md.Metadata],
    ) -> tuple[dict[str, Any], RunResult, md.Metadata]:
        """Plan and write one partition; when interrupted, record what was done, and go on up."""
        from incarts_pipeline.door import run_blocking
        from incarts_pipeline.pipeline import apply_plan, refuse
        from incarts_pipeline.settings import parse_duration
        from incarts_pipeline.tally import Tally
        from incarts_pipeline.writer import WriteOptions

        tally, results = Tally(), []
        with self._planned(settings, value, partition) as plan:
            approved = self._approved(plan)
            refuse(plan.figures, approved)
            longest = self.config.max_duration
            options = WriteOptions(
                limit=self.config.limit,
                max_duration=parse_duration(longest) if longest else None,
                approved=approved,
            )
            make_folder(place)
            self.context.log.info(
                "%s%s calls of %s rows", _named(partition), plan.figures.calls, plan.figures.rows
            )

            async def work(stop: Any) -> RunResult:
                result = await apply_plan(
                    plan, settings, place, options=options, tally=tally, stop=stop
                )
                results.append(result)
                return result

            try:
                result = run_blocking(work)
            except BaseException:
                if results:  # interrupted, and finished in order
                    found = md.run_metadata(results[0], tally)
                    self._tell_partitions({**done, partition: found})
                raise
            rows = self._rows_of(plan)
        run_id = result.written.run_id
        self.context.log.info("%srun %s: %s", _named(partition), run_id, _said(result))
        return rows, result, md.run_metadata(result, tally)

    def _rows_of(self, plan: Plan) -> dict[str, Any]:
        chosen = plan.chosen
        return {
            "catalog_rows": chosen.rows if chosen else 0,
            "expected": plan.figures.rows,
            "elsewhere": self._elsewhere(chosen.others if chosen else {}),
        }

    def _elsewhere(self, others: Mapping[str, int]) -> dict[str, int]:
        """Return the rows whose value is no partition at all."""
        spec = self.context.assets_def.get_asset_spec(self.key)
        if self.source.partition_column is None or spec.partitions_def is None:
            return {}
        known = set(
            spec.partitions_def.get_partition_keys(dynamic_partitions_store=self.context.instance)
        )
        return {value or "(null)": n for value, n in others.items() if value not in known}

    def _planned(self, settings: Settings, value: Any, partition: str | None) -> Plan:
        from incarts_pipeline.pipeline import plan_catalog

        return plan_catalog(self._request(value, partition), settings)

    def _request(self, value: Any, partition: str | None) -> PlanRequest:
        from incarts_pipeline.partition import Partition
        from incarts_pipeline.pipeline import PlanRequest

        source = self.source
        column = source.partition_column
        mapping = source.mapping
        return PlanRequest(
            catalog=catalog_of(source.catalog, value, partition),
            mapping=dict(mapping) if isinstance(mapping, Mapping) else mapping and Path(mapping),
            link_set=source.link_set,
            unique_key=source.unique_key,
            retry_rejected=self.config.retry_rejected,
            refuse_over=self.config.refuse_over,
            allow_empty=self.config.allow_empty,
            partition=Partition(value=partition, column=column) if partition is not None else None,
        )

    def _approved(self, plan: Plan) -> str | None:
        digests = (self.config.approve or "").split()
        return plan.figures.digest if plan.figures.digest in digests else None

    def _tell_partitions(self, done: Mapping[str | None, md.Metadata]) -> None:
        for partition, found in done.items():
            self.context.log_event(
                dg.AssetMaterialization(self.key, partition=partition, metadata=found)
            )

    def _lineage(self, schema: dg.TableSchema) -> md.Metadata:
        mapping = self._request(None, None).mapping
        if not isinstance(self.source.catalog, dg.AssetKey) or mapping is None:
            return {}
        from incarts_pipeline.mapping import load_mapping

        columns = [column.name for column in schema.columns]
        lineage = md.column_lineage(self.source.catalog, load_mapping(mapping), columns)
        return {"dagster/column_lineage": lineage}


def _unfinished(result: RunResult) -> dg.Failure | None:
    """Return the failure of a run that left rows pending, None when all is settled."""
    if result.exit_code() not in (1, 4):
        return None
    end = result.written.end
    if end is not None:
        return dg.Failure(f"{end.message} {end.fix}", allow_retries=end.may_pass)
    if result.written.forbidden:
        kinds = ", ".join(f"{retailer} {intent}" for retailer, intent in result.written.forbidden)
        return dg.Failure(
            f"The API key may not make these links: {kinds}. Ask for the scope, or take the rows "
            "out; the other links were made.",
            allow_retries=False,
        )
    return dg.Failure("Rows are pending. Run again to go on: nothing is sent twice.")


def _failure(error: Exception, op: str) -> dg.Failure:
    """Return what a person must do about an error that kept the step from its work."""
    from incarts_pipeline.errors import CatalogError, LedgerLockedError, PublishError, RefusedError

    text = str(error)
    if isinstance(error, RefusedError) and error.digest is not None:
        text += (
            f"\nIn the launchpad, or with `dg launch --config`, that is:\n"
            f"ops:\n  {op}:\n    config:\n      approve: {error.digest}"
        )
    mended = isinstance(error, CatalogError | LedgerLockedError | PublishError)
    return dg.Failure(text, allow_retries=mended)


def _named(partition: str | None) -> str:
    return "" if partition is None else f"{partition}: "


def _said(result: RunResult) -> str:
    counts = result.published.by_status
    return ", ".join(f"{n:,} {status.value}" for status, n in counts.items() if n) or "no rows"
