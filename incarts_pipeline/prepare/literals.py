"""Literals of a mapping: what it says for every row, checked before the first row is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping as Dict

import pyarrow as pa

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import (
    Column,
    Constant,
    LinkMapping,
    Mapping,
    Members,
    Node,
    Template,
    ValueKind,
)
from incarts_pipeline.models import Intent, Limits, Severity, severity_of
from incarts_pipeline.prepare.characters import Writing, check_characters
from incarts_pipeline.prepare.columns import constant_text
from incarts_pipeline.prepare.item_ids import check_product_id
from incarts_pipeline.prepare.json_values import OwnJsonError, canonical_value
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.rules import (
    NEEDS,
    check_intent,
    check_name,
    check_quantity,
    check_zip_code,
)
from incarts_pipeline.prepare.urls import check_url
from incarts_pipeline.text import Option, OptionText

_Check = Callable[[pa.StringArray, Findings], object]
_REQUIRED = ("name", "retailer", "intent", "products.retailer_product_id")
_OBJECT_FIX = "Give an object of fields, or a column with structs or JSON text."


def check_constants(mapping: Mapping, limits: Limits) -> None:
    """Check constants and defaults against the rules, and that each intent has what it needs.

    Args:
        mapping: all of its entries are checked.
        limits: bounds of quantities and URLs.

    Raises:
        MappingError: one breaks a rule.
    """
    # The same checks as for rows, on one row: a rule that is written twice is two rules one day.
    truncates = mapping.on_too_long == "truncate"
    checks = _checks(limits, truncates=truncates)
    for at, _, link in mapping.entries():
        for path, kind, node in link.sources():
            _check_node(f"{at}.{path}", path, kind, node, checks, mapping.accept)
        _check_intent(at, link, allow_unknown=mapping.allow_unknown)


def _checks(limits: Limits, *, truncates: bool) -> Dict[str, _Check]:
    def name(texts: pa.StringArray, found: Findings) -> None:
        check_characters(texts, "name", found, Writing.PROSE)
        check_name(texts, "name", found, truncate=truncates)

    def url(texts: pa.StringArray, found: Findings) -> None:
        check_characters(texts, "url", found, Writing.CODE)
        check_url(texts, "url", found, limits)

    def product_id(texts: pa.StringArray, found: Findings) -> None:
        check_product_id(texts, "id", found)

    return {
        "name": name,
        "custom_url": url,
        "fallback_url": url,
        "products.retailer_product_id": product_id,
        "products.backup_product_ids": product_id,
        "products.quantity": lambda texts, found: check_quantity(texts, "", found, limits),
        "location.zip_code": lambda texts, found: check_zip_code(texts, "", found),
    }


def _check_node(
    path: str,
    field: str,
    kind: ValueKind,
    node: Node,
    checks: Dict[str, _Check],
    accepted: Collection[str],
) -> None:
    if kind is ValueKind.JSON:
        _check_object(path, node)
        return
    for value in _fixed_values(node):
        # YAML makes it easy to give a list by a stray dash.
        if isinstance(value, dict) or (isinstance(value, list) and kind is not ValueKind.LIST):
            raise MappingError(f"{path}: must be one value, not {value!r}.", path=path)
        for text in map(constant_text, value if isinstance(value, list) else [value]):
            if not text.strip() and field in _REQUIRED:
                raise MappingError(f"{path}: is blank, but required.", path=path)
            # A blank constant in an optional field leaves the field out, like a blank cell.
            if text.strip() and field in checks:
                found = Findings(1, accepted)
                checks[field](pa.array([text], pa.string()), found)
                _raise_first(path, found)


def _check_object(path: str, node: Node) -> None:
    if isinstance(node, Constant | Template):
        raise MappingError(f"{path}: must be an object.", fix=_OBJECT_FIX, path=path)
    if isinstance(node, Column) and not isinstance(node.default, dict | None):
        raise MappingError(f"{path}: default must be an object.", path=path)
    for where, value in _json_values(path, node):
        try:
            canonical_value(value)
        except OwnJsonError as error:
            raise MappingError(f"{where}: {error}", path=where) from None


def _json_values(path: str, node: Node) -> Iterator[tuple[str, object]]:
    if isinstance(node, Members):
        for name, member in node.members:
            yield from _json_values(f"{path}.{name}", member)
    else:
        yield from ((path, value) for value in _fixed_values(node))


def _fixed_values(node: Node) -> list[object]:
    if isinstance(node, Constant):
        return [node.value]
    default = None if isinstance(node, Members) else node.default
    return [] if default is None else [default]


def _check_intent(at: str, link: LinkMapping, *, allow_unknown: bool) -> None:
    if not isinstance(link.intent, Constant):
        return
    intent = constant_text(link.intent.value)
    retailer = ""
    if isinstance(link.retailer, Constant):
        retailer = constant_text(link.retailer.value)
    found = Findings(1)
    # When the retailer comes from a column, the intent is checked with one that is surely known,
    # and what is said of the retailer is dropped below.
    known = retailer or "walmart"
    check_intent(pa.array([intent]), pa.array([known]), found, allow_unknown=allow_unknown)
    fields = [problem for problem in found.problems() if retailer or problem.field == "intent"]
    if fields:
        path = f"{at}.{fields[0].field}"
        raise MappingError(f"{path}: {fields[0].message}", path=path)
    _check_needs(at, link, intent)


def _check_needs(at: str, link: LinkMapping, intent: str) -> None:
    # Let through by `allow_unknown`: nobody knows what it needs.
    if intent not in set(Intent):
        return
    need = NEEDS[Intent(intent)]
    if not any(path.startswith(need) for path, _, _ in link.sources()):
        path = f"{at}.{need}"
        raise MappingError(
            f"{path}: the intent {intent} needs {need}, but it isn't mapped.",
            fix=f"Map it, or choose another intent: {', '.join(Intent)}.",
            path=path,
        )


def _raise_first(path: str, found: Findings) -> None:
    """Refuse a constant that breaks a rule, or is suspicious: it would hold all rows."""
    for problem in found.problems():
        severity = severity_of(problem.code)
        if severity is Severity.NOTE:
            continue
        option = Option(name="accept", value=[problem.code], stand_in=problem.code)
        raise MappingError(
            f"{path}: {problem.message}",
            fix=OptionText("To let it through: ", option, ".")
            if severity is Severity.SUSPICION
            else None,
            path=path,
        )
