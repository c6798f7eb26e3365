"""The page on many hosts: its commands are run, its YAML is held against Kubernetes' schemas."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace
from tests.cli.test_help import COMMANDS
from tests.support.ledgers import said
from tests.support.pages import page
from tests.support.paths import ROOT
from tests.support.runs import products

SCHEMAS = json.loads((ROOT / "tests/support/kubernetes.json").read_text(encoding="utf-8"))
MAPPING = """
link_set: nightly
unique_key: [sku]
link:
  name: {column: name}
  retailer: walmart
  intent: add_to_cart
  products: {retailer_product_id: {column: retailer_product_id}}
"""


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language, with or without a title."""
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", page("many-hosts.md"), re.DOTALL)


def manifests() -> list[dict[str, Any]]:
    """Return every object in the page's YAML."""
    return [one for block in blocks("yaml") for one in yaml.safe_load_all(block)]


def check(manifest: dict[str, Any]) -> None:
    """Raise ValidationError unless Kubernetes knows the object, and each of its fields."""
    schema = {"$defs": SCHEMAS["$defs"], **SCHEMAS["kinds"][manifest["kind"]]}
    jsonschema.Draft202012Validator(schema).validate(manifest)


def test_kubernetes_would_take_it() -> None:
    """Each object is as the schema of its kind says; one with a misspelled field is not."""
    assert [one["kind"] for one in manifests()] == [
        "Secret",
        "CronJob",
        "Deployment",
        "CronJob",
        "Job",
    ]
    for manifest in manifests():
        check(manifest)
    job = manifests()[-1]
    for wrong in ({"paralelism": 3}, {"parallelism": "3"}):
        with pytest.raises(jsonschema.ValidationError):
            check({**job, "spec": job["spec"] | wrong})


def test_containers_run_commands_that_there_are() -> None:
    """What the containers run is what the shell takes, and their settings are settings."""
    found = []
    for manifest in manifests():
        for container in _containers(manifest):
            program, name, *words = container["args"]
            assert program == "incarts"
            COMMANDS[name].make_context(name, words)
            found.append(name)
        for variable in manifest.get("stringData", {}):
            assert variable.startswith("INCARTS_") or variable == "PGPASSWORD"
    assert found == ["apply", "work", "publish", "work"]


def _containers(value: object) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = value.get("containers", [])
        return own + [one for inner in value.values() for one in _containers(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _containers(inner)]
    return []


@pytest.fixture
def there(box: Sandbox, database: DatabasePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog, its mapping, and the environment that a sandbox prints."""
    pacsv.write_csv(products(50), "products.csv")
    Path("mapping.yaml").write_text(MAPPING, encoding="utf-8")
    for name, value in {
        "API_BASE_URL": box.base_url,
        "API_KEY": box.api_key,
        "PROJECT_ID": box.project_id,
        "LEDGER": database.uri,
    }.items():
        monkeypatch.setenv(f"INCARTS_{name}", value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.usefixtures("there")
def test_three_workers_as_the_page_has_them(box: Sandbox, database: DatabasePlace) -> None:
    """The walk through runs as it stands there, on another server than its own."""
    walk = blocks("sh")[-1].replace("postgresql://incarts@localhost/links", database.uri)
    assert "incarts work & incarts work & incarts work &" in walk
    ran = subprocess.run(["bash", "-e", "-c", walk], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert set(pq.read_table("links.parquet")["status"].to_pylist()) == {"created"}
    assert (box.audit().links, box.audit().duplicates) == (50, 0)
    assert said(database, "SELECT count(*) FROM run WHERE task = 'work'") == [(3,)]


@pytest.mark.slow
@pytest.mark.usefixtures("there")
def test_the_job_in_dagster(box: Sandbox) -> None:
    """The example's job enqueues, works three times, and publishes."""
    [code] = blocks("python")
    names: dict[str, Any] = {"__name__": "links"}
    exec(code, names)
    job = names["defs"].resolve_job_def("links_of_many_hosts")
    assert job.execute_in_process().success
    assert set(pq.read_table("links.parquet")["status"].to_pylist()) == {"created"}
    assert (box.audit().links, box.audit().duplicates) == (50, 0)
