"""Extras: a form whose package is missing names it, with the line that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from incarts_pipeline.catalog import open_catalog, package
from incarts_pipeline.errors import MissingExtraError
from incarts_pipeline.installation import install_line


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("a.xlsx", "fastexcel", "excel"),
        ("a.json", "ijson", "feeds"),
        ("a.xml", "lxml.etree", "feeds"),
        ("a.metadata.json", "pyiceberg.table", "lakes"),
    ],
)
def test_a_missing_extra_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    """The error has the package and the line for pip."""
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_text('[{"a": 1}]')
    with pytest.raises(MissingExtraError) as caught:
        open_catalog(tmp_path / name)
    assert module.partition(".")[0] in caught.value.message
    assert caught.value.fix == install_line(extra)
    assert f"[{extra}]" in install_line(extra)


def test_a_delta_table_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a log is a Delta table, whatever is installed."""
    monkeypatch.setitem(sys.modules, "deltalake", None)
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(MissingExtraError, match="deltalake"):
        open_catalog(tmp_path)


def test_a_package_that_lacks_something_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who has it installed reads what it lacks, as the package says it."""
    (tmp_path / "lacking.py").write_text("import nobodys_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        package("lacking", "spark", "Spark frames")
    assert caught.value.message == (
        "Spark frames need the package lacking, which can't be used: "
        "No module named 'nobodys_package'."
    )
