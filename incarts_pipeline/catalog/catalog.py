"""Catalog as the rest of the pipeline sees it: one schema, and batches in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import pyarrow as pa

from incarts_pipeline.catalog.arrow_types import (
    Faults,
    check_text,
    member_field,
    plain_batch,
    usable_columns,
    with_members,
)
from incarts_pipeline.catalog.fingerprint import Fingerprint
from incarts_pipeline.catalog.options import BATCH_ROWS
from incarts_pipeline.errors import CatalogError, reason_of
from incarts_pipeline.outgoing import safe

_SHOWN = 240  # characters of another library's message
_CREDENTIALS = {
    "s3": ", with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
    "gs": ", with GOOGLE_APPLICATION_CREDENTIALS or a service account",
    "abfs": ", with AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or az login",
}


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
        if self._opened and not self.reopenable:
            raise CatalogError(
                f"{self.name} can be read only once, and was.",
                fix="Pass a file or a table, or make the reader anew.",
            )
        # Said here and not in the generator, whose body begins with the first `next`.
        self._opened = True
        return self._read()

    def _read(self) -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in self._guarded():
            check_text(batch, row, self.name)
            yield batch
            row += batch.num_rows

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        """Yield plain batches; the engine behind them may raise errors of its own kind."""
        try:
            for batch in self._batches():
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
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if self.fingerprint is not None:
            self.fingerprint.check()


def cannot_read(name: str, error: Exception) -> CatalogError:
    """Return the error for a source that fails while it is opened or read.

    Args:
        name: the source, as messages show it.
        error: what its library raised; an OSError is told with the store's credentials.
    """
    # Cloud clients put whole responses into their messages.
    reason = safe(reason_of(error))  # before it is cut, and a secret in it too
    if len(reason) > _SHOWN:
        reason = reason[:_SHOWN] + "…"
    fix = "Check that it is whole and of the kind that it is taken for."
    if isinstance(error, OSError):
        where = _CREDENTIALS.get(name.partition("://")[0], "")
        fix = f"Check that it is there and whole, and that you may read it{where}."
    return CatalogError(f"{name} can't be read: {reason}.", fix=fix)
