"""Import rules: `lint-imports` refuses what they forbid, and each folder's face is whole."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "incarts_pipeline"
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the library and of the rules."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Return the exit code of `lint-imports` in a folder, and the words of its output."""
    command = [sys.executable, str(LINT), "--no-cache"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return ran.returncode, " ".join((ran.stdout + ran.stderr).split())


def test_the_library_keeps_the_rules(copy: Path) -> None:
    """Nothing is broken before something is added."""
    code, said = lint(copy)
    assert (code, "0 broken" in said) == (0, True), said


@pytest.mark.parametrize(
    "added",
    [
        {"plan/plan.py": "write.send"},
        {"plan/guards.py": "api"},
        {"publish/output.py": "api"},
        {"sandbox/service.py": "ledger"},
        {"pipeline.py": "maintenance"},
        {"catalog/options.py": "catalog.parquet", "catalog/parquet.py": "catalog.options"},
        {"display/html/style.py": "display.html.report"},
        {"models.py": "settings"},
        {"cli/show.py": "dagster.metadata"},
        {"prepare/rules.py": "rate_limit"},
        {"ledger/claims.py": "ledger.database", "ledger/store.py": "ledger.claims"},
    ],
    ids=lambda added: " and ".join(f"{file} to {module}" for file, module in added.items()),
)
def test_a_forbidden_import_is_refused(copy: Path, added: dict[str, str]) -> None:
    """Up the layers, beside them, round in a circle, or to the API: each is broken and named."""
    for file, module in added.items():
        path = copy / PACKAGE.name / file
        path.write_text(f"{path.read_text('utf-8')}\nimport incarts_pipeline.{module}\n", "utf-8")
    code, said = lint(copy)
    assert code == 1
    assert "BROKEN" in said
    for file in added:
        assert Path(file).stem in said.partition("Broken contracts")[2]


@pytest.mark.parametrize("driver", ["sqlite3", "psycopg"])
def test_a_driver_is_imported_in_its_database_s_folder_alone(copy: Path, driver: str) -> None:
    """The text of claims and records is the same for all databases, and none of it is of one."""
    path = copy / PACKAGE.name / "ledger" / "claims.py"
    path.write_text(f"{path.read_text('utf-8')}\nimport {driver}\n", "utf-8")
    code, said = lint(copy)
    assert (code, f"ledger.claims -> {driver}" in said) == (1, True), said


def test_a_new_room_must_be_given_its_layer(copy: Path) -> None:
    """A module that the rules don't name is refused, not let through."""
    (copy / PACKAGE.name / "attic.py").write_text('"""Attic."""\n', "utf-8")
    code, said = lint(copy)
    assert (code, "attic" in said) == (1, True)


def imported_names() -> Iterator[tuple[Path, str, str]]:
    """Yield each `from <package> import <name>` of the library: file, package and name."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                for alias in node.names:
                    yield file, node.module, alias.name


def folder_of(package: str) -> Path:
    """Return the folder that a package of the library would be."""
    return ROOT / package.replace(".", "/")


def test_no_module_imports_a_face_that_it_is_behind() -> None:
    """A lazy face is made of its folder's modules: they import each other, never the face."""
    through_the_face = [
        f"{file.relative_to(ROOT)}: from {package} import {name}"
        for file, package, name in imported_names()
        if file.name != "__init__.py"
        and folder_of(package) in file.parents
        and (folder_of(package) / "__init__.py").exists()
        and not (folder_of(package) / f"{name}.py").exists()
        and not (folder_of(package) / name).is_dir()
    ]
    assert through_the_face == []


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.name)
def test_every_name_of_a_face_is_there(stub: Path) -> None:
    """What the stub promises can be imported, and no module of the folder hides it."""
    face = ".".join(stub.parent.relative_to(ROOT).parts)
    module = importlib.import_module(face)
    names = {
        alias.asname or alias.name
        for node in ast.parse(stub.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == set(module.__all__)
    assert all(hasattr(module, name) for name in names)
    beside = {one.stem for one in stub.parent.iterdir() if one.suffix == ".py" or one.is_dir()}
    assert names & beside == set()
