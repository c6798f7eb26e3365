"""Fingerprint of a catalog's files: which there are, and what changes in one that is written to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from incarts_pipeline.errors import CatalogError
from incarts_pipeline.text import counted

_AT_ONCE = 16  # a file costs a round trip on an object store, and nothing else
# What S3, Azure and Google Cloud Storage call the version of an object.
_VERSIONS = frozenset({"etag", "versionid", "generation"})

State = tuple[object, ...]  # of a file: compared, never read
States = Mapping[str, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The files of a catalog as they were before anything was read of them.

    `name` is the catalog, as messages show it; `look` finds its files, and their states, anew.
    """

    name: str
    states: States
    look: Callable[[], States]

    def check(self) -> None:
        """Make sure that the files are the same, and that none was written to.

        Raises:
            CatalogError: one isn't; names it.
        """
        try:
            changed = list(_changes(self.states, self.look()))
        except (CatalogError, pa.ArrowException, OSError) as error:
            raise self._changed("it can't be looked at any more") from error
        if changed:
            more = f", and {counted(len(changed) - 1, 'more file')}" if len(changed) > 1 else ""
            raise self._changed(changed[0] + more)

    def _changed(self, what: str) -> CatalogError:
        return CatalogError(
            f"{self.name} changed after its reading began: {what}. Nothing was sent.",
            fix="Wait until it is written, and run again.",
        )


def fingerprint(
    name: str, filesystem: fs.FileSystem, paths: Callable[[], Sequence[str]]
) -> Fingerprint:
    """Return the state of a catalog's files; take it before anything is read of them.

    Args:
        name: the catalog, as messages show it.
        filesystem: where the files are.
        paths: finds the files; called again by each check.

    Raises:
        OSError: a file isn't there, or may not be read.
    """

    def look() -> States:
        found = paths()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(
                zip(found, pool.map(lambda path: _state(filesystem, path), found), strict=True)
            )

    return Fingerprint(name=name, states=look(), look=look)


def dataset_fingerprint(source: object) -> Fingerprint | None:
    """Return the state of a dataset's files, None for whatever else it is."""
    if not isinstance(source, ds.FileSystemDataset):
        return None
    return fingerprint("the dataset", source.filesystem, lambda: source.files)


def _state(filesystem: fs.FileSystem, path: str) -> State:
    if isinstance(filesystem, fs.LocalFileSystem):
        # Opened, not only looked up: network file systems tell the truth of an open file, and
        # remember the rest for seconds. The inode tells a file that was put in another one's place,
        # and the time of its last change of any kind one that was dated back.
        with Path(path).open("rb") as file:
            found = os.fstat(file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino
    # A store's own time has whole seconds, so its version is asked for too.
    info = filesystem.get_file_info(path)
    with filesystem.open_input_file(path) as file:
        told = {name.lower(): value for name, value in file.metadata().items()}
    return info.size, info.mtime_ns, *(told.get(name) for name in sorted(_VERSIONS))


def _changes(before: States, now: States) -> Iterator[str]:
    """Say of each file that is not as it was what became of it."""
    for path in sorted({*before, *now}):
        if path not in now:
            yield f"{path} is gone"
        elif path not in before:
            yield f"{path} is new"
        elif before[path] != now[path]:
            yield f"{path} was written to"
