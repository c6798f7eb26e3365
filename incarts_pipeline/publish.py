"""Outcomes → links.parquet and its companions, replaced atomically."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from incarts_pipeline import outcomes
from incarts_pipeline.errors import PublishError, RefusedError
from incarts_pipeline.failpoints import Place, passing
from incarts_pipeline.ledger.view import LedgerView
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.schemas import HISTORY, LINKS, MISSING, OUTPUT_VERSION
from incarts_pipeline.stage import Stage

_BATCH = 50_000
_PART = ".incarts-"
_OLD_PART_SECONDS = 3_600.0
_NULLS = {pa.int64(): -1, pa.string(): ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the tables go: a path or a URI of `links.parquet`, its companions beside it."""

    links: str

    @property
    def missing(self) -> str:
        """The table of links whose row left the catalog."""
        return _beside(self.links, "missing")

    @property
    def history(self) -> str:
        """The table of everything ever sent for the link sets."""
        return _beside(self.links, "history")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver:
    """Why rows were not tried.

    `rows` are ((link set, row key), reason) of single rows, `closed` the (retailer, intent) pairs
    whose circuit opened, `limit` the number of calls that the run was held to; every other row
    that was not tried is pending for `reason`.
    """

    reason: Reason
    rows: Sequence[tuple[tuple[str, str], Reason]] = ()
    closed: Sequence[tuple[str, str]] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was written: rows per (status, reason)."""

    output: Output
    counts: Mapping[tuple[Status, Reason], int]

    @property
    def by_status(self) -> dict[Status, int]:
        """Rows per status, in the order of the enum."""
        totals = dict.fromkeys(Status, 0)
        for (status, _), n in self.counts.items():
            totals[status] += n
        return totals


def check_output(output: Output, ledger: LedgerView, *, id_column: str = "link_id") -> None:
    """Refuse, before anything is sent, an output that can't be written or that isn't ours.

    `id_column` has the ids of what the ledger must know.

    Raises:
        PublishError: as `check_place` raises.
        RefusedError: it holds links that the ledger doesn't know.
    """
    check_place(output.links)
    filesystem, path = resolve(output.links)
    if filesystem.get_file_info(path).type is fs.FileType.NotFound:
        return
    try:
        unknown = _unknown_links(filesystem, path, ledger, id_column)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise RefusedError(
            f"{output.links} exists but is not a table of links ({error}).",
            fix="Choose another output, or move the file away.",
            guard="unknown_output",
        ) from error
    if unknown:
        raise RefusedError(
            f"{output.links} holds {len(unknown):,} links or doubts that the ledger {ledger.file} "
            f"doesn't know, like {unknown[0]}: wrong folder, lost ledger, or an old backup? Going "
            "on would make them again.",
            fix="Point INCARTS_LEDGER at the ledger that made them; if it is lost, take them over "
            f"with `incarts import {output.links}` (or `incarts apply --adopt`).",
            guard="unknown_output",
        )


def check_place(target: str) -> None:
    """Refuse a place where no Parquet file can be written; a quick look before the long work.

    Raises:
        PublishError: it is a folder, is named like another kind of file, or can't be written.
    """
    filesystem, path = resolve(target)
    if filesystem.get_file_info(path).type is fs.FileType.Directory:
        raise PublishError(f"{target} is a folder.", fix="Name a file in it, like links.parquet.")
    if PurePosixPath(path).suffix.lower() != ".parquet":
        raise PublishError(
            f"{target} isn't named like what would be in it, which is Parquet.",
            fix="Let its name end with .parquet; pandas, Polars and DuckDB make a CSV file of it.",
        )
    _check_writable(filesystem, path, target)


def _unknown_links(
    filesystem: fs.FileSystem, path: str, ledger: LedgerView, id_column: str
) -> list[str]:
    """Return the links and the keys in doubt of an output that the ledger doesn't have."""
    unknown: list[str] = []
    with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
        names = file.schema_arrow.names
        if id_column not in names:
            raise KeyError(id_column)
        wanted = [name for name in (id_column, "status", "idempotency_key") if name in names]
        for batch in file.iter_batches(_BATCH, columns=wanted):
            ids = pc.unique(batch.column(id_column).drop_null()).to_pylist()
            unknown += sorted(set(ids) - ledger.known_links(ids))
            if len(wanted) == 3:
                doubts = batch.filter(pc.equal(batch.column("status"), Status.IN_DOUBT.value))
                keys = doubts.column("idempotency_key").drop_null().to_pylist()
                unknown += sorted(set(keys) - ledger.known_keys(keys))
    return unknown


def publish(
    stage: Stage,
    output: Output,
    *,
    history: Iterable[pa.RecordBatch],
    left: LeftOver,
    facts: Mapping[str, str],
) -> Published:
    """Write the three tables from a stage whose ledger tables are fresh, and the ledger's history.

    `facts` go into the Parquet metadata; `run_id` among them names this run.

    Raises:
        PublishError: a table can't be written; the old one is untouched.
    """
    keys = key_columns(stage.key_fields, LINKS)
    select = "".join(f"r.key.{quote(f.name)} AS {quote(name)}, " for name, f in keys.items())
    schema = pa.schema([*(f.with_name(name) for name, f in keys.items()), *LINKS])
    metadata = metadata_of(facts)
    columns = outcomes.LINK_COLUMNS.format(key_columns=select, action=outcomes.ACTION)
    write_table(_with_nulls(history), HISTORY.with_metadata(metadata), output.history)
    # One after the other: an open stream holds on to the memory of its joins.
    missing = stage.stream(outcomes.MISSING_ROWS, _BATCH)
    write_table(missing, MISSING.with_metadata(metadata), output.missing)
    del missing
    counts = write_rows(stage, outcomes.rows(columns), left, facts, schema, output.links)
    return Published(output=output, counts=counts)


def write_rows(
    stage: Stage,
    query: str,
    left: LeftOver,
    facts: Mapping[str, str],
    schema: pa.Schema,
    target: str,
) -> dict[tuple[Status, Reason], int]:
    """Write the table of how each row stands; return the rows per status and reason.

    `query` is one of `outcomes.rows`.
    """
    _load_left_over(stage, left)
    stage.db.execute(outcomes.LATEST)
    counts: Counter[tuple[Status, Reason]] = Counter()
    run = {"pending": left.reason.value, "run": facts["run_id"]}
    rows = _counted(stage.stream(query, _BATCH, run), counts)
    write_table(rows, schema.with_metadata(metadata_of(facts)), target)
    return dict(sorted(counts.items()))


def metadata_of(facts: Mapping[str, str]) -> dict[str, str]:
    """Return facts as the metadata of a published table."""
    named = {f"incarts.{name}": value for name, value in facts.items()}
    return named | {"incarts.version": str(OUTPUT_VERSION)}


def _counted(
    batches: Iterable[pa.RecordBatch], counts: Counter[tuple[Status, Reason]]
) -> Iterator[pa.RecordBatch]:
    """Pass batches on and count their rows."""
    for batch in batches:
        kinds = pa.table(batch.select(["status", "reason"]).columns, ["status", "reason"])
        for kind in kinds.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist():
            counts[Status(kind["status"]), Reason(kind["reason"])] += kind["count_all"]
        yield batch


def _load_left_over(stage: Stage, left: LeftOver) -> None:
    """Fill the table `left_over`: the calls that were not tried for a reason of their own."""
    names = ("link_set", "row_key", "reason")
    rows = [dict(zip(names, (*row, reason), strict=True)) for row, reason in left.rows]
    table = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))
    stage.db.register("incoming", table)
    stage.db.execute("CREATE OR REPLACE TABLE left_over AS SELECT * FROM incoming")
    stage.db.unregister("incoming")
    if left.limit is not None:
        stage.db.execute(outcomes.OVER_LIMIT, {"limit": left.limit})
    for retailer, intent in left.closed:
        stage.db.execute(outcomes.CLOSED, {"retailer": retailer, "intent": intent})


def key_columns(key_fields: Sequence[pa.Field], others: pa.Schema) -> dict[str, pa.Field]:
    """Return the key columns by the names under which they are published beside other columns."""
    taken = set(others.names)
    return {
        f"{field.name}_catalog" if field.name in taken else field.name: field
        for field in key_fields
    }


def write_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: str) -> None:
    """Write a table to a finished local file, then put it in place in one step."""
    filesystem, path = resolve(target)
    local = isinstance(filesystem, fs.LocalFileSystem)
    folder = Path(path).parent if local else Path(tempfile.gettempdir())
    _drop_old_parts(folder)
    part = folder / f"{_PART}{uuid.uuid4().hex}.parquet"
    try:
        _write_file(batches, schema, part)
        passing(Place.MID_PUBLISH)
        if local:
            part.replace(path)
            _sync_folder(folder)
        else:
            fs.copy_files(str(part), path, destination_filesystem=filesystem)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def _drop_old_parts(folder: Path) -> None:
    """Remove what a run that was killed while publishing left behind."""
    for part in folder.glob(f"{_PART}*.parquet"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _OLD_PART_SECONDS:
                part.unlink()


def _write_file(batches: Iterable[pa.RecordBatch], schema: pa.Schema, part: Path) -> None:
    with part.open("xb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                columns = [
                    column.cast(field.type)
                    for column, field in zip(batch.columns, schema, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        file.flush()
        os.fsync(file.fileno())


def _with_nulls(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Turn the -1 and "" of the ledger's bulk reads into the nulls that they stand for."""
    for batch in batches:
        columns = [
            pc.if_else(pc.equal(column, _NULLS[column.type]), None, column)
            if field.nullable
            else column
            for column, field in zip(batch.columns, HISTORY, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, names=HISTORY.names)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_writable(filesystem: fs.FileSystem, path: str, shown: str) -> None:
    if not isinstance(filesystem, fs.LocalFileSystem):
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise PublishError(f"The folder of {shown} doesn't exist.", fix=f"Create {folder}.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(shown, error) from error


def _cannot_write(target: str, error: OSError) -> PublishError:
    return PublishError(
        f"{target} can't be written ({error.strerror or error}).",
        fix="Make room or give access, or choose another output. What was answered is in the "
        "ledger: running again writes the file without sending anything twice.",
    )


def resolve(target: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and the path of a local path or a URI."""
    if "://" not in target:
        return fs.LocalFileSystem(), str(Path(target).absolute())
    try:
        filesystem, path = fs.FileSystem.from_uri(target)
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise PublishError(f"{target} is not a place that can be written ({error}).") from error
    return filesystem, path


def exists(target: str) -> bool:
    """Say whether there is a file at a path or a URI."""
    filesystem, path = resolve(target)
    return bool(filesystem.get_file_info(path).type is fs.FileType.File)


def _beside(links: str, what: str) -> str:
    """Return the name of a companion; a URI's options stay behind it."""
    place, mark, options = links.partition("?") if "://" in links else (links, "", "")
    folder, slash, name = place.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    companion = f"{stem}.{what}.{suffix}" if dot else f"{name}.{what}"
    return f"{folder}{slash}{companion}{mark}{options}"


def quote(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
