"""Folders of the project, wherever a test lies."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SAMPLES = ROOT / "sample_data"
GOLDEN = ROOT / "tests" / "golden"
