"""Extras: the packages that only some forms of catalogs need."""

from __future__ import annotations

import importlib
from typing import Any

from incarts_pipeline.errors import MissingExtraError
from incarts_pipeline.installation import install_line


def package(module: str, extra: str, form: str) -> Any:
    """Import a module of a package that an extra brings.

    Args:
        module: its full name.
        extra: the extra in pyproject.toml.
        form: what can be read with it, in the plural, for messages.

    Raises:
        MissingExtraError: the package isn't installed, or lacks something itself.
    """
    needed = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (isinstance(error, ModuleNotFoundError) and error.name) or ""
        told = "" if missing.partition(".")[0] == needed else f", which can't be used: {error}"
        raise MissingExtraError(
            f"{form} need the package {needed}{told.rstrip('.')}.",
            fix=install_line(extra),
        ) from error
