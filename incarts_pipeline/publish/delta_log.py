"""Log of a published Delta table: which files its newest version has, and the commit of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from incarts_pipeline.catalog import delta_storage, is_delta_uri, package
from incarts_pipeline.errors import PublishError, RefusedError, reason_of
from incarts_pipeline.outgoing import keep_credentials, safe, uri_place
from incarts_pipeline.publish.output import Written, within
from incarts_pipeline.system import sync_file, sync_folder

# What a reader must know beside the oldest tables' ways, and what is read here knows.
_READER_FEATURES = frozenset({"timestampNtz"})
# What a commit must heed, and deltalake's does.
_WRITER_FEATURES = _READER_FEATURES | {
    *("appendOnly", "invariants", "checkConstraints", "generatedColumns", "changeDataFeed")
}
_NEWEST_WRITER = 5  # of those that come before features have names
_APPEND_ONLY = "delta.appendOnly"
_RUN = "run_id"  # of the facts, what tells one commit from all others
DELTA_LOG = "_delta_log"  # the folder that tells a Delta table
_SHOWN = 240  # characters of another library's message


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaLog:
    """A table as one version has it, which the next commit goes on from.

    Attributes:
        target: its URI, `delta://` and the like.
        table: what deltalake has of it; None where there is none yet.
        files: the bytes of each file that this version has, by its name in the folder.
    """

    target: str
    table: Any | None
    files: Mapping[str, int]

    @classmethod
    def of(cls, target: str) -> Self:
        """Read the newest version of a table.

        Raises:
            PublishError: it can't be read.
            RefusedError: only others can read it.
            MissingExtraError: deltalake isn't installed.
        """
        deltalake = _deltalake()
        place, storage = _place_of(target)
        try:
            table = deltalake.DeltaTable(place, storage_options=storage)
            said = pa.table(table.get_add_actions(flatten=True))
            protocol = table.protocol()
        except deltalake.exceptions.TableNotFoundError:
            return cls(target=target, table=None, files={})
        except Exception as error:  # a library's own, or its store's
            raise PublishError(
                f"The Delta table {uri_place(target)} can't be read ({_told(error)}).",
                fix="Check the path, and that you may look there; or choose another output.",
            ) from None
        needed = set(protocol.reader_features or ()) - _READER_FEATURES
        if needed or protocol.min_reader_version not in (1, 3):
            raise _not_written_here(
                target, needed or {f"reader version {protocol.min_reader_version}"}
            )
        sizes = dict(zip(said["path"].to_pylist(), said["size_bytes"].to_pylist(), strict=True))
        return cls(target=target, table=table, files=sizes)

    @property
    def columns(self) -> pa.Schema | None:
        """The table's columns, None where there is no table."""
        return None if self.table is None else pa.schema(self.table.schema().to_arrow())

    @property
    def partitions(self) -> list[str]:
        """The columns that the table is partitioned by."""
        return [] if self.table is None else list(self.table.metadata().partition_columns)

    def check_commits(self) -> None:
        """Refuse a table that no run could commit to; raises RefusedError."""
        if self.table is None:
            return
        protocol, properties = self.table.protocol(), self.table.metadata().configuration
        needed = set(protocol.writer_features or ()) - _WRITER_FEATURES
        if protocol.writer_features is None and protocol.min_writer_version > _NEWEST_WRITER:
            needed = {f"writer version {protocol.min_writer_version}"}
        if str(properties.get(_APPEND_ONLY)).lower() == "true":
            needed.add(_APPEND_ONLY)
        if needed:
            raise _not_written_here(self.target, needed)

    def has_columns(self, schema: pa.Schema) -> bool:
        """Say whether the table has just the columns of files with a schema."""
        if self.table is None:
            return False
        return bool(self.table.schema() == _deltalake().Schema.from_arrow(schema))

    def commit(
        self,
        schema: pa.Schema,
        added: Mapping[str, Written],
        removed: Iterable[str],
        facts: Mapping[str, str],
    ) -> None:
        """Put files in place of others in one step, as the version after this one and no other.

        Args:
            schema: the columns of all files that the table then has.
            added: those that come, which lie in the folder already.
            removed: those that go; where the columns change, all must.
            facts: what the commit says of the run.

        Raises:
            PublishError: somebody else wrote to the table since this version, or it can't be
                written. Readers have the old version.
        """
        transaction = package("deltalake.transaction", "lakes", "Delta tables")
        now, gone = time.time_ns() // 1_000_000, sorted(removed)
        adds = [
            transaction.AddAction(name, one.size, {}, now, True, f'{{"numRecords":{one.rows}}}')
            for name, one in added.items()
        ]
        # Without one more try: what comes between two versions was not looked at.
        properties = transaction.CommitProperties(
            custom_metadata={f"incarts.{name}": fact for name, fact in facts.items()},
            max_commit_retries=0,
        )
        columns = _deltalake().Schema.from_arrow(schema)
        try:
            if self.table is None:
                place, storage = _place_of(self.target)
                transaction.create_table_with_add_actions(
                    place, columns, adds, storage_options=storage, commit_properties=properties
                )
            elif self.has_columns(schema):
                removes = [
                    transaction.RemoveAction(name, True, now, self.files[name], {}) for name in gone
                ]
                self.table.create_write_transaction(
                    [*adds, *removes], "append", columns, commit_properties=properties
                )
            else:
                self.table.create_write_transaction(
                    adds, "overwrite", columns, commit_properties=properties
                )
        except Exception as error:  # a library's own, or its store's
            if not _is_made_by(self.target, self._next, facts):  # its answer may have been lost
                raise self._not_committed(error) from None
        self._sync()

    @property
    def _next(self) -> int:
        """The version that a commit makes."""
        return 0 if self.table is None else int(self.table.version()) + 1

    def _not_committed(self, error: Exception) -> PublishError:
        """Return the error of a commit that failed, by what became of the table meanwhile."""
        newest = DeltaLog.of(self.target).table
        name = uri_place(self.target)
        if newest is not None and newest.version() >= self._next:
            return PublishError(
                f"Another writer has published {name} as version {newest.version():,} while this "
                "run was writing it.",
                fix="Run again: what was answered is in the ledger, and nothing is sent twice.",
            )
        return PublishError(
            f"{name} can't be written ({_told(error)}).",
            fix="Make room or give access, or choose another output. What was answered is in the "
            "ledger: running again writes the table without sending anything twice.",
        )

    def _sync(self) -> None:
        """Bring a local table's commit to the disk, which its library doesn't."""
        place, _ = _place_of(self.target)
        if "://" in place:
            return
        log = Path(place, DELTA_LOG)
        sync_file(log / f"{self._next:020}.json")
        sync_folder(log)


def _is_made_by(target: str, version: int, facts: Mapping[str, str]) -> bool:
    """Say whether a run made a version of a table."""
    # Not by deltalake's history, which holds all other threads up while it asks a store.
    place = within(target, f"{DELTA_LOG}/{version:020}.json")
    try:
        filesystem, path = (
            fs.FileSystem.from_uri(place)
            if "://" in place
            else (fs.LocalFileSystem(), str(Path(place).absolute()))
        )
        with filesystem.open_input_file(path) as file:
            said = [json.loads(line) for line in file.read().splitlines()]
    except (pa.ArrowException, OSError, ValueError):
        return False
    return any(one.get("commitInfo", {}).get(f"incarts.{_RUN}") == facts[_RUN] for one in said)


def _not_written_here(target: str, features: Iterable[str]) -> RefusedError:
    return RefusedError(
        f"The Delta table {uri_place(target)} has got a feature that is not written here: "
        f"{', '.join(sorted(features))}.",
        fix="Take it off the table, or choose a new folder.",
        guard="unknown_output",
    )


def log_of(target: str) -> DeltaLog | None:
    """Return a Delta table's log, None for any other output; raises as `DeltaLog.of` does."""
    return DeltaLog.of(target) if is_delta_uri(target) else None


def _place_of(target: str) -> tuple[str, dict[str, str] | None]:
    """Return a table's folder and the options of its store, as deltalake takes them."""
    folder = within(keep_credentials(target), "")
    if folder.startswith("file://"):
        folder = unquote(urlsplit(folder).path)
    storage = delta_storage(folder)
    return (uri_place(folder), storage) if "://" in folder else (str(Path(folder).absolute()), None)


def _deltalake() -> Any:
    return package("deltalake", "lakes", "Delta tables")


def _told(error: Exception) -> str:
    reason = safe(reason_of(error))
    return reason if len(reason) <= _SHOWN else reason[:_SHOWN] + "…"
