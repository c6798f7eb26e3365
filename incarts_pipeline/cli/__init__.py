"""Shell: the command `incarts`."""

from incarts_pipeline.cli.app import main

__all__ = ["main"]
