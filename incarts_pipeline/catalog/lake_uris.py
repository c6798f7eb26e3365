"""URIs of lake tables, with the version that is meant.

    delta://FOLDER                  delta+s3://BUCKET/FOLDER and the like    ?version=12
    iceberg://CATALOG/space.table   FILE.metadata.json                       ?snapshot=8123

What a Delta table's URI is without the `delta`, is its folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.system import at_home

ICEBERG = "iceberg://"  # a table that a catalog of pyiceberg's settings has
_LOCAL, _REMOTE = "delta://", "delta+"
_DELTA = re.compile(r"delta(?:://|\+(?=[a-z0-9.+-]+://))")
_VERSION = re.compile(r"(?<=[?&])version=([^&]*)(?:&|$)")
_SNAPSHOT = re.compile(r"(?<=[?&])snapshot=([^&]*)(?:&|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableVersion:
    """The version of a lake table that a catalog is of.

    Attributes:
        said: in words, like `Delta version 12`.
        source: what opens just that version, as long as the table has it.
    """

    said: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaUri:
    """Where a Delta table is, and which version of it is meant; None for the newest."""

    folder: str
    version: int | None = None

    def __str__(self) -> str:
        """Return it as it is written."""
        text = f"{_REMOTE if '://' in self.folder else _LOCAL}{self.folder}"
        return text if self.version is None else _with_option(text, "version", self.version)


def is_delta_uri(place: str) -> bool:
    """Say whether a place is written as a URI of a Delta table."""
    return _DELTA.match(place) is not None


def delta_uri(place: str) -> DeltaUri:
    """Return what a place means as that of a Delta table: a URI of one, or its folder.

    Raises:
        CatalogError: its version is no number, or there is no folder in it.
    """
    if not is_delta_uri(place):
        return DeltaUri(folder=place)
    uri, version = _without_option(place, _VERSION, "version of a Delta table")
    folder = _DELTA.sub("", uri, count=1)
    is_local = "://" not in folder
    if not (folder if is_local else folder.partition("://")[2].partition("?")[0]):
        raise CatalogError(
            f"There is no folder in {place.partition('?')[0]}.",
            fix="Name the table's folder behind it; a variable there may be empty.",
        )
    if is_local and folder.startswith("~"):
        folder = str(at_home(folder))
    return DeltaUri(folder=folder, version=version)


def iceberg_uri(place: str) -> tuple[str, int | None]:
    """Return an Iceberg table's place, and the snapshot that is meant; None for the current one.

    Raises:
        CatalogError: its snapshot is no number.
    """
    return _without_option(place, _SNAPSHOT, "snapshot of an Iceberg table")


def iceberg_named(place: str, snapshot: int) -> str:
    """Return the URI of an Iceberg table's snapshot."""
    return _with_option(place if "://" in place else whole(place), "snapshot", snapshot)


def table_place(place: str) -> str:
    """Return where a table lies, whatever its version; any other place as it is."""
    return iceberg_uri(delta_uri(place).folder)[0]


def whole(folder: str) -> str:
    """Return a path that doesn't depend on the working folder; a URI as it is."""
    return folder if "://" in folder else str(at_home(folder).absolute())


def _with_option(place: str, name: str, number: int) -> str:
    return f"{place}{'&' if urlsplit(place).query else '?'}{name}={number}"


def _without_option(place: str, option: re.Pattern[str], what: str) -> tuple[str, int | None]:
    found = option.search(place)
    if found is None:
        return place, None
    if not (found[1].isascii() and found[1].isdigit()):
        raise CatalogError(
            f"{found[1]!r} is no {what}.",
            fix="Give its number, or leave it out for the newest.",
        )
    return option.sub("", place).rstrip("?&"), int(found[1])
