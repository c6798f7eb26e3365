"""Catalog batches → link requests: body, hash and problems of every row. Pure and vectorized.

One batch is prepared without any state that is shared with others, so batches can be prepared side
by side; pyarrow lets go of the interpreter while it works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline import rules
from incarts_pipeline.baskets import fold
from incarts_pipeline.columns import evaluate, text
from incarts_pipeline.fields import Fields, Recipe, build_fields
from incarts_pipeline.keys import row_keys
from incarts_pipeline.mapping import LinkMapping, Mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.rules import Findings, ProblemCode
from incarts_pipeline.schemas import basket_line_schema, link_request_schema

_TRUE = ("true", "yes", "y", "1", "t")
_FALSE = ("false", "no", "n", "0", "f")


def prepare(
    batches: Iterable[pa.RecordBatch],
    mapping: Mapping,
    *,
    schema: pa.Schema,
    project_id: str,
    limits: Limits,
) -> Iterator[pa.RecordBatch]:
    """Yield link requests (`schemas.link_request_schema`): one per catalog row and entry.

    Baskets are folded before they are yielded, so they come once the catalog has been read.

    Raises:
        MappingError: the mapping doesn't fit the catalog's columns and their types.
    """
    mapping.check(schema)
    recipe = Recipe(mapping=mapping, schema=schema, project_id=project_id, limits=limits)
    lines = _prepared(batches, recipe)
    if not mapping.basket:
        yield from lines
        return
    for batch in fold(basket_line_schema(recipe.key_fields), lines, limits):
        hashes = _hashes(batch.column("body"))
        position = batch.schema.get_field_index("content_hash")
        yield batch.set_column(position, batch.schema.field(position), hashes)


def _prepared(batches: Iterable[pa.RecordBatch], recipe: Recipe) -> Iterator[pa.RecordBatch]:
    first_row = 0
    for batch in batches:
        yield from prepare_batch(batch, first_row, recipe)
        first_row += batch.num_rows


def prepare_batch(
    batch: pa.RecordBatch, first_row: int, recipe: Recipe
) -> Iterator[pa.RecordBatch]:
    """Yield a batch's link requests, one batch per entry of the mapping; `first_row` is 0-based."""
    if batch.num_rows == 0:
        return
    for link_set, link in recipe.mapping.entries().items():
        yield _entry(batch, first_row, recipe, link_set, link)


def _entry(
    batch: pa.RecordBatch, first_row: int, recipe: Recipe, link_set: str, link: LinkMapping
) -> pa.RecordBatch:
    mapping, n = recipe.mapping, batch.num_rows
    found, notes = Findings(), Findings()
    keys = _keys(batch, mapping, found)
    fields = build_fields(batch, link, recipe, found, notes)
    body = _body(fields)
    found.add(
        pc.greater(pc.binary_length(body), recipe.limits.max_body_bytes),
        "body",
        ProblemCode.BODY_TOO_LARGE,
        f"the request would be larger than {recipe.limits.max_body_bytes} bytes",
    )
    pinned = _pinned(batch, mapping, found)
    priority = _priority(batch, mapping, notes)
    wanted = _wanted(fields, n) if mapping.links else pa.repeat(pa.scalar(True), n)
    problems = found.per_row(n)
    nothing_wrong = pc.equal(pc.list_value_length(problems), 0)
    good = pc.and_(nothing_wrong, wanted)
    none = pa.scalar(None, pa.string())
    body = pc.if_else(good, body, none)
    columns = {
        "catalog_row": pa.array(np.arange(first_row, first_row + n, dtype=np.int64)),
        "link_set": pa.repeat(pa.scalar(link_set), n),
        "row_key": keys,
        "retailer": fields.retailer,
        "intent": fields.intent,
        "wanted": wanted,
        "body": body,
        "content_hash": pa.nulls(n, pa.binary()) if mapping.basket else _hashes(body),
        "priority": priority,
        "pinned": pinned,
        "problems": problems,
        "notes": notes.per_row(n),
        "key": _key_struct(batch, mapping),
    }
    if mapping.basket:
        columns |= {
            "body": pc.if_else(good, fields.prefix, none),
            "suffix": pc.if_else(good, fields.suffix, none),
            "product": pc.if_else(good, fields.product_json, none),
            "quantity": fields.quantity,
            "backups": fields.backups,
        }
    make = basket_line_schema if mapping.basket else link_request_schema
    schema = make(recipe.key_fields)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _keys(batch: pa.RecordBatch, mapping: Mapping, found: Findings) -> pa.Array:
    columns = [batch.column(batch.schema.get_field_index(name)) for name in mapping.unique_key]
    keys = row_keys(columns)
    found.add(
        pc.is_null(keys),
        "unique_key",
        ProblemCode.KEY_MISSING,
        f"the key ({', '.join(mapping.unique_key)}) is empty, so the row can't be told from others",
    )
    return keys


def _key_struct(batch: pa.RecordBatch, mapping: Mapping) -> pa.StructArray:
    fields = [batch.schema.field(name) for name in mapping.unique_key]
    columns = [batch.column(batch.schema.get_field_index(name)) for name in mapping.unique_key]
    return pa.StructArray.from_arrays(columns, fields=fields)


def _body(fields: Fields) -> pa.Array:
    return pc.binary_join_element_wise(
        "{", fields.prefix, ",", fields.products, fields.suffix, "}", ""
    )


def _wanted(fields: Fields, rows: int) -> pa.Array:
    """An entry of a wide table is wanted where any of the things that it links to is there."""
    wanted = pa.repeat(pa.scalar(False), rows)
    for has in (fields.has_products, fields.has_url, fields.has_list, fields.has_recipe):
        wanted = pc.or_(wanted, has)
    return wanted


def _pinned(batch: pa.RecordBatch, mapping: Mapping, found: Findings) -> pa.Array:
    if mapping.pinned is None:
        return pa.repeat(pa.scalar(False), batch.num_rows)
    values = evaluate(mapping.pinned, batch, "pinned")
    if pa.types.is_boolean(values.type):
        return pc.fill_null(values, False)
    said = pc.utf8_lower(pc.utf8_trim_whitespace(text(mapping.pinned, batch, "pinned")))
    known = pc.is_in(said, pa.array([*_TRUE, *_FALSE, ""]))
    found.add(
        pc.and_(pc.is_valid(said), pc.invert(known)),
        "pinned",
        ProblemCode.NOT_TRUE_OR_FALSE,
        "pinned ",
        rules.Shown(said),
        " is not true or false",
    )
    return pc.fill_null(pc.is_in(said, pa.array(_TRUE)), False)


def _priority(batch: pa.RecordBatch, mapping: Mapping, notes: Findings) -> pa.Array:
    if mapping.priority is None:
        return pa.nulls(batch.num_rows, pa.float64())
    values = evaluate(mapping.priority, batch, "priority")
    if not pa.types.is_string(values.type):
        return values.cast(pa.float64())
    said = pc.utf8_trim_whitespace(values)
    number = pc.match_substring_regex(said, r"^-?\d{1,300}(\.\d{1,300})?$")
    notes.add(
        pc.and_(pc.greater(pc.binary_length(said), 0), pc.invert(number)),
        "priority",
        ProblemCode.NOT_A_NUMBER,
        "priority ",
        rules.Shown(said),
        " is not a number",
    )
    return pc.if_else(number, said, pa.scalar(None, pa.string())).cast(pa.float64())


def _hashes(bodies: pa.Array) -> pa.Array:
    """Return each body's SHA-256, null for null; the one loop over rows there is."""
    buffers = bodies.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int32)[
        bodies.offset : bodies.offset + len(bodies) + 1
    ].tolist()
    data = memoryview(buffers[2] or b"")
    sha256 = hashlib.sha256
    digests = [
        sha256(data[start:end]).digest()
        for start, end in zip(offsets[:-1], offsets[1:], strict=True)
    ]
    hashes = pa.array(digests, pa.binary())
    return pc.if_else(pc.is_valid(bodies), hashes, pa.scalar(None, pa.binary()))
