"""Baskets: rows that share a key are one link, wherever in the catalog they stand.

Lines are folded out of core: the requests wait in a temporary Arrow file, what is folded in a
temporary DuckDB database, and both come back in the catalog's order, batch by batch.

Equal products (same id, same backups) add up their quantities, and products are ordered by id, so
that the order of rows never changes the content. Whatever contradicts itself rejects the basket:
all its rows then carry the same problems, which name the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.differences import changed_fields
from incarts_pipeline.models import Limits, ProblemCode, Severity
from incarts_pipeline.prepare import queries
from incarts_pipeline.prepare.json_columns import Fragment, escaped, joined, list_fragment
from incarts_pipeline.prepare.link_fields import Links
from incarts_pipeline.schemas import PROBLEMS

_MEMORY = "256MB"  # DuckDB spills beyond it, so baskets need no more memory than other rows
_READ_ROWS = 8_192  # a basket's problems are repeated on each of its rows, so batches are small
_PROBLEM_COLUMNS = ["link_set", "row_key", "severity", "field", "code", "message"]
_SHOWN_ROWS = 5  # of those that contradict each other

# One row per line. `head` and `tail` are the body around `products`; `product` is its id in JSON,
# `backups` its member for backups or nothing. `sound` lines have no error. Lines that aren't
# `folded` keep what they have.
LINES = pa.schema(
    [
        pa.field("line", pa.int64()),
        pa.field("catalog_row", pa.int64()),
        pa.field("link_set", pa.string()),
        pa.field("row_key", pa.string()),
        pa.field("folded", pa.bool_()),
        pa.field("head", pa.string()),
        pa.field("tail", pa.string()),
        pa.field("product_id", pa.string()),
        pa.field("product", pa.string()),
        pa.field("backups", pa.string()),
        pa.field("quantity", pa.int64()),
        pa.field("problems", PROBLEMS),
        pa.field("sound", pa.bool_()),
        pa.field("priority", pa.float64()),
        pa.field("pinned", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketBatch:
    """Link requests of one batch, and their lines (`LINES` without its first column)."""

    requests: pa.RecordBatch
    lines: pa.RecordBatch


def fold(
    batches: Iterable[BasketBatch], output: pa.Schema, limits: Limits
) -> Iterator[pa.RecordBatch]:
    """Yield the requests in their order, those of baskets with the whole basket's body.

    `content_hash` is left null: whoever made the batches hashes. Temporary files are removed when
    the iterator ends or is closed.

    Args:
        batches: requests and lines, in the order of the catalog.
        output: the schema of the requests.
        limits: the most products and the largest quantity and body of a basket.
    """
    with tempfile.TemporaryDirectory(prefix="incarts-") as folder:
        # What isn't folded (keys, notes, retailer) waits in a file rather than in the database: it
        # comes back in the same order anyway, and reading it back costs no sort.
        waiting = Path(folder) / "requests.arrow"
        database = duckdb.connect(
            str(Path(folder) / "lines.duckdb"),
            config={"memory_limit": _MEMORY, "temp_directory": folder},
        )
        try:
            _store(batches, output, waiting, database)
            _fold(database, limits)
            yield from _merged(waiting, database)
        finally:
            database.close()


def lines_of(requests: pa.RecordBatch, links: Links, *, basket: bool) -> pa.RecordBatch:
    """Return what of a batch is folded; nothing of an entry that makes no baskets.

    Args:
        requests: link requests of one entry, a row per catalog row.
        links: their evaluated fields.
        basket: whether the entry makes baskets.
    """
    rows = requests.num_rows
    texts = pa.nulls(rows, pa.string())
    columns = dict.fromkeys(("head", "tail", "product_id", "product", "backups"), texts)
    columns["quantity"] = pa.nulls(rows, pa.int64())
    columns["folded"] = pa.repeat(False, rows)
    columns["sound"] = pa.array(~links.findings.mask())
    if basket and links.products is not None:
        products = links.products
        columns |= {
            # A row without a key belongs to no basket: it keeps its own problems.
            "folded": pc.and_(requests["wanted"], requests["row_key"].is_valid()),
            "product_id": products.ids,
            "product": joined(['"', escaped(products.ids), '"'], rows, optional=True),
            "backups": _backups(links, rows),
            "quantity": products.quantities,
        }
        columns["head"], columns["tail"] = _around(links, rows)
    for name in ("catalog_row", "link_set", "row_key", "problems", "priority", "pinned"):
        columns[name] = requests[name]
    return pa.RecordBatch.from_arrays(
        [columns[name] for name in LINES.names[1:]], schema=pa.schema(list(LINES)[1:])
    )


def _backups(links: Links, rows: int) -> pa.StringArray:
    backups = links.products.backups if links.products else None
    found = None if backups is None else list_fragment(backups)
    if found is None:
        return pa.repeat("", rows)
    member = joined(['"backupProductIds":', *found.parts, ","], rows, optional=found.optional)
    return pc.fill_null(member, "")


def _around(links: Links, rows: int) -> tuple[pa.StringArray, pa.StringArray]:
    """Return `{…,` and `…}`: the body's members before and behind `products`.

    `intent` is before it and `projectId` behind it in every row, so neither is ever empty.
    """
    names = list(links.fields)
    # Members are in canonical order, so a basket's body is everything before `products`, the
    # products, and everything behind. Rows of one basket must agree in the first and the last.
    at = names.index("products")
    head, tail = links.body(names[:at], rows), links.body(names[at + 1 :], rows)
    if head is None or tail is None:
        raise AssertionError("a body has an intent and a project id")
    return (
        # The closing brace makes way for the comma before `products`, the opening one behind it.
        joined([*_inside(head)[:-1], ","], rows),
        joined(_inside(tail)[1:], rows),
    )


def _inside(fragment: Fragment) -> list[Any]:
    # The braces are parts of their own: objects are made of "{", members, "}".
    parts = list(fragment.parts)
    if (parts[0], parts[-1]) != ("{", "}"):
        raise AssertionError("an object begins and ends with a brace")
    return parts


def _store(
    batches: Iterable[BasketBatch],
    output: pa.Schema,
    waiting: Path,
    database: duckdb.DuckDBPyConnection,
) -> None:
    database.register("incoming", LINES.empty_table())
    database.execute("CREATE TABLE line AS SELECT * FROM incoming")
    # Link requests are much the same text over and over.
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    done = 0
    with (
        pa.OSFile(str(waiting), "wb") as sink,
        pa.ipc.new_stream(sink, output, options=options) as writer,
    ):
        for batch in batches:
            rows = batch.requests.num_rows
            writer.write_batch(batch.requests)
            # Rows of several entries share a catalog row, so lines are numbered for the way back.
            numbers = pa.array(range(done, done + rows), pa.int64())
            database.register(
                "incoming",
                pa.Table.from_arrays([numbers, *batch.lines.columns], schema=LINES),
            )
            database.execute("INSERT INTO line SELECT * FROM incoming")
            done += rows
    database.unregister("incoming")


def _fold(database: duckdb.DuckDBPyConnection, limits: Limits) -> None:
    # The order decides in which order a row's problems are listed: lines' own first, then what
    # contradicts itself, then what the whole basket exceeds.
    database.execute(queries.PRODUCTS)
    database.execute(queries.LINE_PROBLEMS)
    database.execute(queries.CONTRADICTIONS)
    _explain(database)
    database.execute(queries.BASKETS)
    for check in (queries.BACKUPS_DIFFER, queries.QUANTITIES, queries.SIZES):
        # DuckDB refuses a parameter that a query doesn't name.
        names = {name: value for name, value in _bounds(limits).items() if f"${name}" in check}
        database.execute(check, names)
    database.execute(queries.PROBLEMS)


def _bounds(limits: Limits) -> dict[str, int]:
    return {
        "max_quantity": limits.max_quantity,
        "max_products": limits.max_products,
        "max_body_bytes": limits.max_body_bytes,
    }


def _explain(database: duckdb.DuckDBPyConnection) -> None:
    """Record in which fields the rows of a basket contradict each other."""
    # A cursor of its own: inserting on the same connection would end the reading.
    reader = database.cursor().sql(queries.VARIANTS).to_arrow_reader(_READ_ROWS)
    # Sorted by basket, so that `groupby` needs one basket in memory at a time.
    variants = (row for batch in reader for row in batch.to_pylist())
    baskets = groupby(variants, key=lambda row: (row["link_set"], row["row_key"]))
    found = (
        (*basket, Severity.ERROR.value, field, ProblemCode.BASKET_DIFFERS.value, message)
        for basket, rows in baskets
        for field, message in [_contradiction(list(rows))]
    )
    # In Arrow batches: `executemany` inserts row by row, which is slow in DuckDB.
    while some := list(islice(found, _READ_ROWS)):
        columns = [pa.array(column, pa.string()) for column in zip(*some, strict=True)]
        database.register("incoming", pa.Table.from_arrays(columns, names=_PROBLEM_COLUMNS))
        database.execute("INSERT INTO basket_problem SELECT * FROM incoming")
        database.unregister("incoming")


def _contradiction(variants: list[dict[str, Any]]) -> tuple[str, str]:
    # `head` ends with a comma and `tail` begins a member, so together they are a body without its
    # products.
    bodies = [(row["head"] + row["tail"]).encode() for row in variants]
    fields = sorted({path for body in bodies[1:] for path in changed_fields(bodies[0], body)})
    rows = [str(row["catalog_row"]) for row in variants[:_SHOWN_ROWS]]
    more = ", …" if len(variants) > _SHOWN_ROWS else ""
    message = (
        f"Rows of one basket must agree, but rows {', '.join(rows)}{more} (counted from 0) "
        f"differ in {', '.join(fields)}; make them equal, or give them different keys."
    )
    return fields[0], message


def _merged(waiting: Path, database: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    # Sorted by line, which is the order of the waiting requests: the two are read side by side, and
    # no join is needed.
    folded = _Rows(database.cursor().sql(queries.RESULT).to_arrow_reader(_READ_ROWS))
    with pa.OSFile(str(waiting), "rb") as source, pa.ipc.open_stream(source) as requests:
        for batch in requests:
            for start in range(0, batch.num_rows, _READ_ROWS):
                part = batch.slice(start, _READ_ROWS)
                yield _with_folded(part, folded.take(part.num_rows))


def _with_folded(requests: pa.RecordBatch, folded: pa.Table) -> pa.RecordBatch:
    is_folded = folded["folded"].combine_chunks()
    changed = {}
    for name in ("body", "problems", "priority", "pinned"):
        # DuckDB's structs and lists come back nullable; the schema of requests isn't.
        column = folded[name].combine_chunks().cast(requests.schema.field(name).type)
        changed[name] = _chosen(is_folded, column, requests[name])
    arrays = [changed.get(name, requests[name]) for name in requests.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=requests.schema)


def _chosen(mask: pa.BooleanArray, yes: pa.Array, no: pa.Array) -> pa.Array:
    # Mostly a batch is all baskets or has none, and `if_else` would copy every problem.
    if mask.true_count == len(mask):
        return yes
    if not mask.true_count:
        return no
    return pc.if_else(mask, yes, no)


class _Rows:
    """Takes rows from a reader in counts that its batches don't have."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self._rest: pa.Table = reader.schema.empty_table()

    def take(self, rows: int) -> pa.Table:
        while self._rest.num_rows < rows:
            batch = pa.Table.from_batches([self._reader.read_next_batch()])
            self._rest = pa.concat_tables([self._rest, batch])
        taken, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        return taken
