"""Characters that a screen would obey are shown as what they are."""

from __future__ import annotations

import unicodedata

import pytest

from incarts_pipeline.errors import IncartsError
from incarts_pipeline.outgoing import shown, shown_lines, visible
from incarts_pipeline.text import LINE_BREAK, Option, OptionText, Surface, joined


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain text", "plain text"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("3\nINFO forged\r\t", r"3\nINFO forged\r\t"),
        ("\x9b2J\x7f\x00", r"\x9b2J\x7f\x00"),
        ("\u202egnp", "⟨U+202E⟩gnp"),
        ("a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("SKU\ufe0f1\ufe00\u2800", "SKU⟨U+FE0F⟩1⟨U+FE00⟩⟨U+2800⟩"),
        ("1\ufe0f", "1⟨U+FE0F⟩"),
        ("\u2764\ufe0f\ufe0f", "\u2764\ufe0f⟨U+FE0F⟩"),
        (
            "Love \u2764\ufe0f \u263a\ufe0e 1\ufe0f\u20e3",
            "Love \u2764\ufe0f \u263a\ufe0e 1\ufe0f\u20e3",
        ),
        ("Café 海苔 زيت 🛒 &nbsp;\u00a0", "Café 海苔 زيت 🛒 &nbsp;\u00a0"),
    ],
)
def test_what_is_shown(text: str, seen: str) -> None:
    """What would be obeyed or be invisible has a name; all other writing is as it was."""
    assert visible(text) == seen
    assert shown(text) == seen


def test_every_control_and_direction_has_a_name() -> None:
    """No character of Unicode's controls, surrogates and separators passes, nor a change of way."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(0x110000):
        one = chr(code)
        kind = unicodedata.category(one)
        if kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(one) in turning:
            assert visible(one) != one, hex(code)


def test_lines_of_our_own_stay_lines() -> None:
    """Whoever joins lines has them; a line break in a value is none."""
    told = joined(LINE_BREAK, ["first: a\nINFO forged", "second"])
    assert str(IncartsError(told)) == "first: a\\nINFO forged\nsecond"
    assert str(IncartsError("x\ny", fix="z\x1b")) == r"x\ny z\x1b"
    assert shown_lines("a\x1b\nb") == "a\\x1b\nb"


def test_options_are_still_spelled_in_shown_errors() -> None:
    """An error's options are named as each way in spells them, whatever its values are."""
    error = IncartsError("a\x07b", fix=OptionText("Say ", Option(name="max_rps", value="3"), "."))
    assert error.told(Surface.SHELL) == r"a\x07b Say --max-rps 3."
    assert error.told(Surface.PYTHON) == 'a\\x07b Say max_rps="3".'
