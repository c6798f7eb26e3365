"""HTML as a parser sees it, with what may be in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from hypothesis import strategies as st

from incarts_pipeline.display.html.html import (
    HTML_ATTRIBUTES,
    HTML_TAGS,
    LINK_ATTRIBUTES,
    SVG_ATTRIBUTES,
    SVG_TAGS,
    clean,
)
from tests.support.displayed import IMAGE, SCRIPT

PAGE_TAGS = {"html", "head", "meta", "title", "body", "style"}
PAGE_ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name"}
TAGS = HTML_TAGS | SVG_TAGS | PAGE_TAGS
ATTRIBUTES = {
    name.lower() for name in HTML_ATTRIBUTES | SVG_ATTRIBUTES | LINK_ATTRIBUTES | PAGE_ATTRIBUTES
}

# What somebody might put into a catalog, or a server into its answers.
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            SCRIPT,
            IMAGE,
            "</style></title></bdi><script>alert(1)</script>",
            "<!-- --><svg/onload=alert(1)>",
            "' onmouseover='alert(1)",
            "javascript:alert(1)",
            'https://in2carts.com/"><b>x</b>',
            "https://in2carts.com/abc123?a=1&b=2",
            "&lt;b&gt; &amp;#60; &#0; &notit;",
            "]]><![CDATA[<b>",
            "\x00\r\n\x1b[31m\ud800\ufffe\x85",
        ]
    ),
)


@dataclass(slots=True)
class Seen:
    """What is in a document: tags, attributes with their values, and its text."""

    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # tag, name, value
    text: str = ""

    def check(self) -> None:
        """Check that nothing is there that the builder doesn't make."""
        assert self.tags <= TAGS, self.tags - TAGS
        assert {name for _, name, _ in self.attributes} <= ATTRIBUTES
        for tag, name, value in self.attributes:
            if name == "href":
                assert tag == "a"
                assert re.match("(?i)https?://[^/]", value)

    def has(self, text: str) -> bool:
        """Say whether a text is shown as it is, but for characters that no page may hold."""
        return clean(text) in self.text


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.tags.add(tag)
        self.seen.attributes += [(tag, name, value or "") for name, value in attrs]
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.seen.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def parsed(html: str) -> Seen:
    """Parse a document and check it."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    parser.seen.check()
    html.encode()  # what can't be written as UTF-8 is no document
    return parser.seen
