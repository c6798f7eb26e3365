"""Settings files: the working folder's, which may be anybody's, and the person's own.

The own one is `incarts.toml` in the user's config folder, in which alone a file may say where the
API key comes from and which hosts it is for.
"""

from __future__ import annotations

import os
import shlex
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.settings.api_key import hidden_keys, is_key
from incarts_pipeline.small_files import read_small
from incarts_pipeline.system import own_folder
from incarts_pipeline.text import suggest

FILE_NAME = "incarts.toml"
# What sends a key somewhere, says what is one, or whose plans are carried out: nothing that came
# with a project may.
OWN_ONLY = (
    *("api_key_file", "api_key_command", "api_key_keyring", "trusted_hosts"),
    "require_signature",
)
_CHOSEN = {"require_signature": "whose plans are carried out"}

_BYTES = 256 * 1024  # a file has a page at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Settings of one source, and where each stands."""

    values: Mapping[str, Any]
    places: Mapping[str, str]


NOTHING = Layer(values={}, places={})


def own_file() -> Path:
    """Return where a person's own settings file is, or would be."""
    return own_folder("config") / FILE_NAME


def layers_of_files(
    target: str | None, file: Path | None, variables: Mapping[str, str]
) -> tuple[Layer, Layer]:
    """Return what the person's own file says, and what the working folder's does.

    Args:
        target: a table of theirs, which wins over a file's own; one of them must have it.
        file: the file in place of the working folder's, which must be there.
        variables: all settings, with their variables.

    Raises:
        SettingsError: a file can't be read, is open to others, has unknown settings, or such as
            it may not have; no file has the target.
    """
    own, theirs = own_file(), file or Path(FILE_NAME)
    contents: dict[Path, dict[str, Any]] = {}
    if own.is_absolute() and own.exists():
        _check_own(own)
        contents[own] = _checked(own, variables, OWN_ONLY)
    if file is not None or (theirs.exists() and not _is_same(theirs, own)):
        contents[theirs] = _checked(theirs, variables, ())
    if target is not None and not any(target in one["targets"] for one in contents.values()):
        raise _no_target(target, contents)
    found = {path: _layer(path, content, target) for path, content in contents.items()}
    return found.get(own, NOTHING), found.get(theirs, NOTHING)


def check_names(table: Mapping[str, object], where: str, variables: Mapping[str, str]) -> None:
    """Refuse a setting that there isn't, with the nearest one that there is.

    Raises:
        SettingsError: as said.
    """
    by_variable = {variable.lower(): name for name, variable in variables.items()}
    for name in table:
        if name not in variables:
            meant = by_variable.get(name.lower(), name)
            near = suggest(meant, variables)
            raise SettingsError(f"{where} has an unknown setting {name!r}.{near}")


def _no_target(target: str, contents: Mapping[Path, Mapping[str, Any]]) -> SettingsError:
    if not contents:
        return SettingsError(
            f"There is no {FILE_NAME} here to find target {target!r} in.",
            fix=f"Write a [targets.{target}] table into {FILE_NAME}.",
        )
    known = [name for content in contents.values() for name in content["targets"]]
    return SettingsError(
        f"{' and '.join(map(str, contents))} has no target {target!r}.{suggest(target, known)}",
        fix=f"It has {', '.join(known) or 'none'}.",
    )


def _checked(path: Path, variables: Mapping[str, str], own: Iterable[str]) -> dict[str, Any]:
    content = _content(path)
    targets = content.setdefault("targets", {})
    if not isinstance(targets, dict) or not all(isinstance(t, dict) for t in targets.values()):
        raise SettingsError(f"{path} has targets that are no tables.", fix="Write [targets.NAME].")
    settings = {name: value for name, value in content.items() if name != "targets"}
    for table in (settings, *targets.values()):
        _check_secrets(table, path)
        _check_own_only(table, path, set(OWN_ONLY).difference(own), variables)
        check_names(table, str(path), variables)
    return content


def _layer(path: Path, content: Mapping[str, Any], target: str | None) -> Layer:
    base = {name: value for name, value in content.items() if name != "targets"}
    chosen = content["targets"].get(target, {})
    places = dict.fromkeys(base, str(path)) | dict.fromkeys(chosen, f"{path} [targets.{target}]")
    limits = {**base.get("limits", {}), **chosen.get("limits", {})}
    values = {**base, **chosen, **({"limits": limits} if limits else {})}
    return Layer(values=values, places=places)


def _content(path: Path) -> dict[str, Any]:
    try:
        return hidden_keys(tomllib.loads(read_small(path, _BYTES)))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        reason = error
    raise SettingsError(f"{path} is not TOML: {reason}.")


def _check_own(path: Path) -> None:
    """Refuse a person's own file that somebody else may have written."""
    found = path.stat()
    if os.name != "posix":
        return
    if stat.S_IMODE(found.st_mode) & 0o022 or found.st_uid not in (0, os.geteuid()):
        raise SettingsError(
            f"Others may write to {path}, which says where the API key comes from.",
            fix=f"Look through it, make it yours, and type `chmod 600 {shlex.quote(str(path))}`.",
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _check_secrets(table: Mapping[str, object], path: Path) -> None:
    for name in table:
        if is_key(name):
            raise SettingsError(
                f"{path} contains {name}, and files get committed.",
                fix="Remove it (and rotate the key if it was shared); export INCARTS_API_KEY, or "
                "INCARTS_API_KEY_FILE with a file outside the repository.",
            )


def _check_own_only(
    table: Mapping[str, object], path: Path, refused: set[str], variables: Mapping[str, str]
) -> None:
    spelled = {variables[name].lower(): name for name in refused} | {name: name for name in refused}
    for given in table:
        if (name := spelled.get(given.lower())) is not None:
            raise SettingsError(
                f"{path} has {name}, which only a person says: whoever wrote that file would "
                f"choose {_CHOSEN.get(name, 'where an API key goes')}.",
                fix=f"Remove it; export {variables[name]}, or write it into {own_file()}.",
            )
