"""A Dagster instance, an environment that points at the sandbox, and a way to materialize."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.runs import products

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dagster as dg

    from incarts_pipeline.dagster import build_incarts_links_asset

KEY = dg.AssetKey(["incarts", "shop"])
OP = "incarts__shop"
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def environment(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as a deployment would have them."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")


@pytest.fixture
def instance(environment: None) -> Iterator[dg.DagsterInstance]:
    """An instance that is gone afterwards."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def write_catalog(table: pa.Table) -> str:
    """Write a catalog and return its path."""
    pq.write_table(table, "catalog.parquet")
    return "catalog.parquet"


def links_asset(catalog: object = None, **keywords: Any) -> dg.AssetsDefinition:
    """Return the links asset of a catalog of 30 products, or another one."""
    keywords = {"link_set": "shop", "unique_key": ["sku"], "output": "links.parquet"} | keywords
    source = catalog if catalog is not None else write_catalog(products(30))
    return build_incarts_links_asset(catalog=source, **keywords)  # type: ignore[arg-type]


@pytest.fixture
def materialize(instance: dg.DagsterInstance) -> Materialize:
    """Materialize assets in this process; config is the links asset's."""

    def go(
        *assets: dg.AssetsDefinition,
        raise_on_error: bool = False,
        config: dict[str, object] | None = None,
        op: str = OP,
        **keywords: Any,
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            list(assets),
            instance=instance,
            run_config={"ops": {op: {"config": config or {}}}, "loggers": QUIET},
            raise_on_error=raise_on_error,
            **keywords,
        )

    return go


def metadata_of(result: dg.ExecuteInProcessResult, op: str = OP) -> dict[str, Any]:
    """Return the values of the one materialization's metadata."""
    [event] = result.asset_materializations_for_node(op)
    return {name: value.value for name, value in event.metadata.items()}


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the check evaluations by name."""
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def failure_of(result: dg.ExecuteInProcessResult, op: str = OP) -> str:
    """Return what a failed step says."""
    [event] = [e for e in result.all_events if e.is_step_failure and e.step_key == op]
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    return data.description or ""
