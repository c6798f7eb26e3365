"""A table of rows that have links to requests for further QR codes: found, checked and hashed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.errors import MappingError
from incarts_pipeline.identity import qr_content_hash, qr_row_key
from incarts_pipeline.mapping import Column, Source, columns_of, parse_source
from incarts_pipeline.models import QR_CODE, ProblemCode, Status
from incarts_pipeline.prepare.columns import Columns
from incarts_pipeline.prepare.json_columns import joined, object_of, text_fragment
from incarts_pipeline.prepare.json_objects import object_fragment
from incarts_pipeline.prepare.problems import Findings, empty_lists
from incarts_pipeline.prepare.row_keys import row_keys, without_nul
from incarts_pipeline.schemas import LINKS, link_request_schema
from incarts_pipeline.text import Option, OptionText, suggest

IDENTIFIER = r"^[A-Za-z0-9-]{3,64}$"
NAME_CHARACTERS = 120

# Row keys of one link set → the links that their rows use now.
Lookup = Callable[[str, Sequence[str]], Mapping[str, str]]

_OWN = ("identifier", "link_id", "link_row_key", "name", "row")
_BATCH_ROWS = 16_384
_IDENTIFIER = Option(name="identifier", argument="identifiers")
_NAME = Option(name="name")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMapping:
    """How a table says which QR codes are wanted.

    `link_set` None means that its columns `link_set` and `row_key` say whose row each is, as those
    of a published links.parquet do; `only` leaves out the rows of other sets then. `keys` are the
    unique key's columns, from the name in the catalog to the one in the table. Without
    `identifiers` the table has a row per code.
    """

    project_id: str
    link_set: str | None
    only: str | None
    keys: Mapping[str, str]
    identifiers: tuple[str, ...]
    name: Source
    metadata: Column | None


def choose_mapping(
    schema: pa.Schema,
    *,
    project_id: str,
    sets: Mapping[str, Sequence[str]],
    link_set: str | None = None,
    identifiers: Sequence[str] = (),
    name: str | None = None,
) -> CodeMapping:
    """Find out what the columns of a table mean; `sets` are the known link sets' key columns.

    Raises:
        MappingError: they don't say which codes are wanted; names the fix.
    """
    if link_set is not None and link_set not in sets:
        raise MappingError(
            f"The ledger has no link set {link_set!r}.{suggest(link_set, sets)}",
            fix=f"It has {', '.join(sets) or 'none'}.",
        )
    published = {"link_set", "row_key"} <= set(schema.names)
    chosen = None if published else link_set or _only_one(sets)
    keys = _published_keys(schema, sets) if chosen is None else _keys(schema, chosen, sets[chosen])
    return CodeMapping(
        project_id=project_id,
        link_set=chosen,
        only=link_set,
        keys=keys,
        identifiers=_identifiers(schema, keys, identifiers),
        name=_name(schema, keys, name),
        metadata=Column(column="metadata") if _is_free("metadata", schema, keys) else None,
    )


def _only_one(sets: Mapping[str, Sequence[str]]) -> str:
    if len(sets) == 1:
        return next(iter(sets))
    raise MappingError(
        f"The ledger has several link sets: {', '.join(sets)}.",
        fix=OptionText(
            "Say with ", Option(name="link_set"), " which one the table's rows belong to."
        ),
    )


def _published_keys(schema: pa.Schema, sets: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the key columns that a published table shows, under the names that it gives them."""
    names = {
        name: f"{name}_catalog" if name in LINKS.names else name
        for s in sets.values()
        for name in s
    }
    return {name: shown for name, shown in names.items() if shown in schema.names}


def _keys(schema: pa.Schema, link_set: str, names: Sequence[str]) -> dict[str, str]:
    missing = [name for name in names if name not in schema.names]
    if missing or not names:
        raise MappingError(
            f"The rows of link set {link_set!r} are known by "
            f"{', '.join(names) or 'no columns'}, but the table has {', '.join(schema.names)}.",
            fix="Give it these columns, or take a published links.parquet.",
        )
    return {name: name for name in names}


def _is_free(name: str, schema: pa.Schema, keys: Mapping[str, str]) -> bool:
    """Say whether the table has such a column, and it isn't part of the key."""
    return name in schema.names and name not in keys.values()


def _identifiers(
    schema: pa.Schema, keys: Mapping[str, str], given: Sequence[str]
) -> tuple[str, ...]:
    has_column = _is_free("identifier", schema, keys)
    if bool(given) == has_column:
        both = OptionText("both a column and ", _IDENTIFIER, " give")
        said = both if given else "nothing gives"
        raise MappingError(
            OptionText("It must be clear which codes are wanted: ", said, " their identifiers."),
            fix=OptionText(
                "Give ", _IDENTIFIER, ", once or more, or a table with a column `identifier`."
            ),
        )
    for one in given:
        if not re.fullmatch(IDENTIFIER, one):
            raise MappingError(
                f"The identifier {one!r} can't be used.",
                fix="Use 3 to 64 letters, digits and dashes.",
            )
    return tuple(dict.fromkeys(given))


def _name(schema: pa.Schema, keys: Mapping[str, str], template: str | None) -> Source:
    if template is None:
        return Column(column="name" if _is_free("name", schema, keys) else "identifier")
    try:
        source = parse_source(template)
    except ValueError as error:
        raise MappingError(OptionText(_NAME, f" {error}"), path="name") from None
    if not template.strip():
        raise MappingError(
            OptionText(_NAME, " is blank."), fix="Leave it out, or write it like '{sku} shelf'."
        )
    known = [*schema.names, "identifier"]
    for column in columns_of(source):
        if column.column not in known:
            near = suggest(column.column, known)
            raise MappingError(
                OptionText(_NAME, f": the table has no column {column.column!r}.{near}"),
                path="name",
            )
    return source


def request_schema(schema: pa.Schema, mapping: CodeMapping) -> pa.Schema:
    """Return the schema of the requests that `code_requests` yields."""
    keys = [schema.field(shown).with_name(f"key_{at}") for at, shown in _numbered(mapping)]
    own = [pa.field(name, pa.int64() if name == "row" else pa.string()) for name in _OWN]
    return link_request_schema([*keys, *own])


def key_fields(schema: pa.Schema, mapping: CodeMapping) -> list[pa.Field]:
    """Return the key columns as the catalog had them."""
    return [schema.field(shown).with_name(name) for name, shown in mapping.keys.items()]


def _numbered(mapping: CodeMapping) -> list[tuple[int, str]]:
    return list(enumerate(mapping.keys.values()))


def code_requests(
    batches: Iterable[pa.RecordBatch], mapping: CodeMapping, schema: pa.Schema, links: Lookup
) -> Iterator[pa.RecordBatch]:
    """Turn a table's batches into requests, a row for each row and identifier, in their order.

    They have the schema `request_schema(schema, mapping)`: those of prepare, whose `row_key` and
    `content_hash` are the code's, and whose `key` holds what it is made of. Broken rules are in
    `problems`, and such a row has no body.

    Raises:
        CatalogError: a column holds bytes that are not UTF-8.
    """
    output = request_schema(schema, mapping)
    first, made = 0, 0
    for whole in batches:
        for start in range(0, whole.num_rows, _BATCH_ROWS):
            batch = whole.slice(start, _BATCH_ROWS)
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
        own = dict(
            zip(_OWN, (identifiers, link_ids, keys, names, pa.array(self._rows)), strict=True)
        )
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
            "notes": empty_lists(n),
            "key": self._key(own, output),
        }
        return pa.RecordBatch.from_arrays([values[name] for name in output.names], schema=output)

    def _key(self, own: Mapping[str, pa.Array], output: pa.Schema) -> pa.StructArray:
        keys = [self._batch.column(shown) for shown in self._mapping.keys.values()]
        fields = list(output.field("key").type.fields)
        return pa.StructArray.from_arrays([*keys, *(own[name] for name in _OWN)], fields=fields)

    def _identity(self) -> tuple[pa.StringArray, pa.StringArray]:
        """Return each row's link set and row key; null, with a problem, where there is none."""
        columns = Columns(self._batch, self._findings)
        if self._mapping.link_set is not None:
            keys = row_keys(columns, list(self._mapping.keys.values()))
            return pa.repeat(self._mapping.link_set, columns.rows), keys
        columns.missing(columns.text("link_set").is_null(), "link_set", "link_set")
        no_key = pc.and_(columns.text("row_key").is_null(), pc.invert(self._rejected))
        columns.missing(no_key, "row_key", "row_key")
        keys = without_nul(columns.text("row_key"), "row_key", "row_key", self._findings)
        return columns.text("link_set"), keys

    @cached_property
    def _rejected(self) -> pa.BooleanArray:
        """Return which rows of a published table were rejected, so that they may have no key."""
        keys, schema = self._mapping.keys, self._batch.schema
        if self._mapping.link_set is not None or not _is_free("status", schema, keys):
            return pa.repeat(False, self._batch.num_rows)
        status = Columns(self._batch, Findings(self._batch.num_rows)).text("status")
        return pc.fill_null(pc.equal(status, Status.REJECTED.value), False)

    def _link_ids(self, sets: pa.StringArray, keys: pa.StringArray) -> pa.StringArray:
        """Return the links that the rows use now, as the ledger knows them."""
        pairs = list(zip(sets.to_pylist(), keys.to_pylist(), strict=True))
        known: dict[tuple[str, str], str] = {}
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
        if _is_free("link_id", self._batch.schema, self._mapping.keys):
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
        bad = self._findings.mask()
        return (
            pc.if_else(pa.array(bad), pa.scalar(None, pa.string()), texts) if bad.any() else texts
        )


def _hashes(link_ids: pa.StringArray, bodies: pa.StringArray) -> pa.BinaryArray:
    pairs = zip(link_ids.to_pylist(), bodies.to_pylist(), strict=True)
    return pa.array(
        [qr_content_hash(link, body.encode()) if link and body else None for link, body in pairs],
        pa.binary(),
    )
