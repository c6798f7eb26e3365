"""The links asset: what it makes, records, checks and refuses."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap

from incarts_pipeline.dagster import IncartsResource, LinksConfig
from incarts_pipeline.dagster.checks import content_version
from incarts_pipeline.dagster.columns import MEANINGS
from incarts_pipeline.dagster.metadata import summed
from incarts_pipeline.maintenance import move_ledger
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Limit
from incarts_pipeline.schemas import LINKS, PROBLEMS
from tests.end_to_end.dagster.conftest import (
    KEY,
    OP,
    QUIET,
    Materialize,
    checks_of,
    failure_of,
    links_asset,
    metadata_of,
    write_catalog,
)
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")


def test_links_are_made_once_and_recorded(
    materialize: Materialize, box: Sandbox, instance: dg.DagsterInstance
) -> None:
    """The first run makes them, the second sends nothing; both say so in plain numbers."""
    asset = links_asset()
    first, second = (metadata_of(materialize(asset)) for _ in range(2))
    assert (first["incarts/created"], first["incarts/requests"]) == (30, 30)
    assert (second["incarts/unchanged"], second["incarts/requests"]) == (30, 0)
    assert first["dagster/row_count"] == 30
    assert first["path"].endswith("links.parquet")
    assert first["incarts/scopes"] == "links:write, retailers:walmart"
    assert {type(value) for value in first.values()} <= {int, float, str, dict, dg.TableSchema}
    columns = [column.name for column in first["dagster/column_schema"].columns]
    assert columns[:2] == ["sku", "catalog_row"]
    logs = instance.all_logs(instance.get_runs()[-1].run_id)
    assert len([one for one in logs if not one.is_dagster_event]) <= 3  # whatever the rows
    assert (box.audit().links, box.audit().duplicates) == (30, 0)


def test_a_dataset_is_an_output(materialize: Materialize, box: Sandbox) -> None:
    """Metadata, checks, failures and version are as of a table in one file."""
    catalog = write_catalog(products(30, quantity=[0] + [1] * 29))
    made = {}
    for output in ("links/", "links.parquet", "delta://warehouse/links"):
        results = [materialize(links_asset(catalog, output=output)) for _ in range(2)]
        found = metadata_of(results[1])
        assert {name for name, one in checks_of(results[1]).items() if not one.passed} == set()
        assert "000000" in str(metadata_of(results[0])["first failures"])
        version = content_version(output)
        made[output] = found["incarts/unchanged"], found["dagster/column_schema"], version
    assert made["links/"] == made["links.parquet"] == made["delta://warehouse/links"]
    assert Path("links/_manifest.json").exists()
    assert box.audit().links == 29


def test_rekeyed_rows_are_held_and_moved(
    materialize: Materialize, instance: dg.DagsterInstance, box: Sandbox
) -> None:
    """A plan says how the config is spelled that moves links to new keys."""
    materialize(links_asset())
    asset = links_asset(write_catalog(products(30, sku=[str(i) for i in range(30)])))
    materialize(asset, config={"mode": "plan"})
    [seen] = instance.fetch_observations(KEY, limit=5).records
    assert seen.asset_observation is not None
    told = str(seen.asset_observation.metadata["plan"].value)
    assert 'rekeyed: "move" moves their links over' in told
    held = metadata_of(materialize(asset))
    assert (held["incarts/held"], held["incarts/requests"]) == (30, 0)
    moved = materialize(asset, config={"rekeyed": "move"})
    assert metadata_of(moved)["incarts/rekeyed"] == 30
    assert {name for name, check in checks_of(moved).items() if not check.passed} == set()
    assert box.audit().links == 30


def test_checks_pass_and_say_what_they_looked_at(materialize: Materialize) -> None:
    """All seven, with the asset's materialization."""
    checks = checks_of(materialize(links_asset()))
    assert {name for name, check in checks.items() if check.passed} == {
        "no_row_lost",
        "one_link_per_content",
        "rejected_share",
        "suspicious_share",
        "new_rejects",
        "nothing_in_doubt",
        "nothing_stale",
    }
    assert checks["no_row_lost"].metadata["catalog_rows"].value == 30
    values = [value.value for check in checks.values() for value in check.metadata.values()]
    assert {type(value) for value in values} <= {int, float, str}  # numpy's would fail the step


def test_rejects_warn_and_new_ones_are_told_apart(materialize: Materialize) -> None:
    """A share above the threshold, and rows that were fine in the last run, are warnings."""
    materialize(links_asset())
    bad = products(30, name=[""] * 3 + [f"Product {i}" for i in range(3, 30)])
    result = materialize(links_asset(write_catalog(bad)))
    assert result.success
    checks = checks_of(result)
    failed = {name: check.severity for name, check in checks.items() if not check.passed}
    warn = dg.AssetCheckSeverity.WARN
    # What they were linked to is kept, so they are rejected, not stale.
    assert failed == {"rejected_share": warn, "new_rejects": warn}
    assert checks["new_rejects"].metadata["rows"].value == 3
    assert "000000 of shop: name: " in checks["new_rejects"].metadata["first"].value
    share = checks["rejected_share"]
    assert share.description == ("3 of 30 rows are rejected, 10 % (accepted: 5 %): 3 name missing.")
    assert (share.metadata["percent"].value, share.metadata["accepted"].value) == (10.0, "5 %")
    assert "| name missing | 3 |" in share.metadata["reasons"].value
    assert len(share.metadata["first rows"].value.splitlines()) == 2 + 3
    again = checks_of(
        materialize(links_asset(write_catalog(bad)), config={"max_rejected_share": 1})
    )
    assert [name for name, check in again.items() if not check.passed] == []
    assert "first failures" in metadata_of(materialize(links_asset(write_catalog(bad))))


def test_suspicious_rows_warn_until_they_are_accepted(
    materialize: Materialize, box: Sandbox
) -> None:
    """They are held, which nobody would see at night without a word."""
    ids = [*["012345678905"] * 3, *(str(500_000 + i) for i in range(27))]
    asset = links_asset(write_catalog(products(30, retailer_product_id=ids)))
    checks = checks_of(materialize(asset))
    assert [name for name, check in checks.items() if not check.passed] == ["suspicious_share"]
    found = checks["suspicious_share"]
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.metadata["percent"].value == 10.0
    assert "looks_like_gtin | 3 |" in found.metadata["reasons"].value.replace("\\", "")
    assert box.audit().links == 27
    again = materialize(asset, config={"accept": ["looks_like_gtin"]})
    assert {name for name, check in checks_of(again).items() if not check.passed} == set()
    assert box.audit().links == 30


def logged(instance: dg.DagsterInstance, level: str) -> list[str]:
    """Return what the last run logged itself, beside Dagster's events."""
    logs = instance.all_logs(instance.get_runs()[0].run_id)
    own = [one for one in logs if not one.is_dagster_event]
    return [one.user_message for one in own if one.level == logging.getLevelName(level)]


@pytest.mark.parametrize("mode", ["write", "plan"])
def test_log_says_what_is_done_and_why_rows_are_rejected(
    materialize: Materialize, instance: dg.DagsterInstance, mode: str
) -> None:
    """One line has the calls, the rows by action, and the broken rules by field."""
    names = ["", "", *(f"Product {i}" for i in range(2, 30))]
    materialize(links_asset(write_catalog(products(30, name=names))), config={"mode": mode})
    line = logged(instance, "INFO")[0].splitlines()[0]
    said = "28 calls for 30 rows: 28 create (new), 2 reject (invalid); problems: 2 name missing"
    assert line == (said if mode == "write" else f"a plan, nothing was sent: {said}")


@pytest.mark.parametrize("problem", ["settings", "catalog", "answers"])
def test_failure_is_one_line_of_the_log(
    materialize: Materialize,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    problem: str,
) -> None:
    """What went wrong stands by itself, once, not only above Dagster's stack traces."""
    if problem == "settings":
        monkeypatch.delenv("INCARTS_PROJECT_ID")
    if problem == "answers":
        monkeypatch.setenv("INCARTS_API_KEY", "ic_live_wrong_but_long_enough")
    result = materialize(links_asset("nowhere.parquet" if problem == "catalog" else None))
    assert logged(instance, "ERROR") == [failure_of(result)]


def test_plan_mode_sends_nothing(
    materialize: Materialize, box: Sandbox, instance: dg.DagsterInstance
) -> None:
    """It records an observation with the plan, no materialization, and leaves no file."""

    @dg.asset(deps=[KEY])
    def downstream() -> None:
        raise AssertionError("nothing was made that it could use")

    result = materialize(links_asset(), downstream, config={"mode": "plan"})
    assert result.success
    assert result.asset_materializations_for_node(OP) == []
    [seen] = instance.fetch_observations(KEY, limit=5).records
    observation = seen.asset_observation
    assert observation is not None
    assert "| create | new | 30 | 30 |" in str(observation.metadata["plan"].value)
    assert observation.metadata["incarts/plan/create"].value == 30
    assert box.requests() == []


def test_a_plan_says_values_and_the_runs_own_number(
    materialize: Materialize, instance: dg.DagsterInstance
) -> None:
    """What changed is a table of old and new, with its pattern, and a limit's calls are counted."""
    materialize(links_asset())
    ids = [str(500_001 + i) for i in range(30)]
    asset = links_asset(write_catalog(products(30, retailer_product_id=ids)))
    materialize(asset, config={"mode": "plan", "limit": 7})
    [seen] = instance.fetch_observations(KEY, limit=5).records
    assert seen.asset_observation is not None
    told = str(seen.asset_observation.metadata["plan"].value).splitlines()
    assert "- 30 of 30 products.retailer_product_id: +1" in [
        line.replace("\\", "") for line in told
    ]
    nights = "Held to its limit and time, one such run a night makes all in 5 nights, the last on "
    assert any(line.startswith(nights) for line in told)
    assert any(line.startswith("| 000000 |") and "| 500000 | 500001 |" in line for line in told)
    refused = failure_of(materialize(asset))
    assert "000000  products[0].retailer_product_id  500000 → 500001" in refused


def test_limit_leaves_rows_pending_and_the_next_run_goes_on(
    materialize: Materialize, box: Sandbox
) -> None:
    """The step fails after it recorded what was done; a retry makes the rest, and nothing twice."""
    asset = links_asset()
    result = materialize(asset, config={"limit": 5})
    assert not result.success
    assert metadata_of(result)["incarts/created"] == 5
    assert failure_of(result) == "Rows are pending. Run again to go on: nothing is sent twice."
    assert materialize(asset).success
    assert (box.audit().links, box.audit().duplicates) == (30, 0)


def test_retried_step_sends_nothing_twice(
    environment: None, box: Sandbox, instance: dg.DagsterInstance
) -> None:
    """A retry policy runs a step again whose answers were lost: one link for each row."""
    box.reconfigure(faults={"lost_after": 0.3, "first": 20})
    asset = links_asset()
    policy = dg.RetryPolicy(max_retries=5)
    job = dg.define_asset_job("limited", selection=[asset], op_retry_policy=policy)
    config = {"ops": {OP: {"config": {"limit": 12}}}, "loggers": QUIET}
    result = (
        dg.Definitions(assets=[asset], jobs=[job])
        .resolve_job_def("limited")
        .execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    )
    restarted = [e for e in result.all_events if e.event_type_value == "STEP_RESTARTED"]
    assert len(restarted) >= 2
    assert result.success
    assert (box.audit().links, box.audit().duplicates) == (30, 0)


def test_wrong_key_is_not_retried_and_not_shown(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 is a failure that no retry can mend, and says what to do."""
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_wrong_but_long_enough")
    result = materialize(links_asset())
    text = failure_of(result)
    assert "API key" in text
    assert "ic_live_wrong" not in json.dumps([str(event) for event in result.all_events])


def test_missing_scope_fails_after_the_others_were_made(
    materialize: Materialize, box: Sandbox
) -> None:
    """A 403 for one kind: the other links are made and recorded, the step is not retried."""
    box.reconfigure(
        keys=[
            {
                "key": box.api_key,
                "projects": ["demo"],
                "scopes": ["links:write", "retailers:walmart"],
            }
        ]
    )
    retailers = ["walmart"] * 10 + ["target"] * 5
    intents = ["add_to_cart"] * 10 + ["custom_url"] * 5
    urls = [None] * 10 + [f"https://www.target.com/p/{i}" for i in range(5)]
    ids = [str(i + 1000) for i in range(10)] + [None] * 5
    table = products(
        15, retailer=retailers, intent=intents, custom_url=urls, retailer_product_id=ids
    )
    result = materialize(links_asset(write_catalog(table)))
    text = failure_of(result)
    assert "403 for target/custom_url: the key has no scope" in text
    assert "(INCARTS_PROJECT_ID)" in text
    assert "10 others were made." in text
    assert metadata_of(result)["incarts/created"] == 10


def test_unset_settings_name_the_variable(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is told by its variables, all at once, and before anything is read."""
    monkeypatch.delenv("INCARTS_PROJECT_ID")
    monkeypatch.delenv("INCARTS_API_KEY")
    text = failure_of(materialize(links_asset("nowhere.parquet")))
    assert "Not set: INCARTS_API_KEY or INCARTS_API_KEY_FILE, INCARTS_PROJECT_ID." in text
    plan = failure_of(materialize(links_asset(), config={"mode": "plan"}))
    assert plan.startswith("Not set: INCARTS_PROJECT_ID.")
    assert "INCARTS_API_KEY" in plan


def test_guard_refuses_with_the_config_that_lets_it_through(
    materialize: Materialize, box: Sandbox
) -> None:
    """A mass change is refused with its reason and what to paste; approved, it goes through."""
    materialize(links_asset())
    asset = links_asset(write_catalog(products(30, quantity=[2] * 30)))
    text = failure_of(materialize(asset))
    assert "30 of the 30" in text or "would be replaced" in text
    pasted = yaml.safe_load(text[text.index("ops:") :])["ops"][OP]["config"]
    plan = materialize(asset, config={"mode": "plan"})
    assert plan.success
    assert materialize(asset, config=pasted).success
    assert box.audit().links == 60
    empty = links_asset(write_catalog(products(0)))
    text = failure_of(materialize(empty))
    assert "The catalog is empty" in text
    pasted = yaml.safe_load(text[text.index("ops:") :])["ops"][OP]["config"]
    assert materialize(empty, config=pasted).success


def test_only_dagsters_public_names_are_used() -> None:
    """What Dagster keeps private may change with any release."""
    sources = sorted(Path(summed.__code__.co_filename).parent.glob("*.py"))
    assert len(sources) > 1
    assert [file.name for file in sources if "dagster._" in file.read_text()] == []


def test_partitions_together_have_one_limit() -> None:
    """Counts of partitions are added; a rate limit, which they share, is not."""
    part = {"incarts/created": 2, "incarts/limit_per_second": 10.0, "incarts/share_429": 0.5}
    assert summed([part, part]) == part | {"incarts/created": 4}


def test_metadata_tells_the_limit(
    materialize: Materialize, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learned limit and the share of 429s are there, as numbers."""
    monkeypatch.setenv("INCARTS_RATE", "adaptive")
    box.reconfigure(limits=[Limit(kind="bucket", requests=10, seconds=1.0, burst=2)])
    found = metadata_of(materialize(links_asset()))
    assert found["incarts/share_429"] > 0
    assert found["incarts/created"] == 30


def test_data_version_follows_the_content(
    materialize: Materialize, instance: dg.DagsterInstance
) -> None:
    """Equal output, equal version, in whatever order the catalog is."""
    versions = []
    table = products(6)
    for catalog in (table, table.take([5, 4, 3, 2, 1, 0]), products(7)):
        materialize(links_asset(write_catalog(catalog)))
        event = instance.get_latest_materialization_event(KEY)
        assert event is not None
        versions.append(event.asset_materialization.tags["dagster/data_version"])  # type: ignore[union-attr]
    assert len(set(versions[1:])) == 2


@pytest.mark.parametrize("ledger", ["older", "gone"])
def test_folder_that_was_rolled_back_is_refused(
    materialize: Materialize, box: Sandbox, ledger: str
) -> None:
    """With its witness and its output; the last materialization knows of it, and of the way out."""
    materialize(links_asset(write_catalog(products(6))))
    if ledger == "older":
        shutil.copytree(".", "../backup")
    materialize(links_asset(write_catalog(products(8))))
    for file in Path().iterdir():
        file.unlink()
    if ledger == "older":
        shutil.copytree("../backup", ".", dirs_exist_ok=True)
    failed = materialize(links_asset(write_catalog(products(8))))
    assert f"The last materialization of {KEY.to_user_string()} was" in failure_of(failed)
    assert "wipe the asset's materializations" in failure_of(failed)
    assert box.audit().links == 8


def test_ledger_that_was_moved(
    materialize: Materialize, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old place is refused and says where it went; materializations fit the new one."""
    materialize(links_asset(write_catalog(products(6))))
    move_ledger("incarts-ledger.db", "new.db")
    more = links_asset(write_catalog(products(8)))
    assert "was moved to" in failure_of(materialize(more))
    monkeypatch.setenv("INCARTS_LEDGER", "new.db")
    assert materialize(more).success
    assert box.audit().links == 8


def test_run_against_another_incarts_hides_no_mark(
    materialize: Materialize, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that was rolled back is refused, also when staging was materialized last."""
    asset = links_asset(write_catalog(products(6)))
    materialize(asset)
    shutil.copytree(".", "../older")
    assert materialize(links_asset(write_catalog(products(8)))).success
    with Sandbox() as staging, monkeypatch.context() as there:
        there.setenv("INCARTS_API_BASE_URL", staging.base_url)
        there.setenv("INCARTS_API_KEY", staging.api_key)
        there.setenv("INCARTS_PROJECT_ID", staging.project_id)
        there.setenv("INCARTS_LEDGER", "staging.db")
        assert materialize(links_asset(output="staging.parquet")).success
    for file in Path().iterdir():
        file.unlink()
    shutil.copytree("../older", ".", dirs_exist_ok=True)
    again = links_asset(write_catalog(products(8)))
    for mode in ("plan", "write"):
        failed = materialize(again, config={"mode": mode})
        assert "and wipe" in failure_of(failed) or "it is an older copy" in failure_of(failed)
    assert box.audit().links == 8


def test_every_column_is_described(materialize: Materialize) -> None:
    """What stands in links.parquet is told beside its type, the key columns among it."""
    found = metadata_of(materialize(links_asset()))["dagster/column_schema"].columns
    assert [column.name for column in found if not column.description] == []
    assert set(MEANINGS) == set(LINKS.names)


def test_launchpad_has_what_one_changes(environment: None) -> None:
    """Mode, limit and approve are filled in, and what is filled in means what is meant."""
    asset = links_asset()
    job = dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()
    schema = job.get_config_schema_snapshot()
    root = schema.get_config_snap(job.run_config_schema.config_type.key)
    [(op, shown)] = yaml.safe_load(default_values_yaml_from_type_snap(schema, root))["ops"].items()
    config = shown["config"]
    assert (op, config["mode"], config["limit"], config["approve"]) == (OP, "write", "all", "")
    assert LinksConfig(**config) == LinksConfig()
    assert LinksConfig(limit=20).limit == 20


@pytest.mark.parametrize("limit", [True, "none", "2x", 1.5])
def test_wrong_limit_sends_nothing(materialize: Materialize, box: Sandbox, limit: object) -> None:
    """What is no number of links is told, and the step fails before it sends."""
    failed = materialize(links_asset(), config={"limit": limit})
    assert "limit" in failure_of(failed)
    assert box.audit().requests == 0


def test_equal_rows_do_not_cancel_in_the_version() -> None:
    """Pairs of rows that say the same are told from pairs that say something else."""
    versions = set()
    for status in ("created", "held"):
        row = {
            "link_set": "shop",
            "row_key": "1",
            "catalog_row": 0,
            "status": status,
            "reason": "new",
            "link_id": "lnk_1",
            "link_content_hash": "00",
            "is_stale": False,
        }
        pq.write_table(pa.Table.from_pylist([row, row]), "pairs.parquet")
        versions.add(content_version("pairs.parquet"))
    assert len(versions) == 2


def test_key_is_nowhere(environment: None, box: Sandbox, instance: dg.DagsterInstance) -> None:
    """Neither in the resource's repr, nor in definitions, config or events of a run."""
    resource = IncartsResource(api_key=dg.EnvVar("INCARTS_API_KEY"))
    asset = links_asset(resource_key="incarts")
    defs = dg.Definitions(assets=[asset], resources={"incarts": resource})
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, run_config={"loggers": QUIET})
    assert result.success
    records = [str(record) for record in instance.all_logs(result.run_id)]
    run = instance.get_run_by_id(result.run_id)
    snapshot = instance.get_job_snapshot(run.job_snapshot_id)  # type: ignore[union-attr, arg-type]
    texts = [repr(resource), str(run), str(snapshot), repr(resource.settings()), *records]
    assert [text for text in texts if box.api_key in text] == []


def test_resource_hands_out_client_and_ledger(materialize: Materialize, box: Sandbox) -> None:
    """What the library has, for those who want to do something else with it."""
    materialize(links_asset())
    resource = IncartsResource()
    assert str(resource.client().base_url).startswith(box.base_url)
    assert resource.overview().sets[0].links == 30


def test_defaults_of_the_config_can_be_changed(materialize: Materialize) -> None:
    """A team's own thresholds stand in the launchpad; a wrong name is refused at load."""
    asset = links_asset(config={"max_rejected_share": 0.5, "mode": "plan"})
    assert materialize(asset).asset_materializations_for_node(OP) == []
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="max_rejectd_share"):
        links_asset(config={"max_rejectd_share": 0.5})
    assert LinksConfig().max_rejected_share == 0.05


def test_lost_rows_and_doubled_links_block(tmp_path: Any) -> None:
    """What must never happen is found, and stops what is downstream."""
    from incarts_pipeline.dagster.checks import Findings, check_specs

    rows = {
        "catalog_row": [0, 1, 1],
        "link_set": ["s"] * 3,
        "row_key": ["a", "b", "b"],
        "status": ["created"] * 3,
        "reason": ["new"] * 3,
        "link_id": ["lnk_1", "lnk_1", "lnk_2"],
        "link_content_hash": ["x", "y", "y"],
        "is_stale": [False, True, False],
        "error_code": pa.nulls(3, pa.string()),
        "error_message": pa.nulls(3, pa.string()),
        "problems": pa.nulls(3, PROBLEMS),
    }
    pq.write_table(pa.table(rows), tmp_path / "links.parquet")
    findings = Findings()
    findings.add(str(tmp_path / "links.parquet"), None, catalog_rows=3, expected=3)
    found = {one.check_name: one for one in findings.results(LinksConfig())}
    assert [name for name, one in found.items() if not one.passed] == [
        "no_row_lost",
        "one_link_per_content",
        "nothing_stale",
    ]
    assert "1 of 3 catalog rows" in str(found["no_row_lost"].description)
    assert findings.doubles == [
        "link lnk_1 is used by the rows a, b",
        "row b of s has the links lnk_1, lnk_2",
    ]
    blocking = {spec.name for spec in check_specs(KEY) if spec.blocking}
    assert blocking == {"no_row_lost", "one_link_per_content"}


@pytest.mark.parametrize(
    ("change", "may_retry"),
    [
        ({"INCARTS_API_KEY": "ic_live_wrong_but_long_enough"}, False),
        ({"INCARTS_API_BASE_URL": "http://127.0.0.1:1"}, True),
    ],
    ids=["401", "unreachable"],
)
def test_only_what_a_retry_may_mend_is_retried(
    materialize: Materialize,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    may_retry: bool,
) -> None:
    """Dagster's own retry policies heed it."""
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(dg.Failure) as failed:
        materialize(links_asset(), raise_on_error=True)
    assert failed.value.allow_retries is may_retry


def test_checks_run_without_the_asset(materialize: Materialize, box: Sandbox) -> None:
    """They look at the output as it is, beside the catalog as it is, and send nothing."""
    asset = links_asset()
    materialize(asset)
    before = len(box.requests())
    links_asset(write_catalog(products(33)))
    checks = checks_of(materialize(asset, selection=dg.AssetSelection.checks_for_assets(KEY)))
    assert not checks["no_row_lost"].passed
    assert "3 of 33 catalog rows are not in the output" in str(checks["no_row_lost"].description)
    assert len(box.requests()) == before


@pytest.mark.parametrize("mode", ["write", "plan"])
def test_catalog_that_may_be_cut(
    materialize: Materialize, instance: dg.DagsterInstance, mode: str
) -> None:
    """A file without its last line end is told in the log."""
    pacsv.write_csv(products(3), "catalog.csv")
    file = Path("catalog.csv")
    file.write_text(file.read_text().rstrip("\n"))
    materialize(links_asset("catalog.csv"), config={"mode": mode})
    told = "\n".join([*logged(instance, "INFO"), *logged(instance, "WARNING")])
    assert "catalog.csv ends without a line end, so it may be cut off: look at row 2" in told


def test_output_over_the_catalog(materialize: Materialize, box: Sandbox) -> None:
    """A path that is the catalog's, or another table's, is refused before anything is sent."""
    catalog = write_catalog(products(30))
    asset = links_asset(catalog, output=catalog)
    assert "that is the catalog" in failure_of(materialize(asset))
    pq.write_table(products(1), "sales.parquet")
    asset = links_asset(catalog, output="sales.parquet")
    assert "not a table of links" in failure_of(materialize(asset))
    assert box.audit().requests == 0
