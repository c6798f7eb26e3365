"""Frames of engines, without one."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from incarts_pipeline import ray, spark
from incarts_pipeline.errors import CatalogError, MissingExtraError
from incarts_pipeline.installation import install_line
from tests.support.frames import KEY
from tests.support.runs import products


def test_what_is_no_spark_frame_is_refused() -> None:
    """Other tables have a function of their own."""
    pytest.importorskip("pyspark")
    with pytest.raises(CatalogError, match=r"incarts_pipeline\.plan_links"):
        spark.plan_links(products(2), **KEY)


@pytest.mark.parametrize(
    ("engine", "module", "extra"),
    [(spark, "pyspark.sql.functions", "spark"), (ray, "ray", "ray")],
)
def test_missing_engine_is_named(
    monkeypatch: pytest.MonkeyPatch, engine: ModuleType, module: str, extra: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line(extra))):
        engine.write_links(products(2), **KEY)
