"""The shell's commands in this process, and a catalog for them."""

from __future__ import annotations

import sys

import pandas as pd  # noqa: F401 - if it is there, the shell doesn't hide it from pyarrow
import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.cli import main
from incarts_pipeline.sandbox import Sandbox
from tests.support.json_schemas import check_answer
from tests.support.runs import products
from tests.support.shell import Shell


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], box: Sandbox
) -> Shell:
    """Run `incarts` with the sandbox's environment: exit code, standard output, standard error."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_API_KEY", box.api_key)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    monkeypatch.setenv("INCARTS_RATE", "fixed:none")
    monkeypatch.setenv("COLUMNS", "160")

    def go(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["incarts", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        if "--json" in arguments and out:
            check_answer(arguments, out)
        return int(ended.value.code or 0), out, err

    return go


@pytest.fixture
def catalog() -> str:
    """A CSV of twelve products."""
    pacsv.write_csv(products(12), "catalog.csv")
    return "catalog.csv"
