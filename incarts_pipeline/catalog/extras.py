"""Extras: the packages that only some forms of catalogs need."""

from __future__ import annotations

import importlib
from typing import Any

from incarts_pipeline.errors import MissingExtraError


def package(module: str, extra: str, form: str) -> Any:
    """Import a module of a package that an extra brings.

    Args:
        module: its full name.
        extra: the extra in pyproject.toml.
        form: what can be read with it, in the plural, for messages.

    Raises:
        MissingExtraError: the package isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{form} need the package {module.partition('.')[0]}.",
            fix=f"pip install 'incarts-pipeline[{extra}]'",
        ) from error
