"""Secrets are found and hidden in every spelling, and everyday words are left alone."""

from __future__ import annotations

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
