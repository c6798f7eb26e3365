"""Command `incarts demo`: the whole flow on a sample catalog, against a local Incarts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path, typer.Argument(help="A new folder for all that the demo writes.")
    ] = Path("incarts-demo"),
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the sheet of QR codes at the end.")
    ] = True,
) -> None:
    """Make links of a sample catalog with a local Incarts inside: no key, no settings."""
    from incarts_pipeline.cli.demo_run import run_demo

    run_demo(folder, browser=browser)
