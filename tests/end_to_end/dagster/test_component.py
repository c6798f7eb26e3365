"""The component: six lines of YAML make asset, checks, job, schedule and freshness."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox

from dagster_defs.definitions import defs as load_definitions
from incarts_pipeline.dagster import (
    IncartsLinksComponent,
    build_incarts_links_asset,
    build_incarts_links_job,
)
from incarts_pipeline.dagster.component import _from

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")

MINIMAL = {
    "catalog": {"path": "products.parquet"},
    "link_set": "summer",
    "unique_key": ["sku"],
    "output": "links.parquet",
    "schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"},
}


def definitions(attributes: dict[str, Any], root: Path | None = None) -> dg.Definitions:
    """Load a project that has one component with these attributes."""
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=IncartsLinksComponent, defs_path="links")
        content = {
            "type": "incarts_pipeline.dagster.IncartsLinksComponent",
            "attributes": attributes,
        }
        (path / "defs.yaml").write_text(yaml.safe_dump(content))
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            dg.Definitions.validate_loadable(defs)
            return defs


def test_six_lines_are_enough() -> None:
    """Asset, checks, job, schedule with its time zone; the key follows the link set."""
    defs = definitions(MINIMAL)
    key = dg.AssetKey(["incarts", "summer"])
    graph = defs.resolve_asset_graph()
    assert graph.get_all_asset_keys() == {key}
    assert len(graph.asset_check_keys) == 7
    schedule = defs.resolve_schedule_def("incarts_nightly_schedule")
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    [spec] = defs.resolve_all_asset_specs()
    assert (spec.group_name, spec.kinds) == ("incarts", {"incarts", "parquet"})


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("data/links.parquet", "/shop/data/links.parquet"),
        ("data/links/", "/shop/data/links/"),
        ("delta://data/links", "delta:///shop/data/links"),
        ("delta+s3://bucket/links", "delta+s3://bucket/links"),
    ],
)
def test_places_are_found_from_the_projects_root(place: str, found: str) -> None:
    """A folder stays one, and a Delta table, too."""
    assert _from(Path("/shop"), place) == found


def test_schedule_can_wait_to_be_switched_on() -> None:
    """`running: false` leaves it to a person in the UI."""
    schedule = MINIMAL["schedule"] | {"running": False}
    found = definitions(MINIMAL | {"schedule": schedule}).resolve_schedule_def(
        "incarts_nightly_schedule"
    )
    assert found.default_status is dg.DefaultScheduleStatus.STOPPED


def test_spec_freshness_and_partitions_can_be_given() -> None:
    """What Dagster's asset spec knows, in YAML."""
    attributes = MINIMAL | {
        "asset": {
            "key": "shop/links",
            "owners": ["team:growth"],
            "partitions_def": {"type": "static", "partition_keys": ["a", "b"]},
        },
        "partition_column": "retailer",
        "freshness": {"deadline": "0 6 * * *", "hours": 5},
        "config": {"max_rejected_share": 0.2},
    }
    [spec] = definitions(attributes).resolve_all_asset_specs()
    assert spec.key == dg.AssetKey(["shop", "links"])
    assert spec.owners == ["team:growth"]
    assert spec.partitions_def is not None
    assert spec.freshness_policy is not None


def test_catalog_may_be_an_engine_s() -> None:
    """A table by its name alone, or a path that the engine reads."""
    for catalog in ({"table": "shop.products"}, {"path": "products/"}):
        attributes = MINIMAL | {"catalog": catalog, "engine": "spark"}
        found = definitions(attributes).resolve_asset_graph().get_all_asset_keys()
        assert dg.AssetKey(["incarts", "summer"]) in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"catalog": {}}, "one of path, asset, or duckdb"),
        ({"catalog": {"duckdb": "w.duckdb"}}, "one of path, asset, or duckdb"),
        ({"engine": "flink"}, "no engine 'flink'"),
        ({"engine": "ray", "catalog": {"table": "shop.products"}}, "needs engine: spark"),
        ({"engine": "spark", "catalog": {"duckdb": "a", "table": "b"}}, "DuckDB table"),
        ({"config": {"limt": 3}}, "limt"),
        ({"mapping": "nowhere.yaml", "link_set": None}, "nowhere.yaml"),
        ({"mapping": "nowhere.yaml", "asset": {"key": "shop/links"}}, "nowhere.yaml"),
        ({"mapping": "maping.yaml"}, 'Did you mean "mapping.yaml"?'),
        ({"link_set": None}, "link_set and unique_key"),
        ({"link_set": None, "asset": {"key": "shop/links"}}, "link_set and unique_key"),
        ({"unique_key": []}, "link_set and unique_key"),
        ({"outputs": "x"}, "outputs"),
    ],
)
def test_mistakes_are_named_at_load(change: dict[str, Any], said: str) -> None:
    """The code location says what is wrong, and where."""
    with pytest.raises(ComponentTreeException) as failed:
        definitions(MINIMAL | change)
    causes: list[BaseException] = [failed.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert said in "\n".join(str(cause) for cause in causes)


def test_scaffolded_files_load() -> None:
    """What the scaffolder writes is a whole component, its mapping included."""
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=IncartsLinksComponent, defs_path="spring")
        assert (path / "mapping.yaml").exists()
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            assert defs.resolve_asset_graph().get_all_asset_keys() == {
                dg.AssetKey(["incarts", "spring"])
            }


def test_sample_location_loads() -> None:
    """The code location that runs as it is: two assets, one job, one schedule."""
    defs = load_definitions()
    dg.Definitions.validate_loadable(defs)
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {"incarts/catalog", "incarts/links"}
    job = defs.resolve_job_def("incarts_nightly")
    assert {node.name for node in job.nodes} == {"incarts__catalog", "incarts__links"}
    assert job.executor_def.name == "in_process"
    links = defs.resolve_assets_def(dg.AssetKey(["incarts", "links"]))
    assert links.op.pool == "incarts"


def test_misspelled_asset_of_a_job_fails_at_load() -> None:
    """A selection that matches nothing would materialize everything."""
    job = build_incarts_links_job("nightly", ["incarts", "lnks"])
    links = build_incarts_links_asset(
        catalog="c.csv", output="links.parquet", link_set="links", unique_key=["sku"]
    )
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="nightly") as failed:
        dg.Definitions.validate_loadable(dg.Definitions(assets=[links], jobs=[job]))
    assert "lnks" in str(failed.value.__cause__)


def test_misspelled_mapping_of_a_named_asset_fails_at_load() -> None:
    """In Python too, where the asset's key is given and the mapping isn't asked for its name."""
    mapping = {"link_set": "a", "unique_key": ["sku"], "link": {"nam": "x"}}
    for wrong, said in (("maping.yaml", "maping.yaml"), (mapping, 'Did you mean "name"?')):
        with pytest.raises(dg.DagsterInvalidDefinitionError, match=said.replace("?", "[?]")):
            build_incarts_links_asset(
                catalog="c.csv",
                output="links.parquet",
                mapping=wrong,
                spec=dg.AssetSpec(["incarts", "links"]),
            )


def test_any_mapping_will_do() -> None:
    """Not a dict alone: what can't be changed, too."""
    link = {"name": "x", "retailer": "walmart", "intent": "add_to_cart"}
    mapping = MappingProxyType({"link_set": "a b", "unique_key": ["sku"], "link": link})
    asset = build_incarts_links_asset(catalog="c.csv", output="links.parquet", mapping=mapping)
    assert asset.key == dg.AssetKey(["incarts", "a_b"])


def test_component_takes_no_key() -> None:
    """In YAML it would be a literal, or a template that becomes one, and the UI would show it."""
    names = {one.name for one in fields(IncartsLinksComponent)}
    assert [name for name in names if "key" in name] == ["unique_key"]
