"""Notebooks as pages of the documentation: a hook of mkdocs that turns each into Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, where mkdocs finds the other pages."""
    root = Path(config.config_file_path).parent
    for notebook in sorted((root / FOLDER).glob("*.ipynb")):
        place = f"{FOLDER}/{notebook.stem}.md"
        files.append(File.generated(config, place, content=page_of(notebook)))
    return files


def page_of(notebook: Path) -> str:
    """Return a notebook as Markdown: its texts, and its code without outputs."""
    read: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    return "\n\n".join(text for cell in read.cells if (text := _text(cell)))


def _text(cell: Any) -> str:
    source = str(cell.source).strip()
    if cell.cell_type == "markdown" or not source:
        return source
    # A fence longer than any that the code itself may have.
    return f"````python\n{source}\n````"
