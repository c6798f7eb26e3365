"""Mapping of a table to QR codes: which of its columns say what is wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import Column, Source, columns_of, parse_source
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.text import Option, OptionText, suggest

_IDENTIFIER = Option(name="identifier", argument="identifiers")
_NAME = Option(name="name")
IDENTIFIER = r"^[A-Za-z0-9-]{3,64}$"  # the API's rule


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
    """Find out what the columns of a table mean.

    Args:
        schema: the table's columns.
        project_id: the project of every body.
        sets: the known link sets, each with its key columns.
        link_set: the set of the table's rows; of a published table only this set's rows are taken.
        identifiers: the codes that each row gets; none when the table has a column for them.
        name: a template of the code's name; None takes the column `name`, or the identifier.

    Raises:
        MappingError: they don't say which codes are wanted; names the fix.
    """
    if link_set is not None and link_set not in sets:
        raise MappingError(
            f"The ledger has no link set {link_set!r}.{suggest(link_set, sets)}",
            fix=f"It has {', '.join(sets) or 'none'}.",
        )
    # A published table says of each row whose it is; any other table is one set's.
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
        metadata=Column(column="metadata") if is_free("metadata", schema, keys) else None,
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
    # A key column named like one of ours was published under another name.
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


def is_free(name: str, schema: pa.Schema, keys: Mapping[str, str]) -> bool:
    """Say whether the table has such a column, and it isn't part of the key."""
    return name in schema.names and name not in keys.values()


def _identifiers(
    schema: pa.Schema, keys: Mapping[str, str], given: Sequence[str]
) -> tuple[str, ...]:
    # Neither leaves it open which codes are wanted; both would multiply them.
    has_column = is_free("identifier", schema, keys)
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
    # Given twice is meant once.
    return tuple(dict.fromkeys(given))


def _name(schema: pa.Schema, keys: Mapping[str, str], template: str | None) -> Source:
    if template is None:
        return Column(column="name" if is_free("name", schema, keys) else "identifier")
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
            near = suggest(str(column.column), known)
            raise MappingError(
                OptionText(_NAME, f": the table has no column {column.column!r}.{near}"),
                path="name",
            )
    return source
