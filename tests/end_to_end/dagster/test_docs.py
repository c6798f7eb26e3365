"""The examples of docs/dagster.md are run as they stand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from incarts_pipeline.dagster import LinksConfig
from incarts_pipeline.dagster.checks import check_specs
from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.conftest import KEY, QUIET
from tests.end_to_end.dagster.project import DG, PROJECT, ROOT
from tests.end_to_end.dagster.test_component import definitions
from tests.project.test_docs import blocks
from tests.support.runs import products

pytestmark = pytest.mark.filterwarnings("ignore::Warning:dagster")

PAGE = ROOT / "docs" / "dagster.md"
TEXT = PAGE.read_text(encoding="utf-8")
SIX, GUARD, PARTITIONS, ENGINE, INSTANCE = (yaml.safe_load(block) for block in blocks("yaml", PAGE))
MAPPING = """
link_set: shop
unique_key: [sku]
link:
  name: {column: name}
  retailer: walmart
  intent: add_to_cart
  products: {retailer_product_id: {column: retailer_product_id}}
"""


def test_six_lines_load(tmp_path: Path) -> None:
    """The first example is a component with its job and schedule."""
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    attributes = SIX["attributes"] | {"mapping": str(tmp_path / "mapping.yaml")}
    defs = definitions(attributes)
    assert defs.resolve_asset_graph().get_all_asset_keys() == {KEY}
    schedule = defs.resolve_schedule_def("incarts_nightly_schedule")
    assert schedule.execution_timezone == "Europe/Berlin"


# What `create-dagster project shop` writes.
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def make_project(folder: Path) -> Path:
    """Make the project that the page's first block makes with packages from an index."""
    package = folder / "src" / "shop"
    (package / "defs").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    return folder


def test_from_zero_to_links(tmp_path: Path, box: Sandbox) -> None:
    """The page's commands, in a project as its first block makes it, end with links."""
    project = make_project(tmp_path / "shop")
    settings = {
        "INCARTS": str(ROOT),
        "PATH": f"{Path(DG).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{project / 'src'}{os.pathsep}{ROOT}",
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_RATE": "fixed:none",
    }

    def run(line: str, **changed: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | settings | changed
        return subprocess.run(
            line, shell=True, cwd=project, env=environment, capture_output=True, text=True
        )

    make, fill, launch, failed = blocks("sh", PAGE)
    assert "create-dagster project shop" in make
    for line in (fill + launch).splitlines():
        if line == "dg dev":  # it serves until Ctrl-C
            continue
        ran = run(line)
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        if line.startswith("dg scaffold"):
            component = project / "src" / "shop" / "defs" / "links" / "defs.yaml"
            assert component.exists()
            component.write_text(blocks("yaml", PAGE)[0])
    assert (box.audit().links, box.audit().duplicates) == (176, 0)
    (project / "data" / "links.parquet").unlink()
    ran = run(failed, INCARTS_API_KEY="ic_live_wrong_but_long_enough", INCARTS_LEDGER="other.db")
    first = ran.stdout.splitlines()[0]
    assert "incarts__summer_campaign - Incarts refused the API key (401" in first


def test_partitions_load() -> None:
    """The partitioned example is a component too."""
    [spec] = definitions(PARTITIONS["attributes"]).resolve_all_asset_specs()
    assert spec.partitions_def is not None
    assert spec.partitions_def.get_partition_keys() == ["walmart", "target"]


def test_engine_loads() -> None:
    """The example with an engine is a component as well."""
    [spec] = definitions(ENGINE["attributes"]).resolve_all_asset_specs()
    assert spec.key.path == ["incarts", "shop"]


def test_config_and_checks_are_named_as_they_are() -> None:
    """Every check and every value of the launchpad has its line, and there are no others."""
    assert set(GUARD["ops"]["incarts__links"]["config"]) <= set(LinksConfig.model_fields)
    assert [name for name in LinksConfig.model_fields if f"`{name}`" not in TEXT] == []
    assert [spec.name for spec in check_specs(KEY) if f"| `{spec.name}` |" not in TEXT] == []


def test_instance_settings_are_the_ones_that_we_run_with() -> None:
    """The dagster.yaml to copy is that of the code location, and Dagster accepts it."""
    assert yaml.safe_load((ROOT / "dagster_defs" / "dagster.yaml").read_text()) == INSTANCE
    Path("dagster.yaml").write_text(yaml.safe_dump(INSTANCE))
    with dg.DagsterInstance.from_config(str(Path.cwd())) as instance:
        assert instance.run_monitoring_enabled
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 10
        assert instance.get_settings("concurrency")["pools"]["granularity"] == "op"


def test_python_examples_run(
    environment: None,
    box: Sandbox,
    instance: dg.DagsterInstance,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The code makes the links of an upstream asset, and the sensor tells of the warnings."""
    Path("data").mkdir()
    Path("mapping.yaml").write_text(MAPPING)
    table = products(20, name=["", "", *(f"Product {i}" for i in range(18))])
    table.to_pandas().to_parquet("data/products.parquet")
    made: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for code, names in zip(blocks("python", PAGE), (made, told), strict=True):
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    job = made["defs"].resolve_job_def("incarts_nightly")
    result = job.execute_in_process(instance=instance, run_config={"loggers": QUIET})
    assert (result.success, box.audit().links) == (True, 18)
    context = dg.build_run_status_sensor_context(
        sensor_name="links_warnings",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_success_event(),
    )
    capsys.readouterr()
    told["links_warnings"](context)
    told_of = capsys.readouterr().out
    assert "incarts/links rejected_share: 2 of 20 rows are rejected, 10 %" in told_of
