"""Named paths of what a run reads and writes: nothing that it reads may be what it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from incarts_pipeline.catalog import table_place, would_read
from incarts_pipeline.errors import PublishError, RefusedError
from incarts_pipeline.file_writer import check_link
from incarts_pipeline.mapping import mapping_file
from incarts_pipeline.outgoing import uri_place
from incarts_pipeline.settings import LedgerPlace, Settings, own_file
from incarts_pipeline.system import at_home

# What SQLite, the pace and the witness keep beside the ledger, under its name and more.
_BESIDE_LEDGER = ("-wal", "-shm", "-journal", "-pace", ".witness", ".sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPath:
    """A path or URI, and what it is to people, like `ledger`.

    Attributes:
        what: a noun.
        is_catalog: whether the path may be a folder or glob, for all files that it means.
        catalog_format: what kind of file the catalog was said to be.
        begins: how a file begins that may be overwritten there.
    """

    what: str
    path: str
    is_catalog: bool = False
    catalog_format: str | None = None
    begins: bytes = b""


def paths_read(
    settings: Settings,
    *,
    catalog: object = None,
    catalog_format: str | None = None,
    mapping: object = None,
    hold_dead: str | None = None,
) -> tuple[NamedPath, ...]:
    """Return what a run reads: ledger and settings, and what the caller says, where it is a file.

    A catalog or mapping in memory, or on standard input, is no place.
    """
    found = [*_ledger(settings.ledger)]
    found += [NamedPath(what="settings file", path=str(one)) for one in (settings.file, own_file())]
    if settings.api_key_file is not None:
        found.append(NamedPath(what="file with the API key", path=str(settings.api_key_file)))
    if isinstance(catalog, str | Path) and str(catalog) != "-":
        found.append(
            NamedPath(
                what="catalog",
                path=str(catalog),
                is_catalog=True,
                catalog_format=catalog_format,
            )
        )
    if (file := mapping_file(mapping)) is not None:
        found.append(NamedPath(what="mapping", path=str(file)))
    if hold_dead is not None:
        found.append(NamedPath(what="table of dead destinations", path=hold_dead))
    return tuple(found)


def check_apart(written: Sequence[NamedPath], read: Sequence[NamedPath]) -> None:
    """Refuse to write what is read, two things to one place, or over a file of another kind.

    Links are followed, and names that differ only in case count as one: on some disks they are.

    Raises:
        RefusedError: says which two; nothing was written.
        PublishError: no file can have such a path, or it is a symbolic link.
    """
    for path in written:
        if "\0" in path.path:
            raise PublishError(
                f"The {path.what} can't be written to {uri_place(path.path)!r}, "
                "which has a NUL in it.",
                fix="Correct the path.",
            )
    taken = [(other, _real(other.path)) for other in read]
    for path in written:
        place = _real(path.path)
        for other, its_place in taken:
            if _same(place, its_place) or _is_part(place, other, its_place):
                raise RefusedError(
                    f"The {path.what} can't be written to {uri_place(path.path)}: that is "
                    f"the {other.what}, {uri_place(other.path)}.",
                    fix=f"Choose another place for the {path.what}.",
                    guard="output_is_input",
                )
        if "://" not in path.path:
            check_link(Path(path.path), path.what)
        _check_kind(path)
        taken.append((path, place))


def _ledger(ledger: LedgerPlace) -> Iterator[NamedPath]:
    if not isinstance(ledger, Path):
        return
    yield NamedPath(what="ledger", path=str(ledger))
    for more in _BESIDE_LEDGER:
        yield NamedPath(what="ledger's own file", path=_real(str(ledger)) + more)


def _check_kind(named: NamedPath) -> None:
    """Refuse to overwrite a local file that doesn't begin as it should."""
    try:
        file = Path(named.path)
        if not file.is_file():  # a pipe would be waited for
            return
        with file.open("rb") as opened:
            begins = opened.read(len(named.begins))
    except OSError:  # there is none; whoever writes says what else is wrong
        return
    if begins and not named.begins.lower().startswith(begins.lower()):
        raise RefusedError(
            f"{named.path} exists and is no {named.what}.",
            fix="Choose another place, or move the file away.",
            guard="unknown_output",
        )


def _real(path: str) -> str:
    path = table_place(path)
    if path.startswith("file://"):
        path = unquote(urlsplit(path).path)
    return uri_place(path).rstrip("/") if "://" in path else os.path.realpath(at_home(path))


def _same(one: str, other: str) -> bool:
    if one.casefold() == other.casefold():
        return True
    try:
        return Path(one).samefile(other)  # two names of one file
    except OSError:
        return False


def _is_part(written: str, other: NamedPath, place: str) -> bool:
    """Say whether a catalog that is a folder or a glob, at a place, would hold a file."""
    if not other.is_catalog or Path(other.path).is_file():
        return False
    return would_read(place, written, other.catalog_format)
