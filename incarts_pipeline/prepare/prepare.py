"""Preparation of link requests: batches mapped, checked, written canonically and hashed.

Everything works on whole columns; the only loop over rows is the hash. A batch depends on nothing
but itself, except in baskets, whose rows may be anywhere; so batches are prepared on all cores at
once. Threads do for that: Arrow works outside of Python's lock, and hashing, which doesn't, is less
than half of the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.mapping import LinkMapping, Mapping, TooLong
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.baskets import BasketBatch, fold, lines_of
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.cores import on_all_cores
from incarts_pipeline.prepare.dead_destinations import DeadDestinations
from incarts_pipeline.prepare.header import refuse_headers
from incarts_pipeline.prepare.json_columns import joined, offsets_of
from incarts_pipeline.prepare.link_fields import Links, Rules, evaluate_link, wanted
from incarts_pipeline.prepare.literals import check_constants
from incarts_pipeline.prepare.placed import Placed
from incarts_pipeline.prepare.problems import Findings, check_secrets
from incarts_pipeline.prepare.row_keys import check_keys, row_keys
from incarts_pipeline.prepare.row_options import evaluate_order
from incarts_pipeline.prepare.rules import PROJECT_ID_CHARACTERS, check_body_size
from incarts_pipeline.schemas import link_request_schema

_BATCH_ROWS = 32_768  # what a core works on at a time
_BATCH_BYTES = 32 * 1024 * 1024  # wide rows come in smaller parts: bodies grow with them


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What turns one batch into link requests; shared by all batches, never changed."""

    mapping: Mapping
    schema: pa.Schema
    output: pa.Schema
    project_id: str
    rules: Rules


def prepare(
    batches: Iterable[pa.RecordBatch | Placed],
    mapping: Mapping,
    *,
    schema: pa.Schema,
    project_id: str,
    limits: Limits,
    dead: DeadDestinations | None = None,
) -> Iterator[pa.RecordBatch]:
    """Turn catalog batches into batches of link requests, in the catalog's order.

    Args:
        batches: Record batches of `schema`, of a whole catalog or with the numbers of their rows.
        mapping: Which columns make up the links.
        schema: The catalog's columns.
        project_id: The Incarts project that will own the links, 1 to 128 characters.
        limits: Bounds that the API doesn't publish.
        dead: URLs whose rows are suspicious.

    Yields:
        Batches of `schemas.link_request_schema(mapping.key_fields(schema))`, a row per catalog row
        and entry of the mapping. A row with an error among its `problems` has no body.

    Raises:
        MappingError: the mapping doesn't fit the schema.
        SettingsError: the project id has the wrong length.
        CatalogError: a column holds bytes that are not UTF-8.
    """
    preparation = preparation_of(
        mapping, schema=schema, project_id=project_id, limits=limits, dead=dead
    )
    return _prepared(batches, preparation)


def preparation_of(
    mapping: Mapping,
    *,
    schema: pa.Schema,
    project_id: str,
    limits: Limits,
    dead: DeadDestinations | None = None,
) -> Preparation:
    """Check everything that doesn't depend on the rows.

    Args:
        mapping: which columns make up the links.
        schema: the catalog's columns.
        project_id: 1 to 128 characters.
        limits: bounds that the API doesn't publish.
        dead: URLs whose rows are suspicious.

    Raises:
        MappingError: the mapping doesn't fit the schema.
        SettingsError: the project id has the wrong length.
    """
    if not 1 <= len(project_id.strip()) <= PROJECT_ID_CHARACTERS:
        raise SettingsError(
            f"The project id must have 1 to {PROJECT_ID_CHARACTERS} characters.",
            fix="Set INCARTS_PROJECT_ID.",
        )
    mapping.check(schema)
    check_constants(mapping, limits)
    return Preparation(
        mapping=mapping,
        schema=schema,
        output=link_request_schema(mapping.key_fields(schema)),
        project_id=project_id,
        rules=Rules(
            limits=limits,
            truncate=mapping.on_too_long is TooLong.TRUNCATE,
            allow_unknown=mapping.allow_unknown,
            dead=dead,
        ),
    )


def _prepared(
    batches: Iterable[pa.RecordBatch | Placed], preparation: Preparation
) -> Iterator[pa.RecordBatch]:
    parts = parts_of(batches)
    # Baskets are hashed after they are folded: their rows have no body before.
    if not any(link.basket for _, _, link in preparation.mapping.entries()):
        yield from on_all_cores(lambda part: prepare_batch(*part, preparation), parts)
        return
    lines = on_all_cores(lambda part: prepare_lines(part, preparation), parts)
    for batch in fold(lines, preparation.output, preparation.rules.limits):
        yield hashed(batch)


def parts_of(batches: Iterable[pa.RecordBatch | Placed]) -> Iterator[Placed]:
    """Cut batches into parts that fit the caches and Arrow's 2 GiB."""
    first = 0
    for given in batches:
        batch, places = given if isinstance(given, Placed) else Placed.at(given, first)
        # By the mean: one huge row among small ones is still far from 2 GiB.
        bytes_each = max(1, batch.nbytes // max(1, batch.num_rows))
        rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES // bytes_each))
        for start in range(0, batch.num_rows, rows):
            yield Placed(batch.slice(start, rows), places.slice(start, rows))
        first += batch.num_rows


def prepare_batch(
    batch: pa.RecordBatch, rows: pa.Int64Array, preparation: Preparation
) -> pa.RecordBatch:
    """Turn one batch into link requests.

    Baskets are left open: their rows have no body until they are folded.

    Args:
        batch: rows of the catalog's schema.
        rows: the number of each in the catalog, from 0.
        preparation: what `preparation_of` returned.

    Returns:
        A batch of `preparation.output`, a row per row and entry.
    """
    entries = _entries(Placed(batch, rows), preparation)
    return hashed(_by_row([entry.requests for entry in entries]))


def prepare_lines(placed: Placed, preparation: Preparation) -> BasketBatch:
    """Do the same where there are baskets, beside the lines of which they are folded."""
    entries = _entries(placed, preparation)
    return BasketBatch(
        requests=_by_row([entry.requests for entry in entries]),
        lines=_by_row([lines_of(e.requests, e.links, basket=e.mapping.basket) for e in entries]),
    )


def _by_row(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    # Entry by entry is how they were made; row by row, with a row's entries side by side, is how
    # people read a table.
    order = np.arange(sum(batch.num_rows for batch in batches))
    return pa.concat_batches(batches).take(pa.array(order.reshape(len(batches), -1).T.ravel()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One entry's requests in a batch, not hashed yet."""

    mapping: LinkMapping
    links: Links
    requests: pa.RecordBatch


def _entries(placed: Placed, preparation: Preparation) -> list[_Entry]:
    return [
        _entry(placed, preparation, link_set, mapping)
        for _, link_set, mapping in preparation.mapping.entries()
    ]


def _entry(
    placed: Placed,
    preparation: Preparation,
    link_set: str,
    mapping: LinkMapping,
) -> _Entry:
    batch, rows = placed.batch, placed.batch.num_rows
    # For each entry anew: a problem of the Walmart link doesn't reject the Instacart one.
    columns = Columns(batch, Findings(rows, preparation.mapping.accept))
    keys = row_keys(columns, preparation.mapping.unique_key)
    check_keys(columns, preparation.mapping.unique_key)
    links = evaluate_link(mapping, columns, preparation.rules, preparation.project_id)
    order = evaluate_order(preparation.mapping, columns)
    refuse_headers(columns, preparation.mapping.columns())
    bodies = _bodies(mapping, links, preparation)
    check_secrets(keys, "unique_key", links.findings)
    want = wanted(mapping, columns) if preparation.mapping.links else pa.repeat(True, rows)
    unwanted = ~want.to_numpy(zero_copy_only=False)
    # A body of a row with errors would be half a body.
    without = links.findings.mask() | unwanted
    values = {
        "catalog_row": placed.rows,
        "link_set": pa.repeat(link_set, rows),
        "row_key": keys,
        "retailer": links.retailer,
        "intent": links.intent,
        "wanted": want,
        "body": _blanked(bodies, without),
        "content_hash": pa.nulls(rows, pa.binary()),
        "priority": order.priority,
        "pinned": order.pinned,
        "problems": links.findings.lists(without=unwanted),
        "key": _keys(batch, preparation),
    }
    requests = pa.RecordBatch.from_arrays(
        [values[name] for name in preparation.output.names], schema=preparation.output
    )
    return _Entry(mapping=mapping, links=links, requests=requests)


def _bodies(mapping: LinkMapping, links: Links, preparation: Preparation) -> pa.StringArray:
    rows = links.findings.rows
    body = links.body(list(links.fields), rows)
    bodies = joined(body.parts if body else [], rows)
    check_secrets(bodies, "request", links.findings)
    if mapping.basket:
        if links.products is not None:
            check_secrets(links.products.ids, "products.retailer_product_id", links.findings)
        return pa.nulls(rows, pa.string())
    check_body_size(bodies, links.findings, preparation.rules.limits)
    return bodies


def _blanked(texts: pa.StringArray, where: npt.NDArray[np.bool_]) -> pa.StringArray:
    if not where.any():
        return texts
    return pc.if_else(pa.array(where), pa.scalar(None, pa.string()), texts)


def _keys(batch: pa.RecordBatch, preparation: Preparation) -> pa.StructArray:
    return pa.StructArray.from_arrays(
        [batch.column(name) for name in preparation.mapping.unique_key],
        fields=list(preparation.output.field("key").type.fields),
    )


def hashed(requests: pa.RecordBatch) -> pa.RecordBatch:
    """Return link requests with the hashes of their bodies."""
    at = requests.schema.get_field_index("content_hash")
    return requests.set_column(
        at, requests.schema.field(at), content_hashes(requests.column("body"))
    )


def content_hashes(bodies: pa.StringArray) -> pa.BinaryArray:
    """Return the SHA-256 of each body, 32 bytes; null where there is none."""
    # By the buffer: making a Python string of each body would cost more than hashing it.
    offsets = offsets_of(bodies).tolist()
    data = memoryview(bodies.buffers()[2] or b"")
    # A local name: this is the one loop over rows.
    sha256 = hashlib.sha256
    digests = b"".join([sha256(data[a:b]).digest() for a, b in pairwise(offsets)])
    # What was hashed for a null is hidden by the validity bits below.
    ends = pa.array(np.arange(len(bodies) + 1, dtype=np.int32) * 32)
    valid = None if not bodies.null_count else bodies.is_valid().buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(), len(bodies), [valid, ends.buffers()[1], pa.py_buffer(digests)]
    )
