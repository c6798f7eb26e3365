"""Text of a mapping: YAML for people, each guess with its reason and what else it could be."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterator, Sequence

from incarts_pipeline.outgoing import safe
from incarts_pipeline.suggest.findings import Finding

WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ ./-][A-Za-z0-9_]+)*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def yaml_text(head: Sequence[str], findings: Sequence[Finding]) -> str:
    """Return a mapping as a commented YAML document.

    Args:
        head: sentences about the whole, each a comment of its own.
        findings: in the order in which the keys stand; fields of one object stand together.
    """
    lines = [line for sentence in head for line in _comment(sentence, "")]
    return "\n".join([*lines, *_keys(findings, depth=0)]) + "\n"


def flow(value: object) -> str:
    """Return a value as YAML in one line, quoted where YAML or our own reader needs it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def shown(other: object) -> str:
    """Return what else a value could be, for people."""
    return other if isinstance(other, str) else flow(other)


def _keys(findings: Sequence[Finding], depth: int) -> Iterator[str]:
    indent, done = "  " * depth, set[str]()
    for finding in findings:
        name, _, rest = finding.field.partition(".")
        if name in done:
            continue
        if not depth:
            yield ""
        if not rest:
            yield from _one(finding, name, indent)
            continue
        done.add(name)
        inner = [_without(name, one) for one in findings if one.field.startswith(f"{name}.")]
        yield f"{'# ' if all(one.is_offer for one in inner) else ''}{indent}{name}:".rstrip()
        yield from _keys(inner, depth + 1)


def _one(finding: Finding, name: str, indent: str) -> Iterator[str]:
    yield from _comment(finding.why, indent)
    if finding.others:
        yield from _comment(f"It could also be {', or '.join(map(shown, finding.others))}.", indent)
    if finding.doubt:
        yield from _comment(f"LOOK AT THIS: {finding.doubt}", indent)
    yield f"{indent}{'# ' if finding.is_offer else ''}{name}: {flow(finding.value)}"


def _without(name: str, finding: Finding) -> Finding:
    return dataclasses.replace(finding, field=finding.field.removeprefix(f"{name}."))


def _comment(text: str, indent: str) -> list[str]:
    # A column's name may have line breaks, which would end the comment, or what no text may have.
    printable = "".join(one if one.isprintable() else " " for one in safe(text))
    return textwrap.wrap(
        " ".join(printable.split()),
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _key(name: object) -> str:
    return _text(str(name))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # Patterns read better as YAML's single quotes, in which a backslash is a backslash.
    if "\\" in text and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    quoted = json.dumps(text, ensure_ascii=False)
    # To YAML more characters break a line than to JSON, and others may not be in a text at all.
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
