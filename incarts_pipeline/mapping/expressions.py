"""Expressions of a mapping: a constant, a column, a template of columns, or an object of these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping as Dict
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.text import suggest

# Escapes and character classes first, so that a parenthesis in them is no group. `(?:`, `(?i)` and
# their like capture nothing; RE2 has no look-around.
_GROUP = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\((?!\?))|\(\?P?<(?P<name>\w+)>", re.DOTALL)


_LONGEST = 1_000  # characters of a regular expression
Name = str | tuple[str, ...]  # of a column; of several the first that isn't empty counts


class ValueKind(StrEnum):
    """What a field's value must be; decides which column types may feed it."""

    TEXT = "text"
    ID = "id"  # like TEXT, but never from a float column: digits would be lost
    LIST = "list"  # texts: a list column, or one text that is split
    COUNT = "count"  # whole numbers
    NUMBER = "number"
    FLAG = "flag"
    JSON = "json"  # an object: a struct column, or JSON text
    VALUE = "value"  # one value inside an object: any JSON type, text stays text


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same value in every row: text, number, boolean, list or object."""

    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A catalog column, or the first of several that isn't empty; `default` stands in for nulls.

    `extract` is a regular expression (RE2 syntax) of which the one group, or else the whole match,
    is taken. `split` cuts a text into a list.
    """

    column: Name
    default: object = None
    split: str | None = None
    extract: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Text with columns in braces: `"{brand} {title}"`; `{{` and `}}` stand for braces.

    `{sku|id}` is the first of the two that isn't empty.

    `literals` has one element more than `columns`: the texts around and between them. `raw` has the
    places of columns written as `{sku:raw}`, which a URL takes as they are.
    """

    template: str
    columns: tuple[Name, ...]
    literals: tuple[str, ...]
    default: str | None = None
    raw: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """An object whose members have sources of their own."""

    members: tuple[tuple[str, Node], ...]


Source = Constant | Column | Template
Node = Constant | Column | Template | Members

_RAW = ":raw"  # behind a column's name in a template
_COLUMN_KEYS = tuple(f.name for f in fields(Column))
_TEMPLATE_KEYS = ("template", "default")


def parse_source(value: object) -> Source:
    """Read a source as it stands in the mapping.

    Raises:
        ValueError: it is none; the message says why.
    """
    # Python callers may give the objects themselves.
    if isinstance(value, Constant | Column | Template):
        return value
    if isinstance(value, str):
        return _text(value, None)
    if isinstance(value, Dict):
        # Anything else is a mistake here; inside of `metadata` and `options` it would be an object.
        if "column" in value or "template" in value:
            return _described(value)
        raise ValueError(
            "expected a plain value, {column: NAME} or a template like "
            f'"{{brand}} {{title}}", but the keys are {_listed(value)}.'
            + "".join(suggest(str(key), _COLUMN_KEYS) for key in list(value)[:1])
        )
    if value is None:
        raise ValueError("is empty: give it a value, or take the line out.")
    if isinstance(value, bool | int | float | list):
        return Constant(value=value)
    raise ValueError(f"can't be {type(value).__name__}; put quotes around it to make it text.")


def parse_node(value: object) -> Node:
    """Read a member of an object: a source, or an object of such members again."""
    if isinstance(value, Members):
        return value
    # An object of the API may have a member named `column`: only a text beside it makes a source.
    if isinstance(value, Dict) and not _is_described(value):
        return Members(members=tuple((str(key), parse_node(item)) for key, item in value.items()))
    return parse_source(value)


def columns_of(node: Node) -> Iterator[Column]:
    """Yield each column that a node reads; those of a template come as plain columns."""
    if isinstance(node, Column):
        yield from (replace(node, column=name) for name in each(node.column))
    elif isinstance(node, Template):
        # A template needs of its columns only that they have a text form.
        yield from (Column(column=name) for names in node.columns for name in each(names))
    elif isinstance(node, Members):
        for _, member in node.members:
            yield from columns_of(member)


def names_of(node: Node) -> Iterator[Name]:
    """Yield what a node reads: columns, and groups of columns of which the first filled counts."""
    if isinstance(node, Column):
        yield node.column
    elif isinstance(node, Template):
        yield from node.columns
    elif isinstance(node, Members):
        for _, member in node.members:
            yield from names_of(member)


def alternatives_of(node: Node) -> Iterator[str]:
    """Yield the columns of which a source, other than a template, takes the first filled one."""
    if isinstance(node, Column) and not isinstance(node.column, str):
        yield from node.column
    elif isinstance(node, Members):
        for _, member in node.members:
            yield from alternatives_of(member)


def each(name: Name) -> tuple[str, ...]:
    """Return the columns that a name means, in order."""
    return (name,) if isinstance(name, str) else name


def named(name: Name) -> str:
    """Return a name as it stands between quotes in a message."""
    return '" or "'.join(each(name))


def named_group(pattern: str) -> tuple[str, str]:
    """Return `pattern` with its group named, and that name; the whole match when it has none.

    Raises:
        ValueError: it has several groups, or isn't a regular expression of RE2.
    """
    if len(pattern) > _LONGEST:
        raise ValueError(
            f"extract: has {len(pattern):,} characters, over the limit of {_LONGEST:,}; take the "
            "value out of the column before, where the catalog is made."
        )
    groups = [m for m in _GROUP.finditer(pattern) if m.group(1) or m.group("name")]
    if len(groups) > 1:
        raise ValueError(f"extract: {pattern!r} has {len(groups)} groups; make all but one (?:…).")
    # Arrow extracts named groups alone.
    name, named = "found", f"(?P<found>{pattern})"
    if groups and groups[0].group("name"):
        name, named = groups[0].group("name"), pattern
    elif groups:
        at = groups[0].start()
        named = f"{pattern[:at]}(?P<found>{pattern[at + 1 :]}"
    try:
        # Tried on nothing: RE2 says now what it would say in the middle of a run.
        pc.extract_regex(pa.array([], pa.string()), pattern=named)
    except pa.ArrowInvalid as error:
        raise ValueError(f"extract: {pattern!r} is no regular expression of RE2: {error}") from None
    return named, name


def _is_described(value: Dict[object, object]) -> bool:
    if any(isinstance(value.get(key), str) for key in ("column", "template")):
        return True
    several = isinstance(value.get("column"), list) and set(value) <= set(_COLUMN_KEYS)
    return several and all(isinstance(name, str) for name in value["column"])  # type: ignore[attr-defined]


def _described(value: Dict[object, object]) -> Source:
    keys = _COLUMN_KEYS if "column" in value else _TEMPLATE_KEYS
    for key in value:
        if key not in keys:
            near = suggest(str(key), keys)
            raise ValueError(f'has the unknown key "{key}"; known are {", ".join(keys)}.{near}')
    default = value.get("default")
    if "template" in value:
        return _text(_string(value, "template"), None if default is None else str(default))
    extract = _optional(value, "extract")
    if extract is not None:
        named_group(extract)
    split = _optional(value, "split")
    if split == "":
        raise ValueError("split: is empty; name the separator.")
    return Column(column=_column(value), default=default, split=split, extract=extract)


def _column(value: Dict[object, object]) -> Name:
    names = value["column"]
    if not isinstance(names, list | tuple):
        return _string(value, "column")
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("column: must be a name, or a list of names.")
    if len(set(names)) < len(names):
        raise ValueError("column: names a column twice.")
    return names[0] if len(names) == 1 else tuple(names)


def _text(text: str, default: str | None) -> Source:
    # By hand, since `string.Formatter` reads `{a!r}`, `{a:b}` and `{a.b}` in columns' names.
    literals, columns, raw, at = [""], list[Name](), set[int](), 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair in ("{{", "}}"):
            literals[-1] += pair[0]
            at += 2
        elif text[at] == "{":
            end = text.find("}", at)
            if end < 0 or not text[at + 1 : end].strip():
                raise ValueError(f"{text!r} has a {{ without a column's name and }}; write {{{{.")
            name = text[at + 1 : end]
            if name.endswith(_RAW):
                raw.add(len(columns))
            columns.append(_name(name.removesuffix(_RAW)))
            literals.append("")
            at = end + 1
        elif text[at] == "}":
            raise ValueError(f"{text!r} has a }} without {{; write }}}} for a brace.")
        else:
            literals[-1] += text[at]
            at += 1
    # A text without braces is the commonest constant.
    if not columns:
        return Constant(value=literals[0])
    return Template(
        template=text,
        columns=tuple(columns),
        literals=tuple(literals),
        default=default,
        raw=frozenset(raw),
    )


def _name(written: str) -> Name:
    names = tuple(name.strip() for name in written.split("|"))
    if len(names) == 1:
        return written
    if not all(names):
        raise ValueError(f"{{{written}}} has a | without a column beside it.")
    return names


def _string(value: Dict[object, object], key: str) -> str:
    text = value[key]
    if not isinstance(text, str) or not text:
        raise ValueError(f"{key}: must be text; put quotes around it.")
    return text


def _optional(value: Dict[object, object], key: str) -> str | None:
    return None if value.get(key) is None else _string(value, key) if value[key] != "" else ""


def _listed(value: Dict[object, object]) -> str:
    return ", ".join(map(str, value)) or "none"
