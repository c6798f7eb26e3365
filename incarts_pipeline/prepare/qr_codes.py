"""Requests for further QR codes of the links in a table: found, checked and hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.identity import qr_content_hash, qr_row_key
from incarts_pipeline.models import QR_CODE, ProblemCode, Status
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.json_columns import joined, object_of, text_fragment
from incarts_pipeline.prepare.json_objects import object_fragment
from incarts_pipeline.prepare.problems import Findings, check_secrets
from incarts_pipeline.prepare.qr_mapping import IDENTIFIER, CodeMapping, is_free
from incarts_pipeline.prepare.row_keys import row_keys, without_nul
from incarts_pipeline.schemas import link_request_schema

NAME_CHARACTERS = 120  # the API's rule

# Row keys of one link set → the links that their rows use now.
Lookup = Callable[[str, Sequence[str]], Mapping[str, str]]

# What a request says of its code: whose it is, and in which row of the table it is asked for.
_CODE = pa.struct(
    [
        ("identifier", pa.string()),
        ("link_id", pa.string()),
        ("link_row_key", pa.string()),
        ("name", pa.string()),
        ("row", pa.int64()),
    ]
)
_BATCH_ROWS = 16_384


def request_schema(schema: pa.Schema, mapping: CodeMapping) -> pa.Schema:
    """Return the schema of the requests that `code_requests` yields."""
    keys = [schema.field(shown).with_name(name) for name, shown in mapping.keys.items()]
    requests = link_request_schema(keys).append(pa.field("code", _CODE))
    # A published table may show no key column, and a struct of nothing is nothing to DuckDB.
    return requests if keys else requests.remove(requests.get_field_index("key"))


def code_requests(
    batches: Iterable[pa.RecordBatch], mapping: CodeMapping, schema: pa.Schema, links: Lookup
) -> Iterator[pa.RecordBatch]:
    """Turn a table's batches into requests, a row for each row and identifier, in their order.

    They have the schema `request_schema(schema, mapping)`: that of link requests, whose `row_key`
    and `content_hash` are the code's, and a struct `code` that says what it is made of.
    Broken rules are in `problems`, and such a row has no body.

    Args:
        batches: record batches of `schema`.
        mapping: what `choose_mapping` returned.
        schema: the table's columns.
        links: looks up the links in use of row keys.

    Raises:
        CatalogError: a column holds bytes that are not UTF-8.
    """
    output = request_schema(schema, mapping)
    first, made = 0, 0
    for whole in batches:
        for start in range(0, whole.num_rows, _BATCH_ROWS):
            batch = whole.slice(start, _BATCH_ROWS)
            # Numbered before anything is filtered or repeated: this is the table's own row.
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            found = _Batch(*_wanted(batch, rows, mapping), mapping, links).requests(made, output)
            made += found.num_rows
            yield found


def _wanted(
    batch: pa.RecordBatch, rows: npt.NDArray[np.int64], mapping: CodeMapping
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """Leave other link sets out, and repeat each row for its identifiers."""
    at = np.arange(batch.num_rows)
    if mapping.link_set is None and mapping.only is not None:
        sets = Columns(batch, Findings(batch.num_rows)).text("link_set")
        ours = pc.fill_null(pc.equal(sets, mapping.only), False)
        at = at[ours.to_numpy(zero_copy_only=False)]
    # One row for each code, side by side, so that the output reads in the table's order.
    at = np.repeat(at, max(1, len(mapping.identifiers)))
    return batch.take(pa.array(at)), rows[at]


class _Batch:
    """The requests of one batch, each row of which stands for one code."""

    def __init__(
        self,
        batch: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        mapping: CodeMapping,
        links: Lookup,
    ) -> None:
        self._batch, self._rows, self._mapping, self._links = batch, rows, mapping, links
        self._findings = Findings(batch.num_rows)
        self._columns = Columns(self._with_identifiers(), self._findings)

    def _with_identifiers(self) -> pa.RecordBatch:
        given = self._mapping.identifiers
        if not given:
            return self._batch
        texts = pa.array(list(given) * (self._batch.num_rows // len(given)), pa.string())
        # A key column may have that name; here, the one that was asked for counts.
        at = self._batch.schema.get_field_index("identifier")
        if at < 0:
            return self._batch.append_column("identifier", texts)
        return self._batch.set_column(at, "identifier", texts)

    def requests(self, first: int, output: pa.Schema) -> pa.RecordBatch:
        """Return the requests; the first one has the number `first`."""
        n = self._batch.num_rows
        sets, keys = self._identity()
        link_ids = self._link_ids(sets, keys)
        identifiers, names = self._identifiers(), self._names()
        bodies = self._bodies(identifiers, names)
        texts = zip(keys.to_pylist(), identifiers.to_pylist(), strict=True)
        code = (identifiers, link_ids, keys, names, pa.array(self._rows))
        values = {
            "catalog_row": pa.array(np.arange(first, first + n)),
            "link_set": pc.fill_null(sets, ""),
            "row_key": pa.array(
                [qr_row_key(k, i) if k and i else None for k, i in texts], pa.string()
            ),
            "retailer": pa.repeat("", n),
            "intent": pa.repeat(QR_CODE, n),
            "wanted": pa.repeat(True, n),
            "body": bodies,
            "content_hash": _hashes(link_ids, bodies),
            "priority": pa.nulls(n, pa.float64()),
            "pinned": pa.repeat(False, n),
            "problems": self._findings.lists(),
            "code": pa.StructArray.from_arrays(code, fields=list(_CODE.fields)),
        }
        if self._mapping.keys:
            values["key"] = self._key(output)
        return pa.RecordBatch.from_arrays([values[name] for name in output.names], schema=output)

    def _key(self, output: pa.Schema) -> pa.StructArray:
        keys = [self._batch.column(shown) for shown in self._mapping.keys.values()]
        fields = list(output.field("key").type.fields)
        return pa.StructArray.from_arrays(keys, fields=fields)

    def _identity(self) -> tuple[pa.StringArray, pa.StringArray]:
        """Return each row's link set and row key; null, with a problem, where there is none."""
        # Of the table as it is: `self._columns` has the identifier in a key column's place.
        columns = Columns(self._batch, self._findings)
        if self._mapping.link_set is not None:
            keys = row_keys(columns, list(self._mapping.keys.values()))
            return pa.repeat(self._mapping.link_set, columns.rows), keys
        columns.missing(columns.text("link_set").is_null(), "link_set", "link_set")
        # A rejected row may lack a key, and is told so by what rejected it.
        no_key = pc.and_(columns.text("row_key").is_null(), pc.invert(self._rejected))
        columns.missing(no_key, "row_key", "row_key")
        keys = without_nul(columns.text("row_key"), "row_key", "row_key", self._findings)
        return columns.text("link_set"), keys

    @cached_property
    def _rejected(self) -> pa.BooleanArray:
        """Return which rows of a published table were rejected, so that they may have no key."""
        keys, schema = self._mapping.keys, self._batch.schema
        if self._mapping.link_set is not None or not is_free("status", schema, keys):
            return pa.repeat(False, self._batch.num_rows)
        status = Columns(self._batch, Findings(self._batch.num_rows)).text("status")
        return pc.fill_null(pc.equal(status, Status.REJECTED.value), False)

    def _link_ids(self, sets: pa.StringArray, keys: pa.StringArray) -> pa.StringArray:
        """Return the links that the rows use now, as the ledger knows them."""
        pairs = list(zip(sets.to_pylist(), keys.to_pylist(), strict=True))
        known: dict[tuple[str, str], str] = {}
        # One query for each set, not for each row.
        for name in {name for name, key in pairs if name and key}:
            of_set = sorted({key for other, key in pairs if other == name and key})
            known.update({(name, key): link for key, link in self._links(name, of_set).items()})
        found = pa.array([known.get(pair) for pair in pairs], pa.string())
        rejected, without = self._rejected, found.is_null()
        self._findings.add(
            pc.and_(without, rejected),
            "link_id",
            ProblemCode.NO_LINK,
            "The row was rejected, so it has no link; its column problems in the table says why: "
            "correct it, make the link with `incarts apply`, and take the new table.",
        )
        self._findings.add(
            pc.and_(pc.and_(without, keys.is_valid()), pc.invert(rejected)),
            "link_id",
            ProblemCode.NO_LINK,
            "This ledger has no link of the row; make it with `incarts apply`, or point "
            "INCARTS_LEDGER at the ledger that made it.",
        )
        # The ledger decides. What the table says only tells whether it is older than that.
        if is_free("link_id", self._batch.schema, self._mapping.keys):
            self._check_links(found)
        return found

    def _check_links(self, found: pa.StringArray) -> None:
        said = self._columns.text("link_id")
        self._findings.add(
            pc.not_equal(said, found),
            "link_id",
            ProblemCode.LINK_CHANGED,
            "The table has the link ",
            said,
            ", but the row uses ",
            found,
            " by now; publish the table again with `incarts apply`.",
        )

    def _identifiers(self) -> pa.StringArray:
        texts = self._columns.text("identifier")
        self._columns.missing(texts.is_null(), "identifier", "identifier")
        self._findings.add(
            pc.invert(pc.match_substring_regex(texts, IDENTIFIER)),
            "identifier",
            ProblemCode.NOT_AN_IDENTIFIER,
            'The column "identifier" has "',
            texts,
            '"; use 3 to 64 letters, digits and dashes.',
        )
        return texts

    def _names(self) -> pa.StringArray:
        found = self._columns.evaluate(self._mapping.name, "name", required=True)
        names = pa.repeat(found, self._batch.num_rows) if isinstance(found, str) else found
        lengths = pc.fill_null(pc.utf8_length(names), 0)
        self._findings.add(
            pc.greater(lengths, NAME_CHARACTERS),
            "name",
            ProblemCode.TOO_LONG,
            f"A QR code's name has at most {NAME_CHARACTERS} characters, but it has ",
            lengths,
            ': "',
            names,
            '"; shorten it.',
        )
        return names

    def _bodies(self, identifiers: pa.StringArray, names: pa.StringArray) -> pa.StringArray:
        """Return the canonical bodies; null where there is a problem."""
        n, metadata = self._batch.num_rows, self._mapping.metadata
        members = {
            "identifier": text_fragment(identifiers),
            "metadata": object_fragment(metadata, self._columns, "metadata") if metadata else None,
            "name": text_fragment(names),
            "projectId": text_fragment(self._mapping.project_id),
        }
        body = object_of(list(members.items()), n)
        texts = joined(body.parts if body else [], n)
        check_secrets(texts, "request", self._findings)
        bad = self._findings.mask()
        return (
            pc.if_else(pa.array(bad), pa.scalar(None, pa.string()), texts) if bad.any() else texts
        )


def _hashes(link_ids: pa.StringArray, bodies: pa.StringArray) -> pa.BinaryArray:
    pairs = zip(link_ids.to_pylist(), bodies.to_pylist(), strict=True)
    return pa.array(
        # The link is a part of what is asked for, but not of the body: it is in the path.
        [qr_content_hash(link, body.encode()) if link and body else None for link, body in pairs],
        pa.binary(),
    )
