"""Snapshot of the caller's frame: what a plan reads, and what its links are joined back to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from incarts_pipeline.catalog import (
    Catalog,
    cannot_read,
    dataset_fingerprint,
    from_dicts,
    from_pandas,
    is_pandas,
    open_catalog,
)
from incarts_pipeline.errors import CatalogError

_READ_ROWS = 50_000


class FrameKind(StrEnum):
    """What kind of frame the caller gets back."""

    PANDAS = "pandas"
    POLARS = "polars"
    ARROW = "arrow"  # also for DuckDB, which reads Arrow tables by their name


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFrame:
    """A frame that nothing changes any more; `in_memory` is false where the disk holds it.

    Of what it was read from, `warnings` say what there is to know, and `faults` why a column can't
    be used.
    """

    kind: FrameKind
    frame: Any
    in_memory: bool = True
    warnings: tuple[str, ...] = ()
    faults: Mapping[str, CatalogError] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The columns, and a pandas frame's named index levels, as text."""
        if self.kind is FrameKind.POLARS:
            return list(self.frame.columns)
        if self.kind is FrameKind.ARROW:
            return list(self.frame.column_names)
        levels = [name for name in self.frame.index.names if name is not None]
        return list(dict.fromkeys(str(name) for name in [*levels, *self.frame.columns]))

    def catalog(self) -> Catalog:
        """Open the frame as a catalog."""
        catalog = open_catalog(self.frame)
        catalog.warnings += self.warnings
        catalog.faults.update(self.faults)
        return catalog

    def some(self) -> pa.Table:
        """Return rows to show an example of."""
        return self.arrow()

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table; named index levels are columns, in front.

        Columns that Arrow can't hold are left out.
        """
        if self.kind is FrameKind.PANDAS:
            return from_pandas(self.frame)[0]
        return pa.table(self.frame)


def keep(source: Any, reading: Mapping[str, Any] | None = None) -> KeptFrame:
    """Keep a frame against later changes by its owner, and a stream against being gone.

    Frames and Arrow tables are shared or copied, never changed. Whatever is read anew each time or
    can be read but once (DuckDB relations, readers, datasets, files) is read once, into a temporary
    Arrow file that is mapped into memory and whose name is gone at once.

    Args:
        source: whatever `plan_links` takes.
        reading: how a file is read, as `open_catalog` takes it.

    Raises:
        CatalogError: it can't be read; says what to do.
    """
    if is_pandas(source):
        from incarts_pipeline.dataframes import pandas_frames  # whoever has a frame has pandas

        return KeptFrame(kind=FrameKind.PANDAS, frame=pandas_frames.kept(source))
    if type(source).__module__.partition(".")[0] == "polars" and hasattr(source, "lazy"):
        return KeptFrame(kind=FrameKind.POLARS, frame=_collected(source))
    if isinstance(source, pa.Table):
        return KeptFrame(kind=FrameKind.ARROW, frame=source)
    if isinstance(source, pa.RecordBatch):
        return KeptFrame(kind=FrameKind.ARROW, frame=pa.Table.from_batches([source]))
    if isinstance(source, list) and all(isinstance(row, dict) for row in source):
        table, faults = from_dicts(source)
        return KeptFrame(kind=FrameKind.ARROW, frame=table, faults=faults)
    return _spooled(source, reading or {})


def _collected(source: Any) -> Any:
    try:
        return source.lazy().collect()
    except Exception as error:  # of the engine behind it
        raise cannot_read("the polars frame", error) from error


def _spooled(source: Any, reading: Mapping[str, Any]) -> KeptFrame:
    """Read a stream once, and keep it on disk, in the types that it has."""
    try:
        files = dataset_fingerprint(source)
        reader = _reader(source)
        if reader is None:
            return _read(open_catalog(source, **reading))
        table = _mapped(reader.schema, reader)
        if files is not None:
            files.check()
        return KeptFrame(kind=FrameKind.ARROW, frame=table, in_memory=False)
    except CatalogError:
        raise
    except Exception as error:  # of the engine behind it
        raise cannot_read(f"the {type(source).__name__}", error) from error


def _read(catalog: Catalog) -> KeptFrame:
    table = _mapped(catalog.schema, catalog.batches())
    return KeptFrame(
        kind=FrameKind.ARROW,
        frame=table,
        in_memory=False,
        warnings=tuple(catalog.warnings),
        faults=catalog.faults,
    )


def _reader(source: Any) -> pa.RecordBatchReader | None:
    """Return an Arrow stream of a source that is one; files are the catalog's to open."""
    if isinstance(source, ds.Dataset):
        return source.scanner(batch_size=_READ_ROWS).to_reader()
    if isinstance(source, ds.Scanner):
        return source.to_reader()
    if hasattr(source, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(source)
    return None


def _mapped(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    with tempfile.TemporaryDirectory(prefix="incarts-") as folder:
        path = str(Path(folder) / "frame.arrows")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return pa.ipc.open_stream(pa.memory_map(path)).read_all()
