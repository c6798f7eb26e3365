"""HTML builder that escapes by construction.

There is no way to hand it markup: children are elements or text, and text is always escaped. Tags
and attributes come from closed sets, and only `link` makes an `href`. A dozen lines of our own
rather than `markupsafe`, which trusts whoever says `Markup(…)`; here nobody can.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from incarts_pipeline.display.html.style import PAGE_STYLE, STYLE
from incarts_pipeline.outgoing import safe, visible, without_secrets

HTML_TAGS = frozenset(
    {
        *("a", "b", "bdi", "code", "dd", "div", "dl", "dt", "figcaption", "figure", "footer"),
        *("h1", "h2", "li", "main", "p", "section", "small", "span"),
        *("table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
SVG_TAGS = frozenset({"line", "path", "rect", "svg", "text", "title"})
HTML_ATTRIBUTES = frozenset({"aria-hidden", "aria-label", "class", "role", "scope", "style"})
SVG_ATTRIBUTES = frozenset(
    {
        *("d", "fill", "height", "rx", "shape-rendering", "text-anchor", "viewBox", "width"),
        *("x", "x1", "x2", "xmlns", "y", "y1", "y2"),
    }
)
# What `link` and `page` add of their own.
LINK_ATTRIBUTES = frozenset({"href", "rel", "target"})
_TAGS = (HTML_TAGS - {"a"}) | SVG_TAGS
_ATTRIBUTES = HTML_ATTRIBUTES | SVG_ATTRIBUTES

# Nothing is loaded and no script runs, even if an escape should be missing one day.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
# All that is ever styled in place: the length of a bar, the size of a code.
_STYLE_VALUE = re.compile(r"(?:width|--size):[0-9]+(?:\.[0-9]+)?(?:%|mm)")
_URL = re.compile(r"https?://[!-~\u00a1-\U0010ffff]+", re.IGNORECASE)


# Control characters are shown as their pictures; what no document may hold, as U+FFFD.
_SHOWN: dict[int, int] = {0x7F: 0x2421}
_SHOWN |= {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_SHOWN |= dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), 0xFFFD)
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Element:
    """One element; made by `el`, `link` or `said`, turned into text by `render`."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Element | str, ...]


Child = Element | str | int | None


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Element:
    """Make an element; `class_` stands for `class`, `_` in names for `-`, None leaves out.

    Raises:
        ValueError: a tag, an attribute or a style that isn't in the closed set.
    """
    if tag not in _TAGS:
        raise ValueError(f"{tag!r} is not a tag that is used here")
    given = tuple(
        (_attribute_name(name), _attribute_value(value))
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    for name, value in given:
        if name not in _ATTRIBUTES or (name == "style" and not _STYLE_VALUE.fullmatch(value)):
            raise ValueError(f"{name}={value!r} is not an attribute that is used here")
    return Element(tag, given, _children(children))


def link(url: str, *children: Child) -> Element:
    """Make a link, or, when it leads anywhere but to http(s), just its text."""
    shown = children or (said(url),)
    # `javascript:` and `data:` run in the page that shows them.
    if not is_web_url(url):
        return el("span", *shown)
    # `noopener`: the page that opens must not reach the notebook that it came from.
    target = (("href", url), ("rel", "noopener noreferrer"), ("target", "_blank"))
    return Element("a", target, _children(shown))


def short_link(url: str) -> Element:
    """Make a link that shows its address without the scheme, in one piece unless it is long."""
    shown = url.partition("://")[2] or url
    return el("span", link(url, said(shown)), class_="ic-whole" if len(shown) <= 40 else None)


def said(text: str, **attributes: str | None) -> Element:
    """Show text that somebody else wrote, its writing direction kept to itself."""
    return el("bdi", text, **attributes)


def is_web_url(text: str | None) -> bool:
    """Say whether a text is an http(s) URL with a host and without white space."""
    # `urlsplit` takes almost anything, and drops line breaks within it.
    if text is None or not _URL.fullmatch(text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def clean(text: str) -> str:
    """Make every character of a text one that a document may hold and a reader can see."""
    if _UNSHOWABLE.search(text):
        text = text.translate(_SHOWN)
    if text.isascii():
        return text
    return "".join(part if part in "\t\n\r" else visible(part) for part in _BLANK.split(text))


_BLANK = re.compile("([\t\n\r])")


def render(*elements: Element) -> str:
    """Return elements as HTML text."""
    return "".join(part for element in elements for part in _parts(element))


def fragment(card: Element) -> str:
    """Return a card with its stylesheet, for a notebook's cell."""
    return f"<style>{STYLE}</style>{render(card)}"


def page(title: str, content: Element, script: str = "") -> str:
    """Return a whole document that loads nothing, and runs no script but our own.

    Args:
        title: what it is called.
        content: what it shows.
        script: text of ours, never of a catalog; the policy lets just this one run, by its hash.
    """
    allowed = f"; script-src 'sha256-{_sha256(script)}'" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}{allowed}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escape(safe(title))}</title><style>{PAGE_STYLE}</style></head>"
        f'<body class="incarts-page">{render(content)}'
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>\n"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _parts(element: Element) -> Iterator[str]:
    attributes = "".join(f' {name}="{_escape(value)}"' for name, value in element.attributes)
    yield f"<{element.tag}{attributes}>"
    for child in element.children:
        if isinstance(child, Element):
            yield from _parts(child)
        else:
            yield _escape(safe(child))
    yield f"</{element.tag}>"


def _escape(text: str) -> str:
    # A parser takes a bare carriage return for a line feed.
    return html.escape(clean(without_secrets(text))).replace("\r", "&#13;")


def _children(children: tuple[Child, ...]) -> tuple[Element | str, ...]:
    return tuple(
        child if isinstance(child, Element) else str(child)
        for child in children
        if child is not None
    )


def _attribute_name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _attribute_value(value: str | float | bool) -> str:
    if value is True:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
