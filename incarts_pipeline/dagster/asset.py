"""Asset of a link set, for those who prefer Python to YAML, and the job that runs it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from incarts_pipeline.dagster.checks import check_specs
from incarts_pipeline.dagster.config import LinksConfig, config_schema, config_with
from incarts_pipeline.dagster.engines import EngineKind, SparkTable, check_engine
from incarts_pipeline.dagster.literals import no_secret
from incarts_pipeline.dagster.resource import IncartsResource
from incarts_pipeline.dagster.run import LinksRun, Source
from incarts_pipeline.dagster.sources import DuckDbTable, plain_mapping
from incarts_pipeline.outgoing import shown

GROUP = "incarts"
KINDS = {"incarts", "parquet"}
POOL = "incarts"  # runs share one rate, so several at once gain nothing


def build_incarts_links_asset(
    *,
    catalog: str | Path | dg.EnvVar | dg.AssetKey | DuckDbTable | SparkTable,
    output: str | Path | dg.EnvVar,
    mapping: str | Path | Mapping[str, Any] | None = None,
    link_set: str | None = None,
    unique_key: Sequence[str] = (),
    spec: dg.AssetSpec | None = None,
    partition_column: str | None = None,
    resource_key: str | None = None,
    pool: str | None = POOL,
    engine: str | None = None,
    config: Mapping[str, object] | None = None,
) -> dg.AssetsDefinition:
    """Return an asset that makes a catalog's links and publishes links.parquet.

    Args:
        catalog: a path or URI (`{partition}` in it is filled in), a DuckDB table, or the key of an
            upstream asset whose value is a DataFrame, an Arrow table or a path. A URI with
            credentials is given as `dg.EnvVar`, and read when a run begins. With an engine, a path
            of Parquet that it reads, a `SparkTable`, or an asset whose value is its kind of frame.
        output: path or URI of links.parquet, or its `dg.EnvVar`; with a slash at its end, as text,
            a folder for a table in many files; `delta://FOLDER` a Delta table. With partitions,
            `{partition}` in it is filled in; without it each gets a folder of its own.
        mapping: a YAML file, or the same as a dict; None for a catalog in Incarts' own field names,
            which needs `link_set` and `unique_key`.
        link_set: the set that the links belong to; wins over the mapping's.
        unique_key: the columns that name a row, where there is no mapping.
        spec: key, group, owners, partitions, freshness policy and so on; by default the key is
            `incarts/` and the link set.
        partition_column: the column whose values are the partition keys; None when each partition
            is a catalog of its own.
        resource_key: of an `IncartsResource`; None reads everything from the environment.
        pool: the concurrency pool, None for none.
        engine: `spark` or `ray`, which prepares the rows and compares them where they are; None
            does it in the run's process.
        config: other defaults for `LinksConfig`.

    Raises:
        dagster.DagsterInvalidDefinitionError: the arguments don't fit together, one is a secret,
            or the mapping can't be read or makes no sense.
    """
    _no_secrets(catalog, output, spec, config)
    spec = _complete(spec, _link_set(mapping, link_set, unique_key))
    if partition_column is not None and spec.partitions_def is None:
        raise dg.DagsterInvalidDefinitionError(
            f"{spec.key.to_user_string()}: partition_column needs a spec with partitions_def."
        )
    reads_on = _engine(engine)
    check_engine(reads_on, str(catalog) if isinstance(catalog, Path) else catalog)
    source = Source(
        catalog=str(catalog) if isinstance(catalog, Path) else catalog,
        mapping=mapping,
        output=str(output) if isinstance(output, Path) else output,
        partitioned=spec.partitions_def is not None,
        link_set=link_set,
        unique_key=tuple(unique_key),
        partition_column=partition_column,
        engine=reads_on,
    )
    key = spec.key
    config_type = config_with(dict(config or {}))
    if isinstance(catalog, dg.AssetKey) and catalog not in [dep.asset_key for dep in spec.deps]:
        spec = spec.replace_attributes(deps=[*spec.deps, catalog])
    ins = {"catalog": dg.AssetIn(key=catalog)} if isinstance(catalog, dg.AssetKey) else None

    @dg.multi_asset(
        name=key.to_python_identifier(),
        specs=[spec],
        check_specs=check_specs(key),
        ins=ins,
        required_resource_keys={resource_key} if resource_key else set(),
        # A backfill of 30 days is one run: thirty would ask for the same ledger and pace at once.
        backfill_policy=dg.BackfillPolicy.single_run() if spec.partitions_def else None,
        pool=pool,
        can_subset=True,  # a run that only plans records no result, and no checks
        # Not by an annotation, which Dagster looks up in the module: the class is made here.
        config_schema=config_schema(config_type),
    )
    def links(context: dg.AssetExecutionContext, **values: Any) -> Iterator[Any]:
        resource = getattr(context.resources, resource_key) if resource_key else IncartsResource()
        chosen = _chosen(config_type, context.op_execution_context.op_config)
        run = LinksRun(context=context, key=key, source=source, config=chosen)
        yield from run.go(resource.settings, values.get("catalog"))

    return links


def build_incarts_links_job(name: str, *keys: dg.AssetKey | Sequence[str]) -> Any:
    """Return a job that materializes assets, in one process: nothing is gained by several.

    It is what `dagster.define_asset_job` returns, whose class has no public name.
    """
    assets = [dg.AssetKey(key) if not isinstance(key, dg.AssetKey) else key for key in keys]
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*assets),
        executor_def=dg.in_process_executor,
        description="Make the links that are missing, and publish links.parquet.",
    )


def _engine(name: str | None) -> EngineKind | None:
    if name is not None and name not in list(EngineKind):
        raise dg.DagsterInvalidDefinitionError(
            f"There is no engine {name!r}: choose from {', '.join(EngineKind)}, or leave it out."
        )
    return None if name is None else EngineKind(name)


def _chosen(config_type: type[LinksConfig], given: Mapping[str, Any]) -> LinksConfig:
    """Return a run's config; what Dagster doesn't check itself fails the step at once."""
    try:
        return config_type(**given)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        text = shown(f"The run's config is wrong: {told}. Nothing was sent.")
        raise dg.Failure(text, allow_retries=False) from None


def _no_secrets(
    catalog: object,
    output: object,
    spec: dg.AssetSpec | None,
    config: Mapping[str, object] | None,
) -> None:
    """Refuse secrets in what Dagster shows, or what stands in the code."""
    table = list(astuple(catalog)) if isinstance(catalog, DuckDbTable | SparkTable) else catalog
    no_secret("catalog", table, 'catalog=dg.EnvVar("CATALOG_URI")')
    no_secret("output", output, 'output=dg.EnvVar("OUTPUT_URI")')
    no_secret("config", config)
    if spec is not None:
        told = [spec.key.path, spec.description, spec.group_name, *spec.owners, spec.tags]
        no_secret("The asset's spec", [*told, spec.code_version, spec.metadata])


def _complete(spec: dg.AssetSpec | None, link_set: str) -> dg.AssetSpec:
    """Fill in what the spec leaves open; `skippable`, because a run that only plans makes none."""
    if spec is None:
        # A link set may have any printable name; an asset's key may not.
        spec = dg.AssetSpec([GROUP, re.sub(r"[^A-Za-z0-9_-]+", "_", link_set)])
    return spec.replace_attributes(
        group_name=spec.group_name or GROUP,
        kinds=spec.kinds or KINDS,
        skippable=True,
        description=spec.description
        or "One row per catalog row, with its link or the reason why it has none.",
    )


def _link_set(
    mapping: str | Path | Mapping[str, Any] | None, link_set: str | None, unique_key: Sequence[str]
) -> str:
    """Return the link set's name, once the mapping is known to be one: a night is too late."""
    if mapping is None:
        if link_set is None or not unique_key:
            raise dg.DagsterInvalidDefinitionError(
                "Without a mapping the asset needs link_set and unique_key."
            )
        return link_set
    # Here, so that importing this module doesn't load Arrow.
    from incarts_pipeline.errors import MappingError
    from incarts_pipeline.mapping import load_mapping

    try:
        loaded = load_mapping(plain_mapping(mapping))
    except MappingError as error:
        raise dg.DagsterInvalidDefinitionError(str(error)) from error
    return loaded.link_set if link_set is None else link_set


__all__ = ["LinksConfig", "build_incarts_links_asset", "build_incarts_links_job"]
