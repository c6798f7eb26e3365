"""Texts in Markdown: they read as they are, wherever they stand, and make nothing of themselves."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st
from markdown_it import MarkdownIt

from incarts_pipeline.outgoing import in_markdown, shown

# What GitHub's flavour makes links of once a page is parsed, where a text has it outside of code.
LINKED = re.compile(
    r"(?:https?://|ftp://|mailto:|xmpp:|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(?:\.[-\w]+)+", re.I
)
PIECES = [
    *r"\`*_[]()<>&~|$!#+-=:.",
    *("1.", "1)", ">", "---", "```", "~~~", r"\|", r"\\|", "`|", "&amp;", "&#124;", "a", " ", "  "),
    *("https://x.example/a_b", "www.x.example", "a@x.example", "![a](b)", "[a](b)", "[^1]", "[ ]"),
    *("<b>", "<!-- -->", "<https://x.example>", "**a**", "~~a~~", "$a$", "\t", "\n", "www.", "://"),
    *("\x1b[31m", "\u202e", "\u00a0", "\u2003", "é", "`a`://`", "|https://x|y|"),
]
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TABLE = "| a | b |\n|---|---|\n| {} | c |"


def rendered(source: str) -> tuple[list[str], str, str]:
    """Return the kinds of all tokens, their text, and that outside of code."""
    kinds, inline = [], []
    for token in MARKDOWN.parse(source):
        kinds.append(token.type)
        if token.type == "inline":
            inline.append(token.children or [])
    parts = [(one.type, one.content) for children in inline for one in children]
    kinds += [kind for kind, _ in parts]
    plain = "\0".join(text for kind, text in parts if kind != "code_inline")
    return kinds, "".join(text for _, text in parts), plain


texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))


@given(texts)
def test_a_text_in_a_cell_is_that_text(text: str) -> None:
    """It ends no cell, and is no element but code where it would have become a link."""
    kinds, found, plain = rendered(TABLE.format(in_markdown(text)))
    assert found == f"ab{shown(text)}c"
    assert kinds.count("td_open") == 2
    assert {one for one in kinds if not one.startswith(("t", "inline"))} <= {"code_inline"}
    assert not LINKED.search(plain.replace("\0", " "))


@given(texts.filter(bool))
def test_a_text_in_a_paragraph_is_that_text(text: str) -> None:
    """No heading, list, quote or rule begins with it, and it has no emphasis, link or image."""
    kinds, found, plain = rendered(f"\n{in_markdown(text)}\n")
    assert found == shown(text)
    assert set(kinds) <= {"paragraph_open", "inline", "paragraph_close", "text", "code_inline"}
    assert not LINKED.search(plain.replace("\0", " "))


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b", "a&#124;b"),
        ("in_doubt", r"in\_doubt"),
        ("# 1", "&#35; 1"),
        ("see https://x.example/a|b", "see `https://x.example/a`&#124;`b`"),
        ("12 rows, as planned.", "12 rows, as planned."),
    ],
)
def test_what_is_usual_can_be_read_unrendered(text: str, markdown: str) -> None:
    """Logs show it as it is."""
    assert in_markdown(text) == markdown
