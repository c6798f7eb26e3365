"""Command `incarts demo`: the whole flow on a sample catalog, against a local Incarts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from incarts_pipeline.errors import MissingExtraError


def demo(
    folder: Annotated[
        Path, typer.Argument(help="A new folder for all that the demo writes.")
    ] = Path("incarts-demo"),
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the sheet of QR codes at the end.")
    ] = True,
) -> None:
    """Make links of a sample catalog with a local Incarts inside: no key, no settings."""
    try:
        from incarts_pipeline.cli.demo_run import run_demo
    except ImportError as error:
        raise MissingExtraError(
            f"The demo needs {error.name}.", fix="pip install 'incarts-pipeline[sandbox]'"
        ) from error
    run_demo(folder, browser=browser)
