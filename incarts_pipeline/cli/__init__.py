"""The shell command `incarts`."""

from incarts_pipeline.cli.app import main

__all__ = ["main"]
