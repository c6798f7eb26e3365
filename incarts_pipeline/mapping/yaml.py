"""YAML as people mean it: duplicate keys are refused, and dates, `yes` and `no` stay text."""

from __future__ import annotations

import re
from typing import Any

import yaml

from incarts_pipeline.errors import MappingError
from incarts_pipeline.text import LINE_BREAK, joined

_DEEPEST = 50  # levels
_MOST_NODES = 10_000  # values, each as often as an alias repeats it


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, and what is nested too deeply."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 - as PyYAML has it
        """Begin a list or an object in brackets."""
        super().fetch_flow_collection_start(TokenClass)
        self._check_depth(self.flow_level)

    def add_indent(self, column: int) -> bool:
        """Begin a list or an object by indenting."""
        self._check_depth(len(self.indents))
        return bool(super().add_indent(column))

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count the values while they are read, so that a flood of them ends soon."""
        self.nodes = getattr(self, "nodes", 0) + 1
        if self.nodes > _MOST_NODES:
            raise _too_many()
        return super().compose_node(parent, index)

    def _check_depth(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise MappingError(
                f"The mapping is nested deeper than {_DEEPEST} levels, in line {self.line + 1}.",
                fix="Flatten it; an object of the catalog can stay in a column of JSON.",
            )

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a dict, each key once."""
        # YAML lets the last one win: of two `products:` blocks the first would be lost in silence.
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain value", key_node.start_mark
                )
            line = key_node.start_mark.line + 1
            if key in seen:
                raise MappingError(
                    f'The key "{key}" is given twice, in lines {seen[key]} and {line}.',
                    fix="Keep one of them.",
                    path=str(key),
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


_TABS = "Indent with spaces, not with tabs."
_QUOTES = (
    "Put quotes around a name or text that has one of ? : , # & * ! % @ { } [ ], like "
    '{column: "Printed?"}.'
)

# Without these, `0123` would become 83, `12:30` 750, `2026-01-01` a date and `no` false.
_PLAIN = {
    "tag:yaml.org,2002:null": r"^(?:~|null|Null|NULL|)$",
    "tag:yaml.org,2002:bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "tag:yaml.org,2002:int": r"^[-+]?(?:0|[1-9][0-9]*)$",
    "tag:yaml.org,2002:float": r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$",
}


def load_yaml(text: str, name: str = "") -> object:
    """Parse one YAML document (scalars as in YAML 1.2's core schema, without octals).

    `name` is the file's, for messages.

    Raises:
        MappingError: it isn't YAML, or a key is given twice.
    """
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        # PyYAML calls any text "<unicode string>".
        said = str(error).replace('"<unicode string>"', f'"{name}"' if name else "the mapping")
        told = joined(LINE_BREAK, f"The mapping is not valid YAML: {said}".split("\n"))
        raise MappingError(told, fix=_fix(error)) from error


def _too_many() -> MappingError:
    return MappingError(
        f"The mapping stands for more than {_MOST_NODES:,} values, counting all that its aliases "
        "repeat.",
        fix="Write it without aliases of aliases; a larger one can be given as a Python dict.",
    )


def _size(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node stands for, with all that aliases repeat.

    Raises:
        MappingError: they are too many, or never end.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise MappingError(
                f"The mapping refers to itself, in line {node.start_mark.line + 1}.",
                fix="Write the value instead of the alias.",
            )
        return known[id(node)]
    known[id(node)] = 0  # being counted
    inner: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        inner = [one for pair in inner for one in pair]
    size = 1 + sum(_size(one, known) for one in inner)
    if size > _MOST_NODES:
        raise _too_many()
    known[id(node)] = size
    return size


def _fix(error: yaml.YAMLError) -> str | None:
    """Return what mostly helps: a column's name in a spreadsheet has characters that YAML needs."""
    if isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError):
        return _TABS if "'\\t'" in str(error) else _QUOTES
    return _QUOTES if isinstance(error, yaml.composer.ComposerError) else None


def _install_scalars() -> None:
    _StrictLoader.yaml_implicit_resolvers = {}
    # Resolvers are looked up by a scalar's first character.
    firsts = {"null": ["~", "n", "N", ""], "bool": list("tTfF")}
    for tag, pattern in _PLAIN.items():
        first = firsts.get(tag.rpartition(":")[2], list("-+.0123456789"))
        _StrictLoader.add_implicit_resolver(tag, re.compile(pattern), first)


_install_scalars()
