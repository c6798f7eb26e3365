"""Loading of settings: from files, the environment and arguments, each with where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.settings.api_key import hidden_keys
from incarts_pipeline.settings.files import Layer, check_names, layers_of_files
from incarts_pipeline.settings.hosts import checked_base_url, host_of
from incarts_pipeline.settings.settings import ARGUMENT, Settings, variable_of

# Ways to give a key; whichever is given nearer takes the place of all that are further away.
_KEY_FIELDS = ("api_key", "api_key_file", "api_key_command", "api_key_keyring")


def load_settings(
    *, target: str | None = None, file: Path | None = None, **overrides: object
) -> Settings:
    """Read the settings: the person's own file, the working folder's, the environment, arguments.

    Args:
        target: a `[targets.NAME]` table of the files, whose values win over a file's own.
        file: the TOML file in place of the working folder's `incarts.toml`, as little trusted.
        overrides: values by field name, which win over everything.

    Raises:
        SettingsError: a value is wrong, a name unknown, or a file has what it may not have.
    """
    variables = {name: variable_of(name) for name in Settings.model_fields}
    overrides = hidden_keys(overrides)
    check_names(overrides, "load_settings", variables)
    given = Settings().model_dump(exclude_unset=True)
    own, theirs = layers_of_files(target, file, variables)
    environment = Layer(values=given, places={name: variables[name] for name in given})
    arguments = Layer(values=overrides, places=dict.fromkeys(overrides, ARGUMENT))
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in (own, theirs, environment, arguments):
        if _has_key(layer.values, variables):
            merged |= dict.fromkeys(_KEY_FIELDS)
        merged |= layer.values
        sources |= layer.places
    made = Settings(**{variables[name]: value for name, value in merged.items()})
    made._file = made._file if file is None else Path(file).absolute()
    made._sources = {name: where for name, where in sources.items() if merged[name] is not None}
    if sources.get("base_url") == theirs.places.get("base_url", ""):
        made._stranger = made.base_url
    with suppress(KeyError, ValueError, AttributeError):  # one that is overruled may be any
        made._own_host = host_of(checked_base_url(own.values["base_url"]))
    return made


def _has_key(layer: Mapping[str, object], variables: Mapping[str, str]) -> bool:
    """Say whether a source gives a key.

    Raises:
        SettingsError: it gives two.
    """
    found = [variables[name] for name in _KEY_FIELDS if layer.get(name) is not None]
    if len(found) > 1:
        raise SettingsError(f"{found[0]} and {found[1]} are both given.", fix="Give one of them.")
    return any(name in layer for name in _KEY_FIELDS)
