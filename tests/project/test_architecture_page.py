"""The architecture page names what is there: folders, files, layers and functions."""

from __future__ import annotations

import ast
import configparser
import pkgutil
import re

import pytest

from tests.support.pages import blocks_of, codes_in, page, rows_of, section
from tests.support.paths import ROOT

PAGE = "architecture.md"
PACKAGE = ROOT / "incarts_pipeline"
FOLDERS = {one.parent.name for one in PACKAGE.glob("*/__init__.py")}
FILES = {one.name for one in PACKAGE.glob("*.py")} - {"__init__.py"}
MODULES = FOLDERS | {one.removesuffix(".py") for one in FILES}
FLOW = ["catalog", "prepare", "plan", "write", "publish"]
DOTTED = re.compile(r"\w+(?:\.\w+)+")
PATH = re.compile(r"[\w./]*/[\w./]*|\w+\.(?:py|md)")


def codes() -> list[str]:
    """Return what stands between backticks on the page, without its fenced blocks."""
    return codes_in(re.sub(r"^```.*?^```$", "", page(PAGE), flags=re.DOTALL | re.MULTILINE))


def is_name(code: str) -> bool:
    """Say whether a code is the dotted name of something in the package."""
    return bool(DOTTED.fullmatch(code)) and code.split(".")[0] in MODULES and code[-3:] != ".py"


def named(text: str) -> set[str]:
    """Return the codes in the first cells of the tables in a text."""
    return {code for cells in rows_of(text) for code in codes_in(cells[0])}


def test_every_folder_and_file_has_a_line() -> None:
    """The tables have the folders and root modules of the package, each of them, and no others."""
    assert named(section(PAGE, "Folders")) == {f"{name}/" for name in FOLDERS} | FILES


def test_layers_are_the_ones_that_are_guarded() -> None:
    """The list of layers is that of .importlinter, in its order."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    guarded = config["importlinter:contract:house"]["layers"].split("\n")
    [block] = [one for one in blocks_of(PAGE) if one.title == "layers"]
    assert block.text.splitlines() == [line.strip() for line in guarded if line.strip()]


def test_every_folder_and_file_has_a_layer() -> None:
    """Whatever has a line has a place among the layers, but for the sandbox, which is apart."""
    [block] = [one for one in blocks_of(PAGE) if one.title == "layers"]
    layers = set(re.findall(r"\w+", block.text))
    assert layers == MODULES - {"sandbox"}


@pytest.mark.parametrize("name", sorted(set(filter(is_name, codes()))))
def test_named_functions_exist(name: str) -> None:
    """Each `folder.name` or `folder.module.name` of the page is there to be imported."""
    assert pkgutil.resolve_name(f"incarts_pipeline.{name}") is not None


def test_the_page_names_functions() -> None:
    """The way of a row is told with the names that it passes."""
    told = filter(is_name, codes_in(section(PAGE, "How a row travels")))
    assert len(set(told)) > 20


@pytest.mark.parametrize("path", sorted({code for code in codes() if PATH.fullmatch(code)}))
def test_named_files_exist(path: str) -> None:
    """Each file or folder of the page is there, in the package or in the project."""
    assert (PACKAGE / path).exists() or (ROOT / path).exists()


def test_the_readme_maps_its_table_to_folders() -> None:
    """Each step of the flow in the README names its folder."""
    rows = rows_of((ROOT / "README.md").read_text(encoding="utf-8"))
    steps = {cells[0]: codes_in(cells[1]) for cells in rows if cells[0] in FLOW}
    assert steps == {name: [f"incarts_pipeline/{name}/"] for name in FLOW}
    assert list(steps) == FLOW


def test_module_docstrings_begin_with_a_noun() -> None:
    """Not with a question, an article or a verb: one reads down a folder as down an index."""
    no_noun = re.compile(r"(What|How|Which|When|Where|Why|Whose|Who|The|A|An|Does|Is|To)\b|[^A-Z`]")
    riddles = [
        f"{file.relative_to(PACKAGE)}: {first}"
        for file in PACKAGE.rglob("*.py")
        if file.parent != PACKAGE or file.name != "__init__.py"
        if no_noun.match(first := (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""))
    ]
    assert riddles == []
