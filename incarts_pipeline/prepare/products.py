"""Product of a row: id, quantity and backups, checked and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.mapping import Column, Constant, ProductMapping, Source, is_list
from incarts_pipeline.models import Limits, NoteCode, ProblemCode
from incarts_pipeline.prepare.columns import (
    Columns,
    constant_text,
    plain_array,
    text_of,
    without_blanks,
)
from incarts_pipeline.prepare.item_ids import check_product_id
from incarts_pipeline.prepare.json_columns import (
    Fragment,
    joined,
    list_fragment,
    object_of,
    text_fragment,
)
from incarts_pipeline.prepare.problems import Findings, Rows
from incarts_pipeline.prepare.rules import check_quantity

_ID = "products.retailer_product_id"
_QUANTITY = "products.quantity"
_BACKUPS = "products.backup_product_ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """The product of each row; `ids` is null where the row has none."""

    ids: pa.StringArray
    quantities: pa.Int64Array
    backups: pa.ListArray | None


def evaluate_products(mapping: ProductMapping, columns: Columns, limits: Limits) -> Products:
    """Read and check the products of a batch.

    Args:
        mapping: where id, quantity and backups come from.
        columns: the batch's columns, which also take the problems.
        limits: the largest quantity, and the most backups.
    """
    rows = columns.rows
    # Not required here: which intents need a product is a rule of its own, `check_needs`.
    ids = spread(columns.evaluate(mapping.retailer_product_id, _ID, required=False), rows)
    check_product_id(ids, _ID, columns.findings)
    backups = None
    if mapping.backup_product_ids is not None:
        backups = _backups(mapping.backup_product_ids, ids, columns)
        _check_count(backups, columns.findings, limits)
    return Products(ids=ids, quantities=_quantities(mapping, ids, columns, limits), backups=backups)


def spread(texts: pa.StringArray | str | None, rows: int) -> pa.StringArray:
    """Return a text per row, also for one that all rows share, or none has."""
    if texts is None:
        return pa.nulls(rows, pa.string())
    return pa.repeat(texts, rows) if isinstance(texts, str) else texts


def _quantities(
    mapping: ProductMapping, ids: pa.StringArray, columns: Columns, limits: Limits
) -> pa.Int64Array:
    if mapping.quantity is None:
        return pa.repeat(pa.scalar(1, pa.int64()), columns.rows)
    texts = columns.evaluate(mapping.quantity, _QUANTITY, required=False)
    texts = spread(texts, columns.rows)
    if texts.null_count and isinstance(mapping.quantity, Column):
        # A row without a product needs no quantity.
        lacking = pc.and_(texts.is_null(), ids.is_valid())
        columns.missing(lacking, mapping.quantity.column, _QUANTITY)
    return check_quantity(texts, _QUANTITY, columns.findings, limits)


def lists_of(source: Source, columns: Columns, field: str) -> pa.ListArray:
    """Return a source's texts as lists: elements trimmed, empty ones dropped, never null.

    Args:
        source: a constant, a list column, or a text that is split.
        columns: the batch's columns.
        field: the path of the field, for problems.
    """
    if isinstance(source, Constant) and isinstance(source.value, list):
        one = pa.array([[constant_text(item) for item in source.value]], pa.list_(pa.string()))
        return _tidy(one.take(pa.repeat(0, columns.rows)), columns.rows)
    if isinstance(source, Column):
        array = columns.plain(source.column)
        if is_list(array.type):
            return _tidy(_with_default(array, source.default), columns.rows)
    default = source.default if isinstance(source, Column) else None
    # A list is no text; it is filled in once the other values are lists too.
    if isinstance(source, Column) and isinstance(default, list):
        source = replace(source, default=None)
    texts = spread(columns.evaluate(source, field, required=False), columns.rows)
    separator = source.split if isinstance(source, Column) else None
    if separator is None:
        separator = "\0"  # no element contains it, so that the text stays whole
    lists = pc.split_pattern(texts, separator)
    return _tidy(_with_default(lists, default), columns.rows)


def _with_default(lists: pa.ListArray, default: object) -> pa.ListArray:
    if default is None or not lists.null_count:
        return lists
    values = default if isinstance(default, list) else [default]
    one = pa.array([[constant_text(item) for item in values]], pa.list_(pa.string()))
    texts = lists.cast(pa.list_(pa.string()))
    return pc.if_else(lists.is_null(), one.take(pa.repeat(0, len(lists))), texts)


def _tidy(lists: pa.ListArray, rows: int) -> pa.ListArray:
    # "1, 2,,3" is what people write: blanks between separators are no ids.
    values = without_blanks(text_of(plain_array(lists.flatten())))
    owners = pc.list_parent_indices(lists)
    # All lists at once: the values in one column, and beside each whose it is.
    kept = values.is_valid()
    if values.null_count:
        values, owners = values.filter(kept), owners.filter(kept)
    return _lists(pc.utf8_trim_whitespace(values), owners.to_numpy(), rows)


def _lists(values: pa.StringArray, owners: Rows, rows: int) -> pa.ListArray:
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(np.bincount(owners, minlength=rows), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _backups(source: Source, ids: pa.StringArray, columns: Columns) -> pa.ListArray:
    lists = lists_of(source, columns, _BACKUPS)
    values, owners = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    if not len(values):
        return lists
    # Checked as values, told as rows: `absorb` turns one numbering into the other.
    found = Findings(len(values), columns.findings.accepted)
    check_product_id(values, _BACKUPS, found)
    columns.findings.absorb(found, owners)
    # The API refuses neither, but a backup of itself helps nobody and changes the hash.
    itself = pc.fill_null(pc.equal(values, ids.take(pa.array(owners))), False)
    dropped = itself.to_numpy(zero_copy_only=False) | _repeated(values, owners)
    if not dropped.any():
        return lists
    columns.findings.add(
        np.unique(owners[dropped]).astype(np.int64),
        _BACKUPS,
        NoteCode.BACKUP_DROPPED,
        "A backup that is the product itself, or is given twice, was left out.",
    )
    return _lists(values.filter(pa.array(~dropped)), owners[~dropped], columns.rows)


def _repeated(values: pa.StringArray, owners: Rows) -> np.typing.NDArray[np.bool_]:
    encoded = values.dictionary_encode()
    # Owner and value as one number, so that repetitions within a row are equal numbers.
    pairs = owners.astype(np.int64) * len(encoded.dictionary) + encoded.indices.to_numpy()
    repeated = np.ones(len(values), np.bool_)
    repeated[np.unique(pairs, return_index=True)[1]] = False
    return repeated


def _check_count(backups: pa.ListArray, findings: Findings, limits: Limits) -> None:
    lengths = pc.list_value_length(backups)
    findings.add(
        pc.greater(lengths, limits.max_products),
        _BACKUPS,
        ProblemCode.OVER_LIMIT,
        "The product has ",
        lengths,
        f" backups, over the limit of {limits.max_products}; leave some out.",
    )


def products_fragment(products: Products) -> Fragment | None:
    """Return `products` of the body: a list of one product, or nothing where the row has none."""
    if products.ids.null_count == len(products.ids):
        return None
    product = product_fragment(products)
    if not products.ids.null_count:
        return Fragment(("[", *product.parts, "]"))
    texts = joined(product.parts, len(products.ids))
    return Fragment(("[", pc.if_else(products.ids.is_valid(), texts, None), "]"), optional=True)


def product_fragment(products: Products) -> Fragment:
    """Return one product's JSON; what it is where the row has none doesn't matter."""
    # A null would make the fragment optional, and its commas with it.
    ids = pc.fill_null(products.ids, "") if products.ids.null_count else products.ids
    quantities = pc.fill_null(products.quantities, 0).cast(pa.string())
    backups = None if products.backups is None else list_fragment(products.backups)
    product = object_of(
        [
            ("backupProductIds", backups),
            ("quantity", Fragment((quantities,))),
            ("retailerProductId", text_fragment(ids)),
        ],
        len(ids),
    )
    if product is None:
        raise AssertionError("a product has an id")
    return product
