"""The pure part of rate control stands alone, and works as its page says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "incarts_pipeline" / "rate_limit"
# What connects it with the rest: the ledger's file, the settings, the API's answers.
CONNECTING = {"__init__", "answers", "factory", "memory", "pace_state", "shared", "shared_file"}
PURE = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in CONNECTING)


def imported(name: str) -> Iterator[str]:
    """Yield the modules that a file imports."""
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


@pytest.mark.parametrize("name", PURE)
def test_the_pure_part_imports_nothing_from_outside(name: str) -> None:
    """Only the standard library, and its own kind."""
    for module in imported(name):
        own = module.removeprefix("incarts_pipeline.rate_limit.")
        assert own in PURE or module.split(".")[0] in sys.stdlib_module_names


def test_the_example_of_the_page_works() -> None:
    """It sends at the pace, and a refusal stops it for a moment."""
    page = (ROOT / "docs" / "rate-control.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(example, scope)
    answers = [(201, None), (429, None), (201, None)]
    for _ in range(3):
        scope["send"](lambda: answers.pop(0))  # type: ignore[operator]
    assert answers == []
