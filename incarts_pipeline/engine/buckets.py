"""Buckets: link requests and links by their keys, and what an engine's tasks find in one bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping as Dict, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.engine.key_digits import KeyDigits
from incarts_pipeline.engine.ledger_comparison import (
    LINK,
    REQUEST,
    Records,
    checksum,
    compare_with_links,
    joined,
    links_of,
    requests_of,
)
from incarts_pipeline.engine.passed import (
    PASSED,
    What,
    batch_of,
    counts_row,
    passed_row,
    payload_of,
)
from incarts_pipeline.engine.work import Work
from incarts_pipeline.plan import GONE, QUIET, SEEN_ROWS
from incarts_pipeline.prepare.baskets import LINES, BasketBatch, fold
from incarts_pipeline.prepare.prepare import hashed

_LINES = pa.schema(list(LINES)[1:])
_ROWS, _BYTES = 32_768, 32 * 1024 * 1024  # what is worked on at a time; engines have less


def compared(rows: pa.Table, work: Work) -> pa.Table:
    """Find in one bucket which requests are to be planned, and what is to be known of the others.

    Args:
        rows: a table of `PASSED` in any order: what `prepared` yielded for the bucket, and those of
            the ledger's links that are in it.
        work: what all tasks share.

    Returns:
        A table of `PASSED`.
    """
    given: dict[str, list[dict[str, Any]]] = {what: [] for what in What}
    for row in rows.to_pylist():
        given[row["what"]].append(row)
    passed = given[What.COUNTS] + given[What.ERROR] + given[What.QUIET]
    if work.is_lean:
        hashes = joined([row["payload"] for row in given[What.HASHES]], REQUEST)
        is_given, told = _told(hashes, given[What.LINKS], work)
        later = hashes[is_given & (hashes["catalog_row"] >= SEEN_ROWS)]  # others are there already
        passed += [*given[What.REQUESTS], *told]
        passed.append(passed_row(What.GIVEN, later["catalog_row"].tobytes()))
        passed.append(counts_row({"given": len(later), "checksum": checksum(later)}))
        return pa.Table.from_pylist(passed, schema=PASSED)
    requests = _requests(given[What.REQUESTS], work)
    if work.preparation.mapping.first_of_key:
        requests, repeated = _firsts(requests)
        passed.append(counts_row({"repeated": repeated, "chosen": -repeated}))
    if not work.whole:
        keyed = requests["row_key"].is_valid()
        hashes = requests_of(requests.filter(keyed), work.link_sets)
        is_given, told = _told(hashes, given[What.LINKS], work)
        mask = np.ones(requests.num_rows, np.bool_)
        mask[keyed.to_numpy()] = is_given
        requests, passed = requests.filter(pa.array(mask)), passed + told
    passed += [
        passed_row(What.REQUESTS, payload_of(batch))
        for batch in requests.to_batches()
        if len(batch)
    ]
    return pa.Table.from_pylist(passed, schema=PASSED)


def links_by_bucket(
    link_set: str, batches: Iterable[pa.RecordBatch], buckets: int
) -> Iterator[pa.RecordBatch]:
    """Return the ledger's links of a set as `compared` takes them.

    Args:
        link_set: its name.
        batches: with `row_key` and `content_hash`, and with `is_open` where the link is missing or
            disputed, or an operation of its row has no link.
        buckets: by how many they are compared.
    """
    for batch in in_larger(batches):
        keys = batch["row_key"]
        links = links_of(link_set, keys, batch["content_hash"], batch["is_open"])
        beside = pa.record_batch([keys], schema=GONE)
        yield passed_by_bucket(What.LINKS, links["key_low"], buckets, links, beside)


def _told(
    hashes: Records, links: Sequence[Dict[str, Any]], work: Work
) -> tuple[npt.NDArray[np.bool_], list[dict[str, Any]]]:
    """Return which requests are to be planned, and what is to be known of the other ones."""
    known = joined([row["payload"] for row in links], LINK)
    found = compare_with_links(hashes, known, len(work.link_sets))
    low, high = found.open
    told = [passed_row(What.OPEN, low.tobytes(), beside=high.tobytes())]
    told += quiet_rows(work.link_sets, found.counts, KeyDigits())
    end = 0
    for row in links:
        start, end = end, end + len(row["payload"]) // LINK.itemsize
        if (gone := found.is_gone[start:end]).any():
            keys = batch_of(row["beside"]).filter(pa.array(gone))
            told.append(passed_row(What.GONE, payload_of(keys)))
    return found.is_given, told


def quiet_rows(
    link_sets: Sequence[str], counts: Iterable[tuple[int, int]], digits: KeyDigits
) -> list[dict[str, Any]]:
    """Return what tells of quiet rows, of each link set how many, with how many keys."""
    rows = [
        {"link_set": name, "row_count": n, "key_count": keys, **asdict(digits)}
        for name, (n, keys) in zip(link_sets, counts, strict=True)
    ]
    return [passed_row(What.QUIET, payload_of(pa.RecordBatch.from_pylist(rows, QUIET)))]


def _requests(rows: Sequence[Dict[str, Any]], work: Work) -> pa.Table:
    """Return a bucket's link requests in the order of the catalog, baskets folded."""
    schema = work.preparation.output
    batches = [batch_of(row["payload"], schema) for row in rows]
    order = sorted(range(len(rows)), key=lambda at: batches[at]["catalog_row"][0].as_py())
    if not work.has_baskets:
        return pa.Table.from_batches([batches[at] for at in order], schema)
    both = (
        BasketBatch(requests=batches[at], lines=batch_of(rows[at]["beside"], _LINES))
        for at in order
    )
    limits = work.preparation.rules.limits
    return pa.Table.from_batches(map(hashed, fold(both, schema, limits)), schema)


def _firsts(requests: pa.Table) -> tuple[pa.Table, int]:
    """Return the requests of the first row of each key, and how many other rows there were."""
    first = requests.group_by("row_key").aggregate([("catalog_row", "min")])
    keyed = dict(zip(*(first[name].to_pylist() for name in first.column_names), strict=True))
    rows = zip(requests["row_key"].to_pylist(), requests["catalog_row"].to_pylist(), strict=True)
    # The columns of an aggregate come in an order of their own.
    if first.column_names[0] != "row_key":
        keyed = {key: row for row, key in keyed.items()}
    kept = pa.array([key is None or keyed[key] == row for key, row in rows], pa.bool_())
    all_rows = pc.count_distinct(requests["catalog_row"]).as_py()
    found = requests.filter(kept)
    return found, all_rows - pc.count_distinct(found["catalog_row"]).as_py()


def passed_by_bucket(
    what: What, low: npt.NDArray[np.uint64], buckets: int, *parts: Records | pa.RecordBatch
) -> pa.RecordBatch:
    """Return a row of `PASSED` for each bucket of some rows, by the lower halves of their keys."""
    places = (low & np.uint64(buckets - 1)).astype(np.uint16)
    order = np.argsort(places, kind="stable")
    ordered = [part.take(order) for part in parts]
    starts = np.flatnonzero(np.diff(places[order].astype(np.int32), prepend=-1))
    rows = [
        passed_row(what, payload, int(places[order[a]]), *beside)
        for a, b in pairwise([*starts.tolist(), len(order)])
        for payload, *beside in [[_bytes(part, a, b) for part in ordered]]
    ]
    return pa.RecordBatch.from_pylist(rows, schema=PASSED)


def _bytes(part: Records | pa.RecordBatch, start: int, end: int) -> bytes:
    if isinstance(part, pa.RecordBatch):
        return payload_of(part.slice(start, end - start))
    return part[start:end].tobytes()


def in_larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield fewer, larger batches: each costs the same few dozen kernels, however small it is."""
    some: list[pa.RecordBatch] = []
    for batch in batches:
        some.append(batch)
        rows, size = sum(one.num_rows for one in some), sum(one.nbytes for one in some)
        if rows >= _ROWS or size >= _BYTES:
            yield pa.concat_batches(some)
            some = []
    if some:
        yield pa.concat_batches(some)
