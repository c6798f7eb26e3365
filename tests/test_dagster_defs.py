"""The code location: it loads, and its asset runs the pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dagster as dg

    from dagster_defs.definitions import LinksConfig, defs, links

from incarts_pipeline.sandbox import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")


@pytest.fixture
def instance(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance whose environment points at the sandbox."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def materialize(
    instance: dg.DagsterInstance, *, raise_on_error: bool = False, **config: object
) -> dg.ExecuteInProcessResult:
    """Materialize the asset in this process."""
    run_config = dg.RunConfig(
        ops={"incarts__links": LinksConfig(**config)},
        loggers={"console": {"config": {"log_level": "ERROR"}}},
    )
    return dg.materialize(
        [links], instance=instance, run_config=run_config, raise_on_error=raise_on_error
    )


def test_definitions_load() -> None:
    """The code location holds the asset incarts/links."""
    dg.Definitions.validate_loadable(defs)
    assert defs.resolve_asset_graph().get(dg.AssetKey(["incarts", "links"]))


def test_materializing_makes_the_links_once(instance: dg.DagsterInstance, box: Sandbox) -> None:
    """The first run makes the sample's links and records counts; the second sends nothing."""
    for requests in (176, 0):
        result = materialize(instance)
        [event] = result.asset_materializations_for_node("incarts__links")
        assert result.success
        assert event.metadata["incarts/requests"].value == requests
        assert event.metadata["dagster/row_count"].value == 194
    assert pq.read_table("links.parquet").num_rows == 194
    assert (box.audit().links, box.audit().duplicates) == (176, 0)


def test_pending_rows_fail_after_recording(instance: dg.DagsterInstance, box: Sandbox) -> None:
    """With a limit the step fails, but its materialization and its links are kept."""
    result = materialize(instance, limit=5)
    assert not result.success
    [event] = result.asset_materializations_for_node("incarts__links")
    assert event.metadata["incarts/created"].value == 5
    assert box.audit().links == 5


def test_wrong_key_is_not_retried(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 is a failure that no retry can mend, and the key is not in it."""
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_wrong_but_long_enough")
    with pytest.raises(dg.Failure) as failed:
        materialize(instance, raise_on_error=True)
    assert failed.value.allow_retries is False
    assert "API key" in str(failed.value.description)
    assert "ic_live_wrong" not in str(failed.value)
