"""Literals in definitions: secrets among them are refused, and variables are in nothing stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.csv as pacsv
import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing import create_defs_folder_sandbox
from dagster_shared.serdes import serialize_value

from incarts_pipeline.dagster import (
    DuckDbTable,
    IncartsLinksComponent,
    IncartsResource,
    build_incarts_links_asset,
)
from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.conftest import QUIET, failure_of, links_asset
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")

SECRET = "Zr8+qLv5XnTy2GcM6sKd"
URI = f"s3://reader:{SECRET}@bucket/products.parquet"


def snapshot_of(defs: dg.Definitions) -> str:
    """Return what Dagster's daemon and UI are given of a code location."""
    return serialize_value(RepositorySnap.from_def(defs.get_repository_def()))


@pytest.mark.parametrize("key", ["ic_live_Qz7kVx3WmRt9HbN4p", "a-key-of-another-shape"])
def test_a_literal_key_is_refused(key: str) -> None:
    """The message has the line to write, and not the key."""
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        IncartsResource(api_key=key)
    assert 'api_key=dg.EnvVar("INCARTS_API_KEY")' in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["base_url", "project_id", "ledger", "target", "rate", "max_rps"])
@pytest.mark.parametrize("secret", ["ic_live_Qz7kVx3WmRt9HbN4p", URI], ids=["key", "uri"])
def test_no_other_value_of_the_resource_is_a_secret(name: str, secret: str) -> None:
    """Whatever was mixed up, or put into a URI."""
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=name) as caught:
        IncartsResource(**{name: secret})
    assert SECRET not in str(caught.value)
    assert "Qz7k" not in str(caught.value)


def test_a_key_of_a_variable_is_in_nothing_of_dagsters(
    environment: None, box: Sandbox, instance: dg.DagsterInstance
) -> None:
    """Neither in the location's snapshot nor in the launchpad's defaults; its name is."""
    asset = links_asset(resource_key="incarts")
    resource = IncartsResource(api_key=dg.EnvVar("INCARTS_API_KEY"))
    defs = dg.Definitions(assets=[asset], resources={"incarts": resource})
    told = [snapshot_of(defs), repr(resource), str(resource.model_dump())]
    assert "INCARTS_API_KEY" in told[0]
    assert [text for text in told if box.api_key in text] == []
    assert resource.settings().api_key is not None


def test_a_literal_key_in_the_launchpad_is_refused(
    environment: None, box: Sandbox, instance: dg.DagsterInstance
) -> None:
    """Before there is a run whose config would keep it; another variable may be named there."""
    asset = links_asset(resource_key="incarts")
    defs = dg.Definitions(assets=[asset], resources={"incarts": IncartsResource()})
    job = defs.resolve_implicit_global_asset_job_def()

    def launch(given: object) -> Any:
        resources = {"incarts": {"config": {"api_key": given}}}
        return job.execute_in_process(
            instance=instance,
            run_config={"loggers": QUIET, "resources": resources},
            raise_on_error=False,
        )

    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        launch("a-key-of-another-shape")
    assert "a-key-of" not in str(caught.value)
    assert instance.get_runs() == []
    assert launch({"env": "INCARTS_API_KEY"}).success
    failed = launch({"env": "NOWHERE"})
    assert "There is no variable NOWHERE" in failure_of(failed)


@pytest.mark.parametrize(
    "given",
    [
        {"catalog": URI},
        {"catalog": DuckDbTable(URI, "t")},
        {"output": URI},
        {"config": {"approve": "ic_live_Qz7kVx3WmRt9HbN4p"}},
        {"spec": dg.AssetSpec("links", description=f"from {URI}")},
        {"spec": dg.AssetSpec("links", metadata={"source": URI})},
        {"spec": dg.AssetSpec("links", tags={"key": "ic_live_Qz7kVx3WmRt9HbN4p"})},
    ],
)
def test_an_asset_takes_no_secret(given: dict[str, Any]) -> None:
    """In Python, what has credentials is given by its variable."""
    usual = {"catalog": "c.csv", "output": "l.parquet", "link_set": "s", "unique_key": ["sku"]}
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        build_incarts_links_asset(**(usual | given))
    assert SECRET not in str(caught.value)
    if set(given) & {"catalog", "output"}:
        [name] = given
        assert f"write {name}=dg.EnvVar(" in str(caught.value)


def test_places_can_come_from_variables(
    environment: None, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read when a run begins; one that is missing is named."""
    pacsv.write_csv(products(3), "catalog.csv")
    asset = links_asset(dg.EnvVar("CATALOG_URI"), output=dg.EnvVar("OUTPUT_URI"))

    def go() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [asset], instance=instance, run_config={"loggers": QUIET}, raise_on_error=False
        )

    monkeypatch.setenv("OUTPUT_URI", "out/links.parquet")
    assert "There is no variable CATALOG_URI" in failure_of(go())
    monkeypatch.setenv("CATALOG_URI", "catalog.csv")
    assert go().success
    assert Path("out/links.parquet").is_file()


def load(attributes: dict[str, Any]) -> tuple[str, dg.Definitions]:
    """Load a component; returns the snapshot of its location, and its definitions."""
    usual = {"link_set": "s", "unique_key": ["sku"], "output": "l.parquet"}
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=IncartsLinksComponent, defs_path="links")
        content = {
            "type": "incarts_pipeline.dagster.IncartsLinksComponent",
            "attributes": {"catalog": {"path": "c.csv"}} | usual | attributes,
        }
        (path / "defs.yaml").write_text(yaml.safe_dump(content))
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            return snapshot_of(defs), defs


PLACES = [
    lambda place: {"catalog": {"path": place}},
    lambda place: {"catalog": {"duckdb": place, "table": "t"}},
    lambda place: {"output": place},
]


@pytest.mark.parametrize("attributes", PLACES, ids=["path", "duckdb", "output"])
def test_yaml_has_no_credentials(attributes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own: a template brings them, whole or in parts, and they are in no snapshot."""
    with pytest.raises(ComponentTreeException) as caught:
        load(attributes(URI))
    told = str(caught.value.__cause__)
    assert '_URI }}"' in told
    assert SECRET not in told
    monkeypatch.setenv("CATALOG_URI", URI)
    monkeypatch.setenv("PASSWORD", SECRET)
    for place in ("{{ env.CATALOG_URI }}", "s3://reader:{{ env.PASSWORD }}@bucket/x.parquet"):
        snapshot, defs = load(attributes(place))
        assert SECRET not in snapshot
        assert SECRET not in repr(defs)


def test_yaml_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a template: Dagster would keep what it stands for."""
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_Qz7kVx3WmRt9HbN4p")
    for attributes in (
        {"asset": {"key": "links", "description": "{{ env.INCARTS_API_KEY }}"}},
        {"config": {"approve": "{{ env.INCARTS_API_KEY }}"}},
    ):
        with pytest.raises(ComponentTreeException) as caught:
            load(attributes)
        assert "has a secret in it" in str(caught.value.__cause__)
        assert "Qz7k" not in str(caught.value.__cause__)
