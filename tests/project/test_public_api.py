"""What the package promises by name, and what importing it doesn't drag in."""

from __future__ import annotations

import subprocess
import sys

import incarts_pipeline


def test_exported_names() -> None:
    """`__all__` is sorted, and everything in it exists."""
    assert list(incarts_pipeline.__all__) == sorted(incarts_pipeline.__all__)
    for name in incarts_pipeline.__all__:
        assert hasattr(incarts_pipeline, name)


def test_import_is_light() -> None:
    """Importing the library loads neither Dagster nor the sandbox, nor any kind of frame."""
    code = (
        "import incarts_pipeline, sys;"
        "heavy = {'dagster', 'starlette', 'uvicorn', 'segno', 'pyspark', 'ray'};"
        "heavy |= {'pandas', 'polars', 'IPython'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
