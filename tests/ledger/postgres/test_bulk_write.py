"""Arrays as the ledger writes them for PostgreSQL: each value comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.postgres.bulk_write import _word
from incarts_pipeline.models import State

TEXTS = [
    "",
    "NULL",
    "null",
    None,
    " a ",
    '"',
    "\\",
    '\\"',
    "{a,b}",
    "a,b",
    "\n\t",
    "ü 𝄞",
    "'",
    "%s",
]
BYTES = [b"", None, bytes(range(256)), b"\\x00", b'"']
NUMBERS = [0, -1, None, 2**62]
FLOATS = [0.0, -1.5, None, 1.7e9 + 0.123456, 5e-324]
YES_AND_NO = [True, False, None]


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (sa.Text(), "text", TEXTS),
        (sa.LargeBinary(), "bytea", BYTES),
        (sa.BigInteger(), "bigint", NUMBERS),
        (sa.Float(), "float8", FLOATS),
        (sa.Boolean(), "boolean", YES_AND_NO),
    ],
)
def test_values_come_back(engine: sa.Engine, kind: Any, name: str, values: list[Any]) -> None:
    """Whatever signs a text has, and whatever a value looks like."""
    text = f"SELECT unnest(CAST(%(values)s AS {name}[]))"
    with engine.begin() as connection:
        for some in (values, [], *([one, one] for one in values), values[:1]):
            found = connection.exec_driver_sql(text, {"values": _word(kind)(some)}).scalars()
            assert list(found) == some


def test_words_and_nul(engine: sa.Engine) -> None:
    """An enum's member is its value, and PostgreSQL's texts have no NUL."""
    text = "SELECT unnest(CAST(%(values)s AS text[]))"
    values = _word(sa.Text())([State.IN_DOUBT, "a\0b"])
    with engine.begin() as connection:
        found = connection.exec_driver_sql(text, {"values": values}).scalars()
        assert list(found) == ["in_doubt", "a\ufffdb"]
