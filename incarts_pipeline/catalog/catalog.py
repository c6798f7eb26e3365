"""Catalog as the rest of the pipeline sees it: one schema, and batches in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.catalog.arrow_types import (
    Faults,
    check_text,
    member_field,
    plain_batch,
    usable_columns,
    with_members,
)
from incarts_pipeline.catalog.fingerprint import Fingerprint, State
from incarts_pipeline.catalog.lake_uris import TableVersion
from incarts_pipeline.catalog.options import BATCH_ROWS
from incarts_pipeline.errors import CatalogError, reason_of
from incarts_pipeline.outgoing import safe

_SHOWN = 240  # characters of another library's message
_CREDENTIALS = {
    "s3": ", with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
    "gs": ", with GOOGLE_APPLICATION_CREDENTIALS or a service account",
    "abfs": ", with AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or az login",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows of a catalog that can be read without the others.

    Attributes:
        name: what tells it from other parts, the same each time.
        read: yields its rows; takes the number of the first one in the catalog, for messages.
        state: what changes when it is written to, None where nothing tells.
    """

    name: str
    read: Callable[[int], Iterable[pa.RecordBatch]]
    state: State | None = None


class Catalog:
    """A stream of record batches with one schema: no dictionaries, no views, no large types.

    Attributes:
        schema: the columns that can be used, under their own names; `require` adds members.
        faults: by its name why another column can't be used; nobody needs to mind.
        name: what to call the catalog in messages.
        reopenable: whether `batches` can be called again.
        fingerprint: its files before they were read, None where it has none.
        warnings: what to know about the rows; there once `batches` came to its end.
        chosen: options of reading that weren't said and were found, like `sheet` and `records`.
        parts: its rows in parts, in order; mostly all in one.
        version: the version of a lake table, None for other catalogs.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        batches: Callable[[], Iterable[pa.RecordBatch]],
        *,
        reopenable: bool = True,
        batch_rows: int = BATCH_ROWS,
        fingerprint: Fingerprint | None = None,
        warnings: list[str] | None = None,
        faults: Faults | None = None,
        chosen: Mapping[str, str] | None = None,
        parts: Sequence[Part] | None = None,
        version: TableVersion | None = None,
    ) -> None:
        self.name = name
        self._own, self._places, own = usable_columns(schema, name)
        self.schema = self._own
        self.faults = {**own, **(faults or {})}
        self.reopenable = reopenable
        self.fingerprint = fingerprint
        self.warnings = [] if warnings is None else warnings  # filled by `batches`
        self.chosen = dict(chosen or {})
        self._batches = batches
        self.parts = parts or (Part(name="", read=lambda _: batches()),)
        self.version = version
        self._batch_rows = batch_rows
        self._opened = False

    def __repr__(self) -> str:
        return f"<Catalog {self.name}: {len(self.schema)} columns>"

    def require(self, columns: Iterable[str]) -> None:
        """Make sure that columns can be used, as far as they are there.

        A name like `price.value` is a column from now on, where `price` is one of objects that have
        a member `value`.

        Raises:
            CatalogError: one has another one's name too, or a type that is no plain value.
        """
        for column in columns:
            if column not in self.schema.names and (fault := self._fault_of(column)) is not None:
                raise fault
            member = member_field(self._own, column)
            if member is not None and column not in self.schema.names:
                self.schema = self.schema.append(member)

    def _fault_of(self, column: str) -> CatalogError | None:
        """Return why a column, or the one that it would be a member of, can't be used."""
        parts = column.split(".")
        names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((self.faults[name] for name in names if name in self.faults), None)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows in order, at most `batch_rows` of them in a batch, none in none.

        Raises:
            CatalogError: the source was read before and can't be again, or, while reading, a row
                can't be read, or a file changed; names the row, from 0, and the column.
        """
        # Said here and not in the generator, whose body begins with the first `next`.
        self._open()
        return self._read(self._batches, 0)

    def batches_of(self, part: Part, first_row: int) -> Iterator[pa.RecordBatch]:
        """Return the rows of one part, whose first is row `first_row`; raises as `batches` does.

        Whether the files are as they were is looked at only where one can't be read: whoever reads
        many parts asks the fingerprint once.
        """
        self._open()
        return self._read(lambda: part.read(first_row), first_row, checked=False)

    def _open(self) -> None:
        if self._opened and not self.reopenable:
            raise CatalogError(
                f"{self.name} can be read only once, and was.",
                fix="Pass a file or a table, or make the reader anew.",
            )
        self._opened = True

    def _read(
        self, batches: Callable[[], Iterable[pa.RecordBatch]], row: int, *, checked: bool = True
    ) -> Iterator[pa.RecordBatch]:
        for batch in self._guarded(batches):
            check_text(batch, row, self.name)
            yield batch
            row += batch.num_rows
        if checked:
            self._check_unchanged()

    def _guarded(self, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """Yield plain batches; the engine behind them may raise errors of its own kind."""
        try:
            for batch in batches():
                # Producers choose their own sizes: a Polars frame is one batch, whatever its
                # length.
                for start in range(0, batch.num_rows, self._batch_rows):
                    usable = batch.slice(start, self._batch_rows).select(self._places)
                    yield with_members(plain_batch(usable, self._own), self.schema)
        # Engines raise what they like, DuckDB or Polars their own classes, while rows are read.
        except Exception as error:
            self._check_unchanged()  # which explains any error
            if isinstance(error, CatalogError):
                raise
            raise cannot_read(self.name, error) from error

    def _check_unchanged(self) -> None:
        if self.fingerprint is not None:
            self.fingerprint.check()


def cannot_read(name: str, error: Exception, *, fix: str | None = None) -> CatalogError:
    """Return the error for a source that fails while it is opened or read.

    Args:
        name: the source, as messages show it.
        error: what its library raised; an OSError is told with the store's credentials.
        fix: what to do about it, if that isn't what it mostly is.
    """
    # Cloud clients put whole responses into their messages.
    reason = safe(reason_of(error))  # before it is cut, and a secret in it too
    if len(reason) > _SHOWN:
        reason = reason[:_SHOWN] + "…"
    if fix is None and isinstance(error, OSError):
        where = _CREDENTIALS.get(name.partition("://")[0].removeprefix("delta+"), "")
        fix = f"Check that it is there and whole, and that you may read it{where}."
    fix = fix or "Check that it is whole and of the kind that it is taken for."
    return CatalogError(f"{name} can't be read: {reason}.", fix=fix)
