"""Result of a run over a frame: its links joined back to the caller's own rows, in their order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.dataframes.link import OneLink, find_row
from incarts_pipeline.dataframes.snapshot import FrameKind, KeptFrame
from incarts_pipeline.display import (
    LINKS as SHOWN_LINKS,
    REASONS,
    forbidden_lines,
    left_lines,
    made_line,
    pending_rows,
    qr_sheet,
    result_card,
    row_reasons,
)
from incarts_pipeline.display.html.result_card import COLUMNS as SHOWN_COLUMNS
from incarts_pipeline.display.reporting import page_path, report_of
from incarts_pipeline.errors import MissingExtraError, PublishError
from incarts_pipeline.file_writer import write_file
from incarts_pipeline.installation import install_line
from incarts_pipeline.ledger import Label, LedgerReader
from incarts_pipeline.models import Reason, Status
from incarts_pipeline.outgoing import shown
from incarts_pipeline.pipeline import RunResult
from incarts_pipeline.plan import NamedPath, check_apart
from incarts_pipeline.publish import published_by, read_published
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.text import Surface, counted, joined, spelled
from incarts_pipeline.write import RunMetrics

_FIRST = ("status", "short_link", "qr_image_url")  # what people look for; the rest is behind
_COLUMNS = (*_FIRST, *(name for name in LINKS.names if name not in _FIRST))
_SUFFIX = "_incarts"  # of a link column whose name the caller's frame has already


class LinksResult:
    """How a run came out, row by row.

    There is one row for each of the caller's rows, or one for each row and entry where the mapping
    has several `links:`; every line of a basket carries the basket's link. The order and the index
    are the caller's. A link column whose name the frame has already gets the suffix `_incarts`.

    Attributes:
        run: the run's figures, its end, and what was published.
        metrics: what the run counted while it went: requests, errors, latencies, the learned limit.
    """

    def __init__(self, kept: KeptFrame, run: RunResult, metrics: RunMetrics) -> None:
        self.run = run
        self.metrics = metrics
        self._kept = kept
        # A frame in memory has its links there too: a later run may replace the file.
        self._table = _read(run) if kept.in_memory else None

    @property
    def tally(self) -> RunMetrics:
        """`metrics` under its former name."""
        return self.metrics

    @property
    def output(self) -> str:
        """Where links.parquet is: a path or a URI."""
        return self.run.published.output.links

    @property
    def counts(self) -> dict[str, int]:
        """Rows per status, those that there are."""
        return {status.value: n for status, n in self.run.published.by_status.items() if n}

    @property
    def table(self) -> pa.Table:
        """What links.parquet holds, key columns first.

        Raises:
            PublishError: another run has replaced the file; only for frames that live on disk.
        """
        return _read(self.run) if self._table is None else self._table

    @property
    def links(self) -> Any:
        """The link columns alone, as the caller's kind of frame with its index.

        They begin with `status`, `short_link` and `qr_image_url`, here and in `to_pandas()` and its
        like.

        To have them beside the caller's rows, take `to_pandas()`, which works with any index. For a
        DuckDB relation, a stream or a file it is an Arrow table.

        Raises:
            CatalogError: the index has a value twice, so that a join on it would pair rows with
                other rows' links.
        """
        table = self.table
        if self._kept.kind is FrameKind.PANDAS:
            _pandas().check_index(self._kept.frame.index)
        links = self._renamed(table.select(_COLUMNS))
        if self._kept.kind is FrameKind.PANDAS:
            index = _rows(self._kept.frame, self._places(table)).index
            return _pandas().frame_of(links, index)
        return _polars(links) if self._kept.kind is FrameKind.POLARS else links

    @property
    def failed(self) -> Any:
        """The rows that are rejected, held, pending or in doubt, as the caller's kind of frame.

        Behind the caller's columns stand `link_set`, `status`, `reason` (a short code), `why` and
        `fix` (sentences).
        """
        table = self.table
        open_rows = pc.is_in(table["status"], pa.array([s.value for s in row_reasons.OPEN]))
        found = table.filter(open_rows)
        rows = found.select(LINKS.names).to_pylist()
        texts = {"why": map(row_reasons.why, rows), "fix": map(row_reasons.fix, rows)}
        told = found.select(["link_set", "status", "reason"])
        for name, text in texts.items():
            told = told.append_column(name, pa.array(text, pa.string()))
        return self._joined(self._kept.kind, self._places(found), told)

    def to_arrow(self) -> pa.Table:
        """Return the caller's columns, then the link columns, as an Arrow table.

        Columns that Arrow can't hold are left out.
        """
        return self._whole(FrameKind.ARROW)

    def to_pandas(self) -> Any:
        """Return the caller's columns, then the link columns, as a pandas DataFrame.

        Columns and index of a pandas frame keep their types; numbers of the link columns are
        nullable.

        Raises:
            MissingExtraError: pandas isn't installed; it comes with the extra `pandas`.
        """
        return self._whole(FrameKind.PANDAS)

    def to_polars(self) -> Any:
        """Return the caller's columns, then the link columns, as a Polars DataFrame."""
        return self._whole(FrameKind.POLARS)

    def link(self, row: int | None = None, **key: Any) -> OneLink:
        """Return one link, which a notebook shows as a card with its QR code.

        Args:
            row: the place of the caller's row, from 0.
            key: values of key columns instead, like `sku="123"`; `link_set` and any other column of
                links.parquet narrow it down.

        Raises:
            CatalogError: no row fits, or several with different links.
        """
        found = find_row(self.table, row, key)
        label = self._labels([found["link_id"]]).get(found["link_id"])
        return OneLink(row=found, label=label, taken=(*self.run.read, *self._tables()))

    def qr_sheet(
        self,
        path: str | Path,
        *,
        error: str = "m",
        size: float | None = None,
        per_page: int | None = None,
        title: str | None = None,
    ) -> Path:
        """Write a page with the QR code of every link, which prints well on A4 and Letter.

        Each link has its code, made here from what Incarts says that it encodes, its name, short
        link, row key and retailer. The page is one file and loads nothing.

        Args:
            path: where the HTML page goes.
            error: error correction, `l`, `m`, `q` or `h`: 7, 15, 25 or 30 % may be lost.
            size: width of a code in millimetres, its white margin included, from 10 to 150; 30, or
                with `per_page` the largest that fits.
            per_page: how many codes go on a printed page; as many as fit without it.
            title: the page's heading; the link sets' names by default.

        Raises:
            ValueError: another level or size, or so many codes don't fit on a page.
            PublishError: the page can't be written.
            RefusedError: there is a file that the run read or wrote, or that is no page.
        """
        table = self.table
        heading = title or ", ".join(pc.unique(table["link_set"]).to_pylist()) or "QR codes"
        labels = self._labels(table["link_id"].drop_null().to_pylist())
        page = qr_sheet(table, labels, error=error, size=size, per_page=per_page, title=heading)
        return self._written("sheet", path, page)

    def report(self, path: str | Path) -> Path:
        """Write one picture of the run: what was done and why, how fast, what failed.

        Raises:
            PublishError: the page can't be written.
            RefusedError: there is a file that the run read or wrote, or that is no page.
        """
        return self._written("report", path, report_of(self.run, self.metrics, self._shown()))

    def _written(self, what: str, path: str | Path, page: str) -> Path:
        check_apart([*self._tables(), page_path(what, path)], self.run.read)
        return write_file(Path(path), page)

    def _tables(self) -> Sequence[NamedPath]:
        return self.run.published.output.paths_of(self.run.kind)

    def __repr__(self) -> str:
        return "\n".join(map(shown, _lines(self)))

    def _repr_html_(self) -> str:
        try:
            table = self._shown()
        except PublishError:  # replaced by another run: what was counted still holds
            table = LINKS.empty_table()
        listed = table["link_id"].drop_null().slice(0, SHOWN_LINKS).to_pylist()
        return result_card(table, self.run, self._labels(listed), links=SHOWN_LINKS)

    def _shown(self) -> pa.Table:
        """Return only what cards show: a catalog on disk may have millions of rows."""
        return _read(self.run, SHOWN_COLUMNS) if self._table is None else self._table

    def _labels(self, link_ids: Sequence[str | None]) -> dict[str, Label]:
        """Return what links were called when they were sent."""
        wanted = [link_id for link_id in link_ids if link_id is not None]
        ledger = self.run.ledger
        return LedgerReader(ledger).labels(wanted) if ledger is not None and wanted else {}

    def _whole(self, kind: FrameKind) -> Any:
        table = self.table
        return self._joined(kind, self._places(table), table.select(_COLUMNS))

    def _places(self, table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return which of the caller's rows each row of links.parquet is of."""
        places: np.ndarray[Any, np.dtype[np.int64]] = table["catalog_row"].to_numpy()
        return places

    def _renamed(self, table: pa.Table) -> pa.Table:
        return table.rename_columns(free_names(table.column_names, self._kept.names))

    def _joined(
        self, kind: FrameKind, places: np.ndarray[Any, np.dtype[np.int64]], more: pa.Table
    ) -> Any:
        """Return the caller's rows at some places, with more columns behind."""
        kept, more = self._kept, self._renamed(more)
        if kind is FrameKind.PANDAS:
            frames, is_ours = _pandas(), kept.kind is FrameKind.PANDAS
            ours = _rows(kept.frame if is_ours else frames.frame_of(kept.arrow()), places)
            return frames.beside(ours, frames.frame_of(more, ours.index))
        if kind is FrameKind.POLARS:
            ours = kept.frame if kept.kind is FrameKind.POLARS else _polars(kept.arrow())
            return ours[places].hstack(_polars(more))
        table = _taken(kept.arrow(), places)
        for name, column in zip(more.column_names, more.columns, strict=True):
            table = table.append_column(name, column)
        return table


def free_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Return names of which none is taken: a suffix goes behind one that is, until it is free."""
    used, free = set(taken), []
    for name in names:
        while name in used:
            name += _SUFFIX
        used.add(name)
        free.append(name)
    return free


def _read(run: RunResult, columns: Sequence[str] | None = None) -> pa.Table:
    links = run.published.output.links
    table, made_by = read_published(links, columns), published_by(links)
    wanted = run.published.made_by or run.written.run_id
    if made_by != wanted:
        raise PublishError(
            f"{links} is by now of another run, {made_by or 'unknown'}, not of {wanted}.",
            fix="Use that run's result, or write each run to an output of its own.",
        )
    return table


def _rows(frame: Any, places: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    return frame if _is_all(places, len(frame)) else frame.iloc[places]


def _taken(table: pa.Table, places: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Table:
    if _is_all(places, table.num_rows):
        return table
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    schema = pa.schema([f.with_type(views.get(f.type, f.type)) for f in table.schema])
    return table.cast(schema).take(places)


def _is_all(places: np.ndarray[Any, np.dtype[np.int64]], rows: int) -> bool:
    return len(places) == rows and bool((places == np.arange(rows)).all())


def _pandas() -> ModuleType:
    """Return what makes pandas frames, which only those who use them need to have.

    Raises:
        MissingExtraError: pandas isn't installed.
    """
    try:
        from incarts_pipeline.dataframes import pandas_frames
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "A pandas DataFrame needs pandas.", fix=install_line("pandas")
        ) from error
    return pandas_frames


def _polars(table: pa.Table) -> Any:
    import polars as pl

    return pl.from_arrow(table)


def _lines(result: LinksResult) -> list[str]:
    """Return a result as lines of text."""
    run, counts = result.run, result.counts
    written, rows = run.written, sum(counts.values())
    lines = [f"LinksResult of run {written.run_id}: {counted(rows, 'row')}, {made_line(run)}"]
    lines += [f"  {n:>9,}  {_status_line(result, status)}" for status, n in counts.items()]
    lines.append(f"links: {result.output}")
    lines += [f"warning: {warning}" for warning in run.figures.warnings]
    if written.end:
        told = joined(" ", ["Ended early:", written.end.message, written.end.fix])
        lines.append(spelled(told, Surface.PYTHON))
    lines += forbidden_lines(run)
    if written.unrecorded:
        lines += [
            "Answered, but not recorded in the ledger:",
            *map("  {}".format, written.unrecorded),
        ]
    lines += [f"{line}." for line in left_lines(run)]
    return lines + how_to_go_on(run)


def _status_line(result: LinksResult, status: str) -> str:
    reasons = [r for (s, r) in result.run.published.counts if s == status]
    told = "; ".join(REASONS[reason].meaning for reason in reasons)
    is_open = Status(status) in row_reasons.OPEN
    return f"{status:<10} {told}" if is_open else status


def how_to_go_on(run: RunResult) -> list[str]:
    """Return what to do next, as lines of text; none when everything has its link."""
    by_status, written, pending = run.published.by_status, run.written, pending_rows(run)
    lines = []
    if pending.others:
        early = "Stopped early: " if written.stopped is Reason.STOPPED else ""
        begin = "Once that is put right, run" if written.is_blocked else "Run"
        lines.append(
            f"{early}{_are(pending.others)} pending. {begin} the same cell or script again to go "
            "on: what is done is kept, and nothing is sent twice."
        )
    if pending.not_enqueued:
        lines.append(f"{_are(pending.not_enqueued)} not enqueued: plan.enqueue() does that.")
    if pending.enqueued:
        lines.append(
            f"{_are(pending.enqueued)} enqueued: run `incarts work`, then plan.publish() again."
        )
    if doubts := by_status[Status.IN_DOUBT]:
        lines.append(f"{_are(doubts)} in doubt: run again soon to settle them.")
    if any(by_status[status] for status in row_reasons.OPEN):
        lines.append("result.failed says for each such row why, and what to do.")
    return lines


def _are(rows: int) -> str:
    return counted(rows, "row is", "rows are")
