"""Workers: what the tasks of an engine (Spark, Ray) do with parts of a catalog. Pure, no API.

    rows ─► `prepared`, a partition at a time ─► by bucket ─► `compared` with the ledger ─► driver
    rows that are to be planned ─► `prepared` ─► driver

A task may be carried out several times; which attempt's rows are taken makes no difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.catalog import Catalog, Part
from incarts_pipeline.engine.blocks import NUMBERS, ROW_BITS
from incarts_pipeline.engine.buckets import in_larger, passed_by_bucket, quiet_rows
from incarts_pipeline.engine.comparison import halves_of
from incarts_pipeline.engine.hashes import seen_keys
from incarts_pipeline.engine.key_digits import KeyDigits
from incarts_pipeline.engine.ledger_comparison import requests_of
from incarts_pipeline.engine.passed import PASSED, What, counts_row, passed_row, payload_of
from incarts_pipeline.engine.row_numbers import Numbers, among
from incarts_pipeline.engine.work import Work, other_rows
from incarts_pipeline.errors import CatalogError
from incarts_pipeline.plan import SEEN_ROWS
from incarts_pipeline.prepare import Chosen, Placed, numbered
from incarts_pipeline.prepare.prepare import parts_of, prepare_batch, prepare_lines


def prepared(batches: Iterable[pa.RecordBatch], work: Work) -> Iterator[pa.RecordBatch]:
    """Turn one partition's rows into link requests.

    Args:
        batches: rows of the catalog, all of one partition, in order: the columns `work.read`,
            whatever they are called here, and `NUMBERS` with the engine's row numbers (int64): the
            partition's, then from 0.
        work: what all tasks share.

    Yields:
        Batches of `PASSED`, a row for each bucket of the requests' keys where there are any.
    """
    try:
        yield from _prepared(iter(batches), work)
    except CatalogError as error:
        yield _failure(error)


def prepared_block(block: pa.Table, work: Work) -> Iterator[pa.Table]:
    """Do the same with a partition that is one table."""
    for batch in prepared(block.to_batches(), work):
        yield pa.Table.from_batches([batch])


def _prepared(batches: Iterator[pa.RecordBatch], work: Work) -> Iterator[pa.RecordBatch]:
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        return
    number = first[NUMBERS][0].as_py()
    partition, before = number >> ROW_BITS, number & ((1 << ROW_BITS) - 1)
    first_row = work.firsts.get(partition, 0) + before
    seen = _Numbered(number, work.read)
    schema = first.drop_columns([NUMBERS]).rename_columns(list(work.read)).schema
    catalog = Catalog(work.name, schema, lambda: ())
    catalog.require(work.columns)
    rows = Part(name=work.name, read=lambda _: in_larger(seen.of(chain([first], batches))))
    part = catalog.batches_of(rows, first_row)
    if work.given is not None:
        if wanted := work.given.get(partition):
            yield from _passed(_given(part, first_row, wanted.unpacked()), work, [])
        return
    chosen = Chosen(work.partition, catalog.schema, work.preparation.mapping)
    digits: list[KeyDigits] = []
    yield from _passed(chosen.of(part, first_row=first_row), work, digits)
    if digits:
        none = [(0, 0)] * len(work.link_sets)
        told = quiet_rows(work.link_sets, none, KeyDigits.of_all(digits))
        yield pa.RecordBatch.from_pylist(told, PASSED)
    # A task may have a part of what the engine numbered as one partition.
    if before + seen.rows > work.counts.get(partition, 0):
        raise other_rows(work.name, (work.counts.get(partition, 0), before + seen.rows))
    counts = {
        "rows": seen.rows,
        "chosen": chosen.rows,
        "left_out": chosen.selection.left_out,
        "repeated": chosen.selection.repeated,
        "others": chosen.others,
    }
    yield pa.RecordBatch.from_pylist([counts_row(counts)], PASSED)


def _given(batches: Iterable[pa.RecordBatch], first_row: int, wanted: Numbers) -> Iterator[Placed]:
    """Yield those of a partition's rows that are wanted."""
    for placed in numbered(batches, first_row):
        yield placed.kept(among(placed.rows.to_numpy(), wanted))


def _passed(
    placed: Iterable[Placed], work: Work, digits: list[KeyDigits]
) -> Iterator[pa.RecordBatch]:
    """Prepare rows, and yield what is passed on of them; note what their keys come to."""
    for part in parts_of(placed):
        lines: list[pa.RecordBatch] = []
        if work.has_baskets:
            both = prepare_lines(part, work.preparation)
            requests, lines = both.requests, [both.lines]
        else:
            requests = prepare_batch(*part, work.preparation)
        keys = requests["row_key"]
        if not work.whole:
            digits.append(KeyDigits.of(keys))
        if work.is_lean:
            yield from _hashes(requests, work)
        elif work.buckets:
            low, _ = halves_of(seen_keys(keys))
            yield passed_by_bucket(What.REQUESTS, low, work.buckets, requests, *lines)
        else:
            yield from _at_once(requests)


def _hashes(requests: pa.RecordBatch, work: Work) -> Iterator[pa.RecordBatch]:
    """Yield the hashes of requests, and those that are planned in any case."""
    keyed = requests["row_key"].is_valid()
    early = pc.less(requests["catalog_row"], SEEN_ROWS)
    yield from _at_once(requests.filter(pc.or_(early, pc.invert(keyed))))
    hashes = requests_of(requests.filter(keyed), work.link_sets)
    yield passed_by_bucket(What.HASHES, hashes["key_low"], work.buckets, hashes)


def _at_once(requests: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if requests.num_rows:
        row = passed_row(What.REQUESTS, payload_of(requests))
        yield pa.RecordBatch.from_pylist([row], PASSED)


class _Numbered:
    """Takes the numbers from an engine's rows, and makes sure that they are in order."""

    def __init__(self, first: int, names: Sequence[str]) -> None:
        self._first = first
        self._names = list(names)
        self.rows = 0

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            numbers = np.asarray(batch[NUMBERS])
            expected = self._first + self.rows
            if not np.array_equal(numbers, np.arange(expected, expected + len(numbers))):
                raise AssertionError("an engine gives the rows of a partition in their order")
            self.rows += len(numbers)
            yield batch.drop_columns([NUMBERS]).rename_columns(self._names)


def _failure(error: CatalogError) -> pa.RecordBatch:
    told = {"message": str(error.message), "row": error.row, "column": error.column}
    fix = None if error.fix is None else str(error.fix)
    payload = json.dumps({**told, "fix": fix}).encode()
    return pa.RecordBatch.from_pylist([passed_row(What.ERROR, payload)], PASSED)
