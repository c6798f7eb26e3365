"""Manifest of a dataset: which files it has, what is in them, and whose they are.

It is replaced last. So a dataset whose files are not as its manifest says was being written when
something ended that, or has been changed since.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline.models import Reason, Status
from incarts_pipeline.outgoing import uri_place
from incarts_pipeline.publish.delta_log import DeltaLog, log_of
from incarts_pipeline.publish.files import in_folder, put, resolve
from incarts_pipeline.publish.freshness import is_noted, sha256_of
from incarts_pipeline.publish.output import (
    Output,
    Written,
    bucket_number,
    is_for_good,
    lasting,
    run_of,
    within,
)
from incarts_pipeline.settings import LedgerPlace

FORMAT = 1  # +1 when an older version couldn't go on from what it says
MISSING_FILE = "_missing/missing.parquet"
_FOLDERS = ("_missing/", "_history/", "_state/")
_BESIDE = re.compile(
    r"bucket-\d+(?:-[0-9a-f]{32})?\.parquet|part-(?:[0-9a-f]{32}-)?\d+\.parquet|missing\.parquet"
)
_AT_ONCE = 8  # files that are looked into
# As long as that, what no manifest names may be another run's, whose manifest is still to come.
_WRITING_SECONDS = 86_400.0

Files = Mapping[str, Written]  # by their names within the dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset consists of.

    Attributes:
        facts: whose it is, and which run wrote it, as in the metadata of a published table.
        buckets: how many there are, a power of two.
        counts: rows per status and reason.
        files: all its files but this one.
        keyless: rows without a key, all in one bucket.
        state: what the next run may go on from, as the plan has it.
        sha256: of the manifest's own file, empty for one that isn't written yet.
    """

    facts: Mapping[str, str]
    buckets: int
    counts: Mapping[tuple[Status, Reason], int]
    files: Files
    keyless: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)
    sha256: bytes = b""

    @classmethod
    def of(cls, output: Output) -> Self | None:
        """Read an output's manifest; None where there is none that can be read."""
        filesystem, path = resolve(output.manifest)
        try:
            with filesystem.open_input_file(path) as file:
                content = file.read()
            said = json.loads(content)
            if said["format"] != FORMAT:
                return None
            return cls(
                facts=said["facts"],
                buckets=said["buckets"],
                counts={(Status(s), Reason(r)): n for s, r, n in said["counts"]},
                files={name: _written(one) for name, one in said["files"].items()},
                keyless=said["keyless"],
                state=said["state"],
                sha256=hashlib.sha256(content).digest(),
            )
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            return None

    def write(self, output: Output) -> Self:
        """Put the manifest in place; return it with its checksum."""
        said = {
            "format": FORMAT,
            "facts": dict(self.facts),
            "buckets": self.buckets,
            "counts": [[*kind, n] for kind, n in self.counts.items()],
            "files": {
                name: {
                    "rows": one.rows,
                    "bytes": one.size,
                    "sha256": one.sha256.hex(),
                    "run_id": one.run_id,
                }
                for name, one in self.files.items()
            },
            "keyless": self.keyless,
            "state": self.state,
        }
        content = json.dumps(said, indent=1).encode()
        sha256 = hashlib.sha256(content).digest()

        def write(file: BinaryIO) -> Written:
            file.write(content)
            return Written(rows=0, size=len(content), sha256=sha256)

        put(write, output.manifest)
        return replace(self, sha256=sha256)

    def says_as(self, other: Manifest, output: Output) -> bool:
        """Say whether another manifest of an output differs in nothing but the run."""
        return (
            self.buckets == other.buckets
            and self.counts == other.counts
            and self.files == other.files
            and self.has_state(other.state, output)
            and lasting(self.facts) == lasting(other.facts)
        )

    def has_state(self, state: Mapping[str, Any], output: Output) -> bool:
        """Say whether it has a state, as far as it is worth to be written.

        That a file of the catalog was written again as it was is worth no request to a store.
        """
        if isinstance(resolve(output.links)[0], fs.LocalFileSystem):
            return self.state == state
        return _without_times(self.state) == _without_times(state)

    def below(self, folder: str) -> Files:
        """Return the files of one of the dataset's folders."""
        return {name: one for name, one in self.files.items() if name.startswith(folder)}

    def bucket_names(self, folder: str = "") -> dict[int, str]:
        """Return the names of all buckets' files, or of those which a folder has for them."""
        names = {bucket_number(name.removeprefix(folder)): name for name in self.below(folder)}
        return {number: name for number, name in names.items() if number is not None}

    def history_sha256(self) -> bytes:
        """Return what tells one state of the history from another."""
        parts = self.below("_history/").items()
        return hashlib.sha256(b"".join(name.encode() + one.sha256 for name, one in parts)).digest()


def noted_place(target: str) -> str:
    """Return the name under which the ledger notes a part of a dataset."""
    filesystem, path = resolve(target)
    return path if isinstance(filesystem, fs.LocalFileSystem) else uri_place(target)


def is_as_noted(
    ledger: LedgerPlace,
    output: Output,
    manifest: Manifest | None,
    made_from: Callable[[], str] | None = None,
) -> bool:
    """Say whether a dataset's manifest is what was published from the ledger as it is now."""
    place = noted_place(output.manifest)
    return manifest is not None and is_noted(ledger, place, made_from, lambda: manifest.sha256)


def has_its_files(output: Output, manifest: Manifest, *, by_size: bool = False) -> bool:
    """Say whether a dataset's files are those of its manifest, or at least as large as those.

    Buckets must be just these, and those of a Delta table of its columns. Other files may lie
    beside its companions: what a run has left that came to no manifest.

    Of a local file the checksum is compared. On a store, where the bytes would have to be fetched,
    it is the size, that the file is no younger than the manifest, which was written after it, and
    that it is the one meant (`is_meant`).
    """
    found = {n: info for n, info in _found(output) if n in manifest.files or "/" not in n}
    if {name: info.size for name, info in found.items()} != {
        name: one.size for name, one in manifest.files.items()
    }:
        return False
    if by_size:
        return True
    if output.is_delta and not _has_its_columns(output, manifest):
        return False
    filesystem, path = resolve(output.links)
    if not isinstance(filesystem, fs.LocalFileSystem):
        at = filesystem.get_file_info(resolve(output.manifest)[1]).mtime
        return all(
            info.mtime <= at or _may_come_again(name) for name, info in found.items()
        ) and _are_meant(output, manifest)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sums = pool.map(lambda name: sha256_of(Path(path, name)), manifest.files)
        return list(sums) == [one.sha256 for one in manifest.files.values()]


def is_meant(name: str, one: Written, schema: pa.Schema) -> bool:
    """Say whether a file that is there is the one that a manifest means.

    Another run may have put one of the same size in its place. So it has a name that no other file
    ever gets, or says in its metadata which run wrote it.
    """
    return is_for_good(name) or (bool(one.run_id) and run_of(schema) == one.run_id)


def _may_come_again(name: str) -> bool:
    """Say whether a file is named by what is in it: another run may put the same in its place."""
    return name.startswith("_state/") and is_for_good(name)


def _are_meant(output: Output, manifest: Manifest) -> bool:
    filesystem, _ = resolve(output.links)

    def look(name: str) -> bool:
        path = resolve(within(output.links, name))[1]
        try:
            schema = pq.read_schema(path, filesystem=filesystem)
        except (pa.ArrowException, OSError):
            return False
        return is_meant(name, manifest.files[name], schema)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return all(pool.map(look, (name for name in manifest.files if not is_for_good(name))))


def _has_its_columns(output: Output, manifest: Manifest) -> bool:
    """Say whether a Delta table has the columns of its files."""
    filesystem, path = resolve(within(output.links, manifest.bucket_names()[0]))
    try:
        schema = pq.read_schema(path, filesystem=filesystem)
    except (pa.ArrowException, OSError):  # damaged, though as large as it was
        return False
    return DeltaLog.of(output.links).has_columns(schema)


def drop_others(output: Output, manifest: Manifest, before: Manifest | None) -> None:
    """Delete what is named neither by a dataset's manifest nor by the one before it.

    Who planned with that one still reads what it names; and what was written lately may be
    another run's, whose manifest is still to come. But a bucket that isn't in the manifest goes at
    once, as whoever reads the folder would read it. Those of a Delta table stay: its log says what
    counts, and a full `VACUUM` deletes the rest.
    """
    filesystem, _ = resolve(output.links)
    read = manifest.files.keys() | (before.files.keys() if before is not None else set())
    lately = (time.time() - _WRITING_SECONDS) * 1e9
    for name, info in _found(output):
        if "/" in name:
            stays = name in read or info.mtime_ns > lately
        else:
            stays = name in manifest.files or output.is_delta
        if not stays:
            with suppress(FileNotFoundError):  # another run was faster
                filesystem.delete_file(info.path)


def _found(output: Output) -> Iterator[tuple[str, fs.FileInfo]]:
    """Yield the files that a dataset has, without its manifest, by their names in it."""
    log = log_of(output.links)
    for info in in_folder(output.links):
        name = info.base_name
        counts = bucket_number(name) is not None if log is None else name in log.files
        if info.type is fs.FileType.File and counts:
            yield name, info
    for folder in _FOLDERS:
        for info in in_folder(within(output.links, folder)):
            if info.type is fs.FileType.File and _BESIDE.fullmatch(info.base_name):
                yield folder + info.base_name, info


def as_written(content: pa.Buffer, table: pa.Table) -> Written:
    """Return what is known of a file from its bytes, and the table that they are."""
    sha256 = hashlib.sha256(content).digest()
    return Written(
        rows=table.num_rows, size=content.size, sha256=sha256, run_id=run_of(table.schema)
    )


def _without_times(state: Mapping[str, Any]) -> dict[str, Any]:
    files = state.get("files", {})
    return {**state, "files": {name: {**one, "state": None} for name, one in files.items()}}


def _written(said: Mapping[str, Any]) -> Written:
    return Written(
        rows=said["rows"],
        size=said["bytes"],
        sha256=bytes.fromhex(said["sha256"]),
        run_id=said.get("run_id", ""),
    )
