"""The HTML builder: whatever goes in comes out as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from incarts_pipeline.display.html.html import (
    clean,
    el,
    fragment,
    is_web_url,
    link,
    page,
    render,
    said,
    short_link,
)
from incarts_pipeline.display.html.style import PAGE_STYLE
from tests.support.parsed_html import TEXTS, parsed


@given(TEXTS)
def test_text_is_shown_and_never_run(text: str) -> None:
    """As a child, an attribute or a title, a text makes no element and loses no character."""
    seen = parsed(page(text, el("div", text, said(text), el("svg", el("title", text)))))
    assert seen.tags <= {"html", "head", "meta", "title", "style", "body", "div", "bdi", "svg"}
    assert seen.text == f"\n{clean(text) * 4}\n"
    [*_, (tag, name, value)] = parsed(render(el("p", aria_label=text))).attributes
    assert (tag, name, value) == ("p", "aria-label", clean(text))


@given(TEXTS)
def test_links_lead_to_the_web_or_nowhere(text: str) -> None:
    """Only an http(s) URL becomes a link, to just that address; anything else is its text."""
    for made in (link(text), short_link(text)):
        seen = parsed(render(made))
        hrefs = [value for _, name, value in seen.attributes if name == "href"]
        assert hrefs == ([text] if is_web_url(text) else [])
        assert seen.has(text.partition("://")[2] or text)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " https://in2carts.com/a",
        "https://in2carts.com/a b",
        "https:in2carts.com",
        "https://",
        "http://[::1",
        "data:text/html,<script>",
        "//in2carts.com/a",
        "https://in2carts.com/\x01",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_web_address(url: str) -> None:
    """Other schemes, white space and addresses without a host aren't links."""
    assert not is_web_url(url)


@pytest.mark.parametrize("url", ["https://in2carts.com/a", "HTTP://X.example", "https://é.fr/ü"])
def test_what_is_a_web_address(url: str) -> None:
    """Upper case and letters of other scripts are fine."""
    assert is_web_url(url)


def test_only_known_elements_can_be_made() -> None:
    """A tag, an attribute or a style outside of the closed sets is an error of ours."""
    for tag, attributes in (
        ("script", {}),
        ("img", {}),
        ("a", {"href": "https://in2carts.com"}),
        ("p", {"onclick": "x"}),
        ("p", {"style": "background:url(https://in2carts.com)"}),
        ("p", {"style": "width:10%;color:red"}),
    ):
        with pytest.raises(ValueError, match="used here"):
            el(tag, **attributes)


def test_control_characters_are_shown_as_pictures() -> None:
    """They neither vanish nor steer anything."""
    assert clean("a\x00b\x1bc\x7fd\x85e\ud800") == "a␀b␛c␡d\ufffde\ufffd"
    assert clean("tab\tline\nreturn\r") == "tab\tline\nreturn\r"


def test_stylesheet_touches_nothing_but_the_cards() -> None:
    """Every selector names the cards' root or a whole page of ours, and no rule loads anything."""
    rules = re.sub(r"@(media|page)[^{]*\{", "", PAGE_STYLE)
    for selectors in re.findall(r"([^{}]+)\{", rules):
        for selector in re.split(r",(?![^(]*\))", selectors):
            assert ".incarts" in selector, selector
    assert "url(" not in PAGE_STYLE
    assert "@import" not in PAGE_STYLE
    assert "<" not in PAGE_STYLE
    assert len(fragment(el("p"))) < 8_000
