"""Bare ampersands: escaped where they begin no reference, however the bytes are cut into blocks."""

from __future__ import annotations

import io
import re

from hypothesis import given, strategies as st

from incarts_pipeline.catalog.xml_text import Ampersands

PARTS = st.sampled_from(
    ["&", "&amp;", "<![CDATA[", "]]>", "<!--", "-->", "a", " ", "<b>", "&#12;", "&x", ";", "x" * 70]
)
BARE = re.compile(
    r"(<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z))"
    r"|&(?!(?:[A-Za-z_][\w.-]{0,39}|#\d{1,9}|#x[0-9a-fA-F]{1,9});)",
    re.DOTALL,
)


@given(st.lists(PARTS).map("".join), st.integers(1, 20))
def test_ampersands_are_found_across_blocks(text: str, size: int) -> None:
    """The whole text at once and its blocks one by one are escaped alike, and counted."""
    text = f"<r>{text}"
    wanted = BARE.sub(lambda found: found[1] or "&amp;", text)
    stream = Ampersands(io.BytesIO(text.encode()))
    assert b"".join(iter(lambda: stream.read(size), b"")).decode() == wanted
    assert len(wanted) - len(text) == 4 * stream.escaped
