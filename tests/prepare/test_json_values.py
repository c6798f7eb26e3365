"""The caller's own JSON: canonical, kept in meaning, or refused with the reason."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, strategies as st

from incarts_pipeline.prepare.json_values import OwnJsonError, canonical_object, canonical_value

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=5))
def test_objects_are_written_as_rfc_8785_says(value: dict[str, Any]) -> None:
    """The quick way and the thorough way write the same text."""
    assert canonical_object(json.dumps(value)) == rfc8785.dumps(value).decode()
    assert canonical_value(value) == rfc8785.dumps(value).decode()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"a": }', "not_json", "line 1, column 7"),
        ('{"a": NaN}', "not_json", "NaN is not JSON"),
        ('{"a": 1, "a": 1}', "duplicate_name", '"a"'),
        ('{"a": {"b": 1, "b": 2}}', "duplicate_name", '"b"'),
        ('{"a": 9007199254740992}', "inexact_number", "9007199254740992"),
        ('{"a": -1' + "0" * 5000 + "}", "inexact_number", "…"),
        ('{"a": 1e999}', "inexact_number", "1e999"),
        ('{"a": "\\ud800"}', "lone_surrogate", "half a character"),
        ('{"\\udc00": 1}', "lone_surrogate", "half a character"),
        ("[" * 66 + "]" * 66, "not_an_object", "a list"),
        ('{"a":' * 65 + "1" + "}" * 65, "too_deep", "64"),
        ('{"a":' * 100_000, "too_deep", "64"),
        ('"text"', "not_an_object", "text"),
        ("12", "not_an_object", "a number"),
        ("true", "not_an_object", "true or false"),
    ],
)
def test_what_would_lose_its_meaning_is_refused(text: str, code: str, message: str) -> None:
    """Each way to lose something has its own code, and the message shows the place."""
    with pytest.raises(OwnJsonError, match=message) as caught:
        canonical_object(text)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["null", "{}", " { } "])
def test_nothing_is_left_out(text: str) -> None:
    """Null and the empty object stand for an absent field."""
    assert canonical_object(text) is None


def test_the_bounds_themselves_are_allowed() -> None:
    """2^53 - 1 and 64 levels are still kept."""
    assert canonical_object('{"a": 9007199254740991}') == '{"a":9007199254740991}'
    deepest = '{"a":' * 64 + "1" + "}" * 64
    assert canonical_object(deepest) == deepest
