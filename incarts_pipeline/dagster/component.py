"""Component of one link set: a few lines of YAML make asset, checks and schedule."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import yaml

from incarts_pipeline.catalog import delta_uri, is_delta_uri
from incarts_pipeline.dagster.asset import POOL, build_incarts_links_asset, build_incarts_links_job
from incarts_pipeline.dagster.engines import SparkTable
from incarts_pipeline.dagster.literals import no_secret, resolved_place
from incarts_pipeline.dagster.sources import DuckDbTable
from incarts_pipeline.file_writer import write_file

# A path or URI, whose credentials may come from `{{ env.NAME }}` alone: the resolver sees which.
Place = Annotated[
    str, dg.Resolver(resolved_place, model_field_type=str, inject_before_resolve=False)
]
OptionalPlace = Annotated[
    str | None,
    dg.Resolver(resolved_place, model_field_type=str | None, inject_before_resolve=False),
]


@dataclass
class CatalogSource(dg.Resolvable):
    """Where the catalog comes from: one of `path`, `asset`, or `duckdb` with `table`.

    `path` is a path or URI of Parquet, CSV or JSON lines (relative ones start at the project's
    root); `asset` the key of an upstream asset whose value is a DataFrame, an Arrow table or a
    path; `duckdb` a database file and `table` a table or view in it. With an engine, `path` is of
    Parquet, the asset's value its kind of frame, and `table` by itself one of Spark's.
    """

    path: OptionalPlace = None
    asset: str | None = None
    duckdb: OptionalPlace = None
    table: str | None = None


@dataclass
class Schedule(dg.Resolvable):
    """When to run: `cron` in `timezone` (UTC unless you say so), as a job of that name.

    `upstream` are the keys of assets that the job materializes first. It runs from the moment that
    the location is loaded; with `running: false` not until somebody switches it on in the UI.
    """

    cron: str
    timezone: str = "UTC"
    job: str = "incarts_nightly"
    upstream: Sequence[str] = ()
    running: bool = True


@dataclass
class Freshness(dg.Resolvable):
    """At `deadline`, a cron in the schedule's time zone, the links are `hours` old at most."""

    deadline: str
    hours: float = 24.0


class _Scaffolder(dg.Scaffolder):
    """Writes a defs.yaml to fill in, and a mapping beside it."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        # Something that loads as it is: a placeholder that doesn't would break the whole location.
        dg.scaffold_component(
            request,
            {
                "catalog": {"path": "data/products.parquet"},
                "mapping": "mapping.yaml",
                "output": "data/links.parquet",
                "schedule": {"cron": "0 2 * * *", "timezone": "UTC"},
            },
        )
        mapping = {
            "link_set": request.target_path.name,
            "unique_key": ["sku"],
            "link": {
                "name": {"column": "title"},
                "retailer": "walmart",
                "intent": "add_to_cart",
                "products": {"retailer_product_id": {"column": "item_id"}},
            },
        }
        # In the order in which people read a mapping, the key first.
        text = yaml.safe_dump(mapping, sort_keys=False)
        write_file(request.target_path / "mapping.yaml", text)


@dg.scaffold_with(_Scaffolder)
@dataclass
class IncartsLinksComponent(dg.Component, dg.Resolvable):
    """Makes a catalog's links, each exactly once, and publishes links.parquet.

    Attributes:
        catalog: where the products come from.
        output: path or URI of links.parquet; relative ones start at the project's root.
        mapping: a YAML file beside this one; none for a catalog in Incarts' own field names, which
            needs `link_set` and `unique_key`.
        asset: key, group, owners, partitions and so on; the key is `incarts/` and the link set
            unless it says otherwise.
        partition_column: the column whose values are the partition keys.
        schedule: when the job runs, which it does without being switched on; none for no job.
        freshness: by when the links must have been made.
        resource: the key of an `IncartsResource`; none reads the environment.
        pool: the concurrency pool.
        engine: `spark` or `ray`, to prepare and compare the rows where they are.
        config: other defaults of the launchpad's values, thresholds of the checks among them.
    """

    catalog: CatalogSource
    output: Place
    mapping: str | None = None
    asset: dg.ResolvedAssetSpec | None = None
    link_set: str | None = None
    unique_key: Sequence[str] = ()
    partition_column: str | None = None
    schedule: Schedule | None = None
    freshness: Freshness | None = None
    resource: str | None = None
    pool: str | None = POOL
    engine: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the asset with its checks, and its job and schedule when there is one.

        Raises:
            dagster.DagsterInvalidDefinitionError: the attributes don't fit together, or have a
                secret.
        """
        places = {"path": self.catalog.path, "duckdb": self.catalog.duckdb, "output": self.output}
        for name, place in places.items():
            no_secret(name, place, f'{name}: "{{{{ env.{name.upper()}_URI }}}}"')
        # Not the working directory, which is another one for `dg`, a daemon and a container.
        root = Path(context.project_root)
        links = build_incarts_links_asset(
            catalog=self._catalog(root),
            output=_from(root, self.output),
            # Beside its defs.yaml, since they belong together; data is found from the project's
            # root.
            mapping=Path(context.path) / self.mapping if self.mapping else None,
            link_set=self.link_set,
            unique_key=self.unique_key,
            spec=self.asset,
            partition_column=self.partition_column,
            resource_key=self.resource,
            pool=self.pool,
            engine=self.engine,
            config=self.config,
        )
        if self.freshness is not None:
            policy = dg.FreshnessPolicy.cron(
                deadline_cron=self.freshness.deadline,
                lower_bound_delta=dt.timedelta(hours=self.freshness.hours),
                # The deadline is meant in the time in which the job runs.
                timezone=self.schedule.timezone if self.schedule else "UTC",
            )
            links = links.map_asset_specs(
                lambda spec: spec.replace_attributes(freshness_policy=policy)
            )
        if self.schedule is None:
            return dg.Definitions(assets=[links])
        upstream = map(dg.AssetKey.from_user_string, self.schedule.upstream)
        job = build_incarts_links_job(self.schedule.job, *upstream, links.key)
        status = dg.DefaultScheduleStatus
        nightly = dg.ScheduleDefinition(
            job=job,
            cron_schedule=self.schedule.cron,
            execution_timezone=self.schedule.timezone,
            # Whoever writes down when it is to run expects that it does.
            default_status=status.RUNNING if self.schedule.running else status.STOPPED,
        )
        return dg.Definitions(assets=[links], jobs=[job], schedules=[nightly])

    def _catalog(self, root: Path) -> str | dg.AssetKey | DuckDbTable | SparkTable:
        source = self.catalog
        if source.table and self.engine and not (source.path or source.asset or source.duckdb):
            return SparkTable(source.table)
        # Dagster's YAML has no either-or, so it is checked here.
        given = [name for name in ("path", "asset", "duckdb") if getattr(source, name)]
        if len(given) != 1 or bool(source.duckdb) != bool(source.table):
            raise dg.DagsterInvalidDefinitionError(
                "catalog must have one of path, asset, or duckdb together with table; "
                f"it has {', '.join(given) or 'none'}."
            )
        if source.asset:
            return dg.AssetKey.from_user_string(source.asset)
        if source.duckdb and source.table:
            return DuckDbTable(_from(root, source.duckdb), source.table)
        return _from(root, source.path or "")


def _from(root: Path, place: str) -> str:
    """Return a place, from the project's root when it is a relative path."""
    uri = delta_uri(place)
    if "://" in uri.folder:
        return place
    path = f"{root / uri.folder}{'/' if uri.folder.endswith('/') else ''}"
    return str(replace(uri, folder=path)) if is_delta_uri(place) else path
