"""Digits of keys: how long keys are that have nothing else, as far as a new key may lack zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

_DIGITS = "^[0-9]{2,}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDigits:
    """The columns of `plan.QUIET` of the same names, of any number of row keys."""

    longest: int | None = None
    shortest_padded: int | None = None
    padded_key: str | None = None

    @classmethod
    def of(cls, keys: pa.StringArray) -> Self:
        """Look at some keys."""
        digits = keys.filter(pc.match_substring_regex(keys, _DIGITS).fill_null(False))
        padded = digits.filter(pc.starts_with(digits, "0"))
        lengths = pc.binary_length(padded)
        return cls(
            longest=pc.max(pc.binary_length(digits)).as_py(),
            shortest_padded=pc.min(lengths).as_py(),
            padded_key=pc.min(padded).as_py(),
        )

    @classmethod
    def of_all(cls, parts: Iterable[KeyDigits]) -> Self:
        """Return what keys come to that were looked at in parts."""
        some = list(parts)

        def known(name: str) -> list[Any]:
            return [value for one in some if (value := getattr(one, name)) is not None]

        return cls(
            longest=max(known("longest"), default=None),
            shortest_padded=min(known("shortest_padded"), default=None),
            padded_key=min(known("padded_key"), default=None),
        )
