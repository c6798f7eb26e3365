"""Catalog batches to link requests: mapped, checked, written canonically and hashed.

Everything works on whole columns; the only loop over rows is the hash. A batch depends on nothing
but itself, except in baskets, whose rows may be anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.columns import Columns
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.findings import Findings
from incarts_pipeline.json_text import joined, offsets_of
from incarts_pipeline.keys import row_keys
from incarts_pipeline.links import Links, Rules, evaluate_link, wanted
from incarts_pipeline.mapping import LinkMapping, Mapping, TooLong
from incarts_pipeline.models import Limits
from incarts_pipeline.order import Order, evaluate_order
from incarts_pipeline.rules import PROJECT_ID_CHARACTERS, check_body_size
from incarts_pipeline.schemas import link_request_schema

_BATCH_ROWS = 32_768
_BATCH_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparePlan:
    """What turns one batch into link requests; shared by all batches, never changed."""

    mapping: Mapping
    schema: pa.Schema
    output: pa.Schema
    project_id: str
    rules: Rules


def prepare(
    batches: Iterable[pa.RecordBatch],
    mapping: Mapping,
    *,
    schema: pa.Schema,
    project_id: str,
    limits: Limits,
) -> Iterator[pa.RecordBatch]:
    """Turn catalog batches into batches of link requests, in the catalog's order.

    Args:
        batches: Record batches of `schema`.
        mapping: Which columns make up the links.
        schema: The catalog's columns.
        project_id: The Incarts project that will own the links, 1 to 128 characters.
        limits: Bounds that the API doesn't publish.

    Yields:
        Batches of `schemas.link_request_schema(mapping.key_fields(schema))`, a row per catalog row
        and entry of the mapping. Broken rules are in `problems`, and such a row has no body.

    Raises:
        MappingError: the mapping doesn't fit the schema.
        SettingsError: the project id has the wrong length.
        CatalogError: a column holds bytes that are not UTF-8.
    """
    plan = make_plan(mapping, schema=schema, project_id=project_id, limits=limits)
    return _prepared(batches, plan)


def make_plan(
    mapping: Mapping, *, schema: pa.Schema, project_id: str, limits: Limits
) -> PreparePlan:
    """Check everything that doesn't depend on the rows.

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
    return PreparePlan(
        mapping=mapping,
        schema=schema,
        output=link_request_schema(mapping.key_fields(schema)),
        project_id=project_id,
        rules=Rules(
            limits=limits,
            truncate=mapping.on_too_long is TooLong.TRUNCATE,
            allow_unknown=mapping.allow_unknown,
        ),
    )


def _prepared(batches: Iterable[pa.RecordBatch], plan: PreparePlan) -> Iterator[pa.RecordBatch]:
    row = 0
    for batch in batches:
        for part in parts_of(batch):
            yield prepare_batch(part, row, plan)
            row += part.num_rows


def parts_of(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch into parts that stay in the processor's caches and below Arrow's 2 GiB."""
    if not batch.num_rows:
        return
    rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def prepare_batch(batch: pa.RecordBatch, first_row: int, plan: PreparePlan) -> pa.RecordBatch:
    """Turn one batch, whose first row is catalog row `first_row`, into link requests."""
    entries = [
        _entry(batch, first_row, plan, link_set, link)
        for _, link_set, link in plan.mapping.entries()
    ]
    if len(entries) == 1:
        return entries[0]
    rows = batch.num_rows
    order = np.arange(rows * len(entries)).reshape(len(entries), rows).T.ravel()
    return pa.concat_batches(entries).take(pa.array(order))


def _entry(
    batch: pa.RecordBatch, first_row: int, plan: PreparePlan, link_set: str, link: LinkMapping
) -> pa.RecordBatch:
    rows = batch.num_rows
    columns, notes = Columns(batch, Findings(rows)), Findings(rows)
    keys = row_keys(columns, plan.mapping.unique_key)
    links = evaluate_link(link, columns, notes, plan.rules, plan.project_id)
    order = evaluate_order(plan.mapping, columns, notes)
    body = links.body(list(links.fields), rows)
    bodies = joined(body.parts if body else [], rows)
    check_body_size(bodies, columns.findings, plan.rules.limits)
    want = wanted(link, columns) if plan.mapping.links else pa.repeat(True, rows)
    return _batch(batch, first_row, plan, link_set, keys, links, order, bodies, want)


def _batch(
    batch: pa.RecordBatch,
    first_row: int,
    plan: PreparePlan,
    link_set: str,
    keys: pa.StringArray,
    links: Links,
    order: Order,
    bodies: pa.StringArray,
    want: pa.BooleanArray,
) -> pa.RecordBatch:
    rows = batch.num_rows
    unwanted = ~want.to_numpy(zero_copy_only=False)
    without = links.findings.mask() | unwanted
    if without.any():
        bodies = pc.if_else(pa.array(without), pa.scalar(None, pa.string()), bodies)
    key_names = plan.mapping.unique_key
    arrays = [
        pa.array(np.arange(first_row, first_row + rows)),
        pa.repeat(link_set, rows),
        keys,
        links.retailer,
        links.intent,
        want,
        bodies,
        content_hashes(bodies),
        order.priority,
        order.pinned,
        links.findings.lists(without=unwanted),
        links.notes.lists(without=without),
        pa.StructArray.from_arrays(
            [batch.column(name) for name in key_names],
            fields=list(plan.output.field("key").type.fields),
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=plan.output)


def content_hashes(bodies: pa.StringArray) -> pa.BinaryArray:
    """Return the SHA-256 of each body, 32 bytes; null where there is none."""
    offsets = offsets_of(bodies).tolist()
    data = memoryview(bodies.buffers()[2] or b"")
    sha256 = hashlib.sha256
    digests = b"".join([sha256(data[a:b]).digest() for a, b in pairwise(offsets)])
    ends = pa.array(np.arange(len(bodies) + 1, dtype=np.int32) * 32)
    valid = None if not bodies.null_count else bodies.is_valid().buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(), len(bodies), [valid, ends.buffers()[1], pa.py_buffer(digests)]
    )
