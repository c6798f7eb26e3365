"""Markdown in which a text is only ever a text: no element, no link, no end of a table's cell."""

from __future__ import annotations

import re

from incarts_pipeline.outgoing.told import shown

# What GitHub's flavour, which Dagster's UI speaks, makes a link of without being asked. It looks
# for them in what is left once escapes are undone, so that only code is out of its reach.
_LINKED = re.compile(r"\S*(?:://|www\.|@|mailto:|xmpp:)\S*", re.IGNORECASE)
_SPECIAL = re.compile(r"[\\`*_\[\]<>&~|$!]")
# These can't be escaped the same way in all dialects: in a table some take the backslash for the
# bar's, and a backslash before a dollar is no escape where there are formulas.
_CODED = {one: f"&#{ord(one)};" for one in "\\`|$&<>"}
# At the beginning of a line: headings, lists, quotes, rules.
_BLOCK = re.compile(r"^(?:[#+=:-]|\d+(?=[.)]))")
_AROUND = re.compile(r"^\s+|\s+$")


def in_markdown(text: object) -> str:
    """Return a text as Markdown that reads as it is shown: safe, one line, and nothing but text.

    What would become a link by itself stands in a code span. It may be put anywhere where Markdown
    has text, in a table's cell, too.
    """
    plain = shown(text)
    parts, end = [], 0
    for link in _LINKED.finditer(plain):
        parts += [_escaped(plain[end : link.start()]), _code(link[0])]
        end = link.end()
    parts.append(_escaped(plain[end:]))
    whole = "".join(parts)
    if not _LINKED.match(plain):
        whole = _BLOCK.sub(_first, whole)
    # Space around a text would be taken off.
    return _AROUND.sub(lambda found: "".join(f"&#{ord(one)};" for one in found[0]), whole)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _CODED.get(found[0], f"\\{found[0]}"), text)


def _first(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(one)};" for one in found[0])


def _code(text: str) -> str:
    """Return code spans; a bar stands between them, since in a cell none can be in one."""
    return "&#124;".join(_span(part) if part else "" for part in text.split("|"))


def _span(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    inner = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{inner}{fence}"
