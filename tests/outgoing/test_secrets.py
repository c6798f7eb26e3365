"""Secrets are found and hidden in every spelling, and everyday words are left alone."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pyarrow as pa
import pytest

from incarts_pipeline.outgoing import (
    MASK,
    SHAPE,
    column_without_secrets,
    columns_without_secrets,
    holds_secret,
    keep_credentials,
    keep_secret,
    rows_with_secrets,
    safe_content,
    without_secrets,
)
from tests.support.canaries import SPELLINGS, found_in

SHAPED = "ic_live_Qz7+kV/x3WmRt9_HbN4p"
UNSHAPED = "Zr8+qL/v5XnTy2_GcM6sKd-w"


@pytest.fixture(autouse=True)
def _known() -> None:
    keep_secret(UNSHAPED)


@pytest.mark.parametrize("secret", [SHAPED, UNSHAPED])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_hidden_in_every_spelling(secret: str, spelling: str) -> None:
    """Only the secret gives way to a mask; what stands around it stays."""
    text = f'before "{SPELLINGS[spelling](secret)}" behind'
    masked = without_secrets(text)
    assert found_in(text, secret)
    assert not found_in(masked, secret)
    assert masked.startswith('before "')
    assert masked.endswith('" behind')
    assert MASK in masked or SHAPE in masked


@pytest.mark.parametrize("first", SPELLINGS)
@pytest.mark.parametrize("second", ["percent", "json", "entities", "percent, odd ones"])
def test_a_spelling_of_a_spelling_hides_nothing(first: str, second: str) -> None:
    """A secret that is spelled twice over is not shown."""
    text = SPELLINGS[second](SPELLINGS[first](UNSHAPED))
    assert not found_in(without_secrets(f"a {text} b"), UNSHAPED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "export INCARTS_API_KEY=ic_live_…",
        "a basic_live_example of public_test_cases",
        "https://www.walmart.com/sc/cart/addToCart?items=123456789_1&x=%2F%20",
        "C:\\new\\tables\\u0041 &amp; caf\u00e9 &lt;b&gt;",
        "0f" * 32,
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Nothing is taken for a secret that is none."""
    assert without_secrets(text) == text


def test_a_short_secret_is_hidden_as_a_word() -> None:
    """A password of four to seven characters doesn't cost other words a part."""
    keep_secret("pear7")
    assert without_secrets("user:pear7@host, appear7") == f"user:{MASK}@host, appear7"
    keep_secret("abc")
    assert without_secrets("abc") == "abc"


def test_the_masks_own_word_is_no_secret() -> None:
    """A password `secret` would have every text give way that has a mask in it."""
    keep_secret("secret")
    assert without_secrets(f"user:{MASK}@host: a secret") == f"user:{MASK}@host: a secret"


def test_columns_are_searched_as_texts_are() -> None:
    """The search over whole columns finds the same rows, in lists and structs too."""
    said = [spell(UNSHAPED) for spell in SPELLINGS.values()]
    column = pa.array(["fine", *said, None, "x & y %20"])
    assert rows_with_secrets(column) == list(range(1, len(said) + 1))
    cleaned = column_without_secrets(column).to_pylist()
    assert not any(holds_secret(text) for text in cleaned if text)
    assert cleaned[0] == "fine"
    nested = pa.array([[{"field": "name", "message": f"it is {UNSHAPED}"}], None])
    assert column_without_secrets(nested).to_pylist()[0][0]["message"] == f"it is {MASK}"
    assert column_without_secrets(nested.slice(1)) == nested.slice(1)


@pytest.mark.parametrize("at", range(4))
def test_columns_are_searched_together_as_one_by_one(at: int) -> None:
    """A secret in one of many columns, of whatever kind, is masked there, and nothing else is."""
    kinds = (pa.string(), pa.large_string(), pa.list_(pa.string()), pa.struct([("a", pa.string())]))

    def table(text: str) -> list[pa.Array]:
        values = [["", None], ["x", None], [["y", None], None], [{"a": "z"}, None]]
        values[at][0] = (text, text, [text], {"a": text})[at]
        columns = [pa.array(column, kind) for column, kind in zip(values, kinds, strict=True)]
        return [*columns, pa.array([1, 2])]

    assert columns_without_secrets(table("fine")) == table("fine")
    assert columns_without_secrets(table(f"it is {UNSHAPED}")) == table(f"it is {MASK}")


def test_json_is_cleaned_whole() -> None:
    """Names and values at any depth, also of credentials in URIs."""
    given = {UNSHAPED: [{"a": (UNSHAPED, 1, None)}], "to": "s3://u:p@b/x"}
    assert safe_content(given) == {MASK: [{"a": [MASK, 1, None]}], "to": "s3://…@b/x"}


def test_no_number_of_uris_makes_a_key_known() -> None:
    """Credentials of URIs come and go; a key stays hidden, and so do the latest credentials."""
    for number in range(200):
        keep_credentials(f"s3://b/x?secret_key=passing-{number:04}")
    assert without_secrets(f"{UNSHAPED} passing-0199") == f"{MASK} {MASK}"
    assert rows_with_secrets(pa.array([UNSHAPED, "passing-0198", "passing"])) == [0, 1]


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


PACKED: dict[str, Callable[[str], str]] = {
    "base64 twice": lambda s: _coded(_coded(s.encode()).encode()),
    "base64 of UTF-16": lambda s: _coded(s.encode("utf-16-le")),
    "base64 of another case": lambda s: _coded(s.upper().encode()),
    "base64 of hexadecimal": lambda s: _coded(s.encode().hex().encode()),
    "base64 of percent": lambda s: _coded("".join(f"%{ord(c):02x}" for c in s).encode()),
    "base64 of base64 for URLs": lambda s: _coded(base64.urlsafe_b64encode(b"?" + s.encode())),
    "base64 in lines": lambda s: re.sub(r"(.{12})", "\\1\\n", _coded(s.encode())),
    "base64 in a path": lambda s: f"https://in2.com/{_coded(s.encode('utf-16-be'))}",
    "hexadecimal of base64": lambda s: _coded(s.encode()).encode().hex(),
    "hexadecimal of UTF-16": lambda s: s.encode("utf-16-be").hex(),
    "hexadecimal with colons": lambda s: s.encode().hex(":"),
    "hexadecimal with spaces": lambda s: s.encode().hex(" "),
    "hexadecimal numbers": lambda s: ", ".join(f"0x{ord(c):02x}" for c in s),
    "percent u": lambda s: "".join(f"%u{ord(c):04X}" for c in s),
    "braces": lambda s: "".join(f"\\x{{{ord(c):02x}}}" for c in s),
    "entities many times": lambda s: "".join(f"&{'amp;' * 7}#{ord(c)};" for c in s),
    "percent many times": lambda s: "".join(f"%{'25' * 7}{ord(c):02x}" for c in s),
}
UNSEEN_ONES = "\x01\x07\x7f\x85\u034f\u061c\u115f\u17b4\u180b\u180e\u2028\u202e\u2065\u206a\u2800"
UNSEEN_ONES += "\u3164\ufe00\ufe0f\uffa0\ufff9\U0001d173\U000e0001\U000e0100\u0600\n"


@pytest.mark.parametrize("secret", [SHAPED, UNSHAPED])
@pytest.mark.parametrize("packing", PACKED)
def test_a_secret_is_hidden_however_it_is_packed(secret: str, packing: str) -> None:
    """Base64 and digits are unpacked before it is said that they hold nothing."""
    text = f'before "{PACKED[packing](secret)}" behind'
    masked = without_secrets(text)
    assert holds_secret(text)
    assert not holds_secret(masked)
    assert PACKED[packing](secret)[-16:] not in masked
    assert rows_with_secrets(pa.array(["fine", text])) == [1]


@pytest.mark.parametrize("secret", [SHAPED, UNSHAPED])
def test_no_unseen_character_hides_a_secret(secret: str) -> None:
    """Whatever a screen doesn't show may stand between a secret's characters."""
    for one in UNSEEN_ONES:
        text = f"before {one.join(secret)} behind"
        assert not holds_secret(without_secrets(text)), hex(ord(one))
        assert without_secrets(text) != text, hex(ord(one))
        assert rows_with_secrets(pa.array([text])) == [0], hex(ord(one))


def test_what_never_ends_to_be_spelled_gives_way() -> None:
    """A text that is still spelled after twelve layers isn't told."""
    assert without_secrets("&" + "amp;" * 40 + "x") == MASK
    assert without_secrets("&" + "amp;" * 5 + "x") == "&" + "amp;" * 5 + "x"
    assert without_secrets(_coded(bytes(range(256)))) == _coded(bytes(range(256)))
