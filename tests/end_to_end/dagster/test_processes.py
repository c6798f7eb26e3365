"""The code location in processes of its own: dg's checks, a launched job, a wheel."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

from incarts_pipeline.sandbox import Sandbox
from tests.end_to_end.dagster.project import ROOT, copy_project, dg

_USE = """
import importlib.metadata, pathlib, warnings
warnings.simplefilter("ignore")
import incarts_pipeline.dagster as ours
from dagster.components.testing import create_defs_folder_sandbox
folder = pathlib.Path(ours.__file__).parent
[point] = [e for e in importlib.metadata.entry_points(group="dagster_dg_cli.registry_modules")
           if e.name == "incarts_pipeline"]
with create_defs_folder_sandbox() as sandbox:
    path = sandbox.scaffold_component(component_cls=ours.IncartsLinksComponent, defs_path="links")
    with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
        keys = [key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()]
print(folder, point.value, keys)
"""


def test_dg_finds_nothing_wrong(tmp_path: Path) -> None:
    """`dg check` passes over YAML and definitions, `dg` knows our component, and has its help."""
    project = copy_project(tmp_path)
    commands = (("check", "defs", "--check-yaml"), ("list", "components"), ("--help",))
    with ThreadPoolExecutor() as pool:
        check, components, usage = pool.map(lambda words: dg(project, *words), commands)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "All component YAML validated successfully" in check.stdout
    assert "IncartsLinksComponent" in components.stdout
    assert "launch" in usage.stdout  # it was empty beside newer typers


def test_job_is_launched_from_the_shell(tmp_path: Path, box: Sandbox) -> None:
    """`dg launch --job incarts_nightly` makes the links, and writes the key nowhere."""
    project = copy_project(tmp_path)
    settings = {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_RATE": "fixed:none",
    }
    result = dg(project, "launch", "--job", "incarts_nightly", **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    assert box.api_key not in result.stdout + result.stderr
    assert pq.read_table(project / "demo" / "links.parquet").num_rows == 194
    assert (box.audit().links, box.audit().duplicates) == (176, 0)
    written = [file for file in project.rglob("*") if file.is_file()]
    assert [file for file in written if box.api_key.encode() in file.read_bytes()] == []


def test_wheel_is_all_that_is_needed(tmp_path: Path) -> None:
    """Installed from the wheel alone, the component is found, scaffolded and loaded."""
    pip = [sys.executable, "-m", "pip"]
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
        timeout=300,
    )
    [wheel] = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    [packages] = fresh.glob("lib/python*/site-packages")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    # What the project depends on, without the project: paths in a .pth are not searched for more.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    result = subprocess.run(
        [fresh / "bin" / "python", "-I", "-c", _USE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert f"\n{packages}" in result.stdout
    assert "incarts_pipeline.dagster ['incarts/links']" in result.stdout


def test_import_is_light(tmp_path: Path) -> None:
    """What loads a code location loads none of what only a run needs."""
    code = "import sys, incarts_pipeline.dagster; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "duckdb", "aiohttp", "sqlalchemy.orm"} & set(loaded)
