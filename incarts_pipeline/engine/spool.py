"""Spool: what an engine's tasks found, on the driver until it is all there.

Requests may be more than memory holds, so they wait in a file; all else is small.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from incarts_pipeline.engine.comparison import Hashes, halves_of, in_order
from incarts_pipeline.engine.grouped import is_among
from incarts_pipeline.engine.hashes import seen_keys
from incarts_pipeline.engine.ledger_comparison import checksum, requests_of
from incarts_pipeline.engine.passed import PASSED, What, batch_of, passed_row
from incarts_pipeline.engine.row_numbers import Numbers, RowNumbers
from incarts_pipeline.engine.work import Work, other_rows
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.plan import GONE, QUIET, Quiet
from incarts_pipeline.text import counted


class Spool:
    """What was found of one catalog; close it, or use `with`.

    Attributes:
        counts: of rows that were read, chosen and left out.
        others: how many rows are in other partitions, by their value.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self._given: list[Numbers] = []
        self._quiet: list[pa.RecordBatch] = []
        self._gone: list[pa.RecordBatch] = []
        self._open: list[Hashes] = []
        self._open_keys: list[pa.RecordBatch] = []
        self._file = tempfile.TemporaryFile(prefix="incarts-")  # noqa: SIM115 - `close` does it
        self._writer = pa.ipc.new_stream(self._file, PASSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows of `PASSED`; raise the first error among them."""
        errors: list[dict[str, Any]] = []
        for row in rows:
            what, payload = What(row["what"]), bytes(row["payload"])
            if what is What.REQUESTS:
                one = pa.RecordBatch.from_pylist([passed_row(what, payload)], PASSED)
                self._writer.write_batch(one)
            elif what is What.COUNTS:
                said = json.loads(payload)
                self.others.update(said.pop("others", {}))
                self.counts.update(said)
            elif what is What.ERROR:
                errors.append(json.loads(payload))
            elif what is What.GIVEN:
                self._given.append(np.frombuffer(payload, np.int64))
            elif what is What.OPEN:
                halves = [np.frombuffer(one, np.uint64) for one in (payload, row["beside"])]
                self._open.append((halves[0], halves[1]))
            else:
                (self._quiet if what is What.QUIET else self._gone).append(batch_of(payload))
        if errors:
            first = min(errors, key=lambda one: (one["row"] is None, one["row"] or 0))
            raise CatalogError(first.pop("message"), **first)

    def given(self, firsts: Mapping[int, int]) -> dict[int, RowNumbers]:
        """Return the rows whose requests are to be planned and aren't here, by their partition."""
        numbers = np.concatenate([np.empty(0, np.int64), *self._given])
        return RowNumbers.by_partition(numbers, firsts)

    def add_given(self, rows: Iterable[Mapping[str, Any]], work: Work) -> None:
        """Keep the requests of just these rows.

        Raises:
            CatalogError: the catalog has others now.
        """
        came: Counter[str] = Counter()

        def counted_rows() -> Iterator[Mapping[str, Any]]:
            for row in rows:
                if row["what"] == What.REQUESTS:
                    requests = requests_of(batch_of(bytes(row["payload"])), work.link_sets)
                    came.update(given=len(requests), checksum=checksum(requests))
                yield row

        self.add(counted_rows())
        is_other = (came["checksum"] - self.counts["checksum"]) % (1 << 64) != 0
        if is_other or came["given"] != self.counts["given"]:
            raise other_rows(work.name)

    def requests(self) -> Iterator[pa.RecordBatch]:
        """Yield the link requests, once all were added."""
        self._writer.close()
        self._file.seek(0)
        open_keys = in_order(self._open)
        with pa.ipc.open_stream(self._file) as rows:
            for row in rows:
                requests = batch_of(row["payload"][0].as_py())
                if self._open:
                    keys = requests["row_key"].drop_null()
                    mask = is_among(*halves_of(seen_keys(keys)), open_keys)
                    self._open_keys.append(
                        pa.record_batch([keys.filter(pa.array(mask))], schema=GONE)
                    )
                yield requests

    def quiet(self) -> Quiet:
        """Return what is to be known of all other rows."""
        return Quiet(
            counts=pa.Table.from_batches(self._quiet, QUIET),
            gone=self._gone,
            open_keys=self._open_keys,
        )

    def told(self) -> list[str]:
        """Say which rows the mapping left out, as `prepare.Selection` does."""
        lines = []
        if left_out := self.counts["left_out"]:
            lines.append(f"where: leaves out {counted(left_out, 'row')}.")
        if repeated := self.counts["repeated"]:
            lines.append(
                f"first_of_key: leaves out {counted(repeated, 'row')} behind the first of their "
                "key."
            )
        return lines
