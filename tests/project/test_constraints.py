"""The pinned versions cover what the project asks for, and name nothing but versions."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from release.pins import plain, runtime
from tests.support.paths import ROOT

TEXT = (ROOT / "constraints.txt").read_text(encoding="utf-8")
USERS = (ROOT / "constraints-runtime.txt").read_text(encoding="utf-8")
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.!]+)(?: ; (?P<marker>[^\\]+?))?")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
ASKED_FOR = [
    *CONFIG["project"]["dependencies"],
    *(one for extra in CONFIG["project"]["optional-dependencies"].values() for one in extra),
]
# What a published advisory was mended in, by package; the newest of each.
MENDED = {
    "aiohttp": "3.14.5",  # GHSA-2g87-pp6c-29x5, GHSA-5wr8-gcqf-gqf3, GHSA-494j-54xm-rwp3
    "cryptography": "50.0.0",  # CVE-2026-69247, CVE-2026-69249
    "dagster": "1.13.1",  # CVE-2025-51481; CVE-2026-41490 of its integrations
    "duckdb": "1.4.2",  # CVE-2025-64429
    "httpx": "0.23",  # CVE-2021-41945
    "idna": "3.15",  # CVE-2026-45409
    "lxml": "6.1.0",  # CVE-2026-41066
    "pyarrow": "26.0.0",  # CVE-2026-92287
    "pydantic": "2.4",  # CVE-2024-3772
    "pydantic-settings": "2.14.2",  # GHSA-4xgf-cpjx-pc3j
    "pyyaml": "5.4",  # CVE-2020-14343
    "starlette": "1.3.1",  # CVE-2026-48710, PYSEC-2026-248
    "uvicorn": "0.11.7",  # CVE-2020-7695
}


def versions(text: str) -> dict[str, list[str]]:
    """Return the versions by name: several where they differ by Python or system."""
    found: dict[str, list[str]] = {}
    for line in plain(text).splitlines():
        pin = PIN.fullmatch(line)
        assert pin is not None, line
        found.setdefault(canonicalize_name(pin["name"]), []).append(pin["version"])
    return found


def test_every_pin_is_a_name_and_a_version_with_hashes() -> None:
    """No address, path or editable install gets into the pins."""
    lines = TEXT.splitlines()
    for line in lines:
        assert HASH.fullmatch(line) or line.startswith("#") or line.endswith(" \\"), line
    pins = [at for at, line in enumerate(lines) if "==" in line]
    assert all(HASH.fullmatch(lines[at + 1]) for at in pins)
    assert len(pins) == len(plain(TEXT).splitlines())
    assert "://" not in TEXT + USERS


def test_every_direct_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    """Adding or raising a dependency without a new pin fails here, not on someone's machine."""
    groups = CONFIG["dependency-groups"].values()
    wanted = [*CONFIG["build-system"]["requires"], *ASKED_FOR, *(o for g in groups for o in g)]
    pins = versions(TEXT)
    for requirement in map(Requirement, wanted):
        for version in pins[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version)


def test_dagster_and_its_webserver_have_one_version() -> None:
    """Dagster's parts are released together and only fit each other."""
    pins = versions(TEXT)
    assert pins["dagster"] == pins["dagster-webserver"] == pins["dagster-dg-cli"]


def test_users_get_the_same_versions_of_what_the_project_asks_for() -> None:
    """And no others, which might be what another tool can't take."""
    assert runtime(TEXT) == USERS
    asked = {canonicalize_name(Requirement(one).name) for one in ASKED_FOR}
    own = {name for name in versions(USERS) if not name.startswith("dagster")}
    assert own == asked - {"dagster", "numpy", "pandas"}


def third_party(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield what a file imports of others, and whether it does so as soon as it is loaded."""
    tree = ast.parse(file.read_text("utf-8"))
    at_once = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            continue
        for name in names:
            yield name.partition(".")[0], id(node) in at_once


def test_what_is_imported_is_asked_for() -> None:
    """Each package by its own name, not because another brings it; extras not by what all load."""
    distributions = packages_distributions()
    # Parts of Typer, aiohttp, httpx and Dagster that stand in their own signatures; and what a
    # caller has whose frames they are.
    brought = {"click", "yarl", "certifi", "dagster_shared", "polars", "IPython"}
    own = {canonicalize_name(Requirement(one).name) for one in ASKED_FOR}
    core = {canonicalize_name(Requirement(one).name) for one in CONFIG["project"]["dependencies"]}
    of_extras = {"dagster", "telemetry", "pandas.py", "pandas_frames.py"}  # loaded by who has them
    wrong = []
    for file in sorted((ROOT / "incarts_pipeline").rglob("*.py")):
        for name, at_once in third_party(file):
            found = {canonicalize_name(one) for one in distributions.get(name, [])}
            if name in {*sys.stdlib_module_names, "incarts_pipeline", *brought}:
                continue
            allowed = core if at_once and not of_extras & {*file.parts} else own
            if not found & allowed:
                wrong.append(f"{file.relative_to(ROOT)}: {name}")
    assert wrong == []


def test_no_floor_admits_a_version_with_an_advisory() -> None:
    """What pyproject.toml allows begins where the last advisory was mended."""
    floors = {
        canonicalize_name(requirement.name): Version(one.version)
        for requirement in map(Requirement, ASKED_FOR)
        for one in requirement.specifier
        if one.operator == ">="
    }
    assert set(MENDED) <= set(floors)
    for name, version in MENDED.items():
        assert floors[name] >= Version(version), name


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_floors_fit_each_other(python: str) -> None:
    """The lowest versions that are allowed can be installed together."""
    tried = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--system-certs"),
            *("--resolution", "lowest-direct", "--all-extras", "--no-header", "--no-annotate"),
            *("--python-version", python, "pyproject.toml"),
        ],
        cwd=ROOT,
        env=os.environ | {"UV_HTTP_TIMEOUT": "20"},
        capture_output=True,
        text=True,
    )
    if "Failed to fetch" in tried.stderr or "error sending request" in tried.stderr:
        pytest.skip("no package index can be reached")
    assert tried.returncode == 0, tried.stderr
    found = versions(tried.stdout)
    assert found["pyarrow"] == ["26.0.0"]
