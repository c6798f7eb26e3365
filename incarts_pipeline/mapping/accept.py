"""Acceptance of suspicions: the codes that a mapping, or a run, lets through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel

from incarts_pipeline.errors import MappingError
from incarts_pipeline.models import SUSPICIONS
from incarts_pipeline.text import Option, OptionText, suggest

M = TypeVar("M", bound=BaseModel)


def parse_accept(value: object) -> tuple[str, ...]:
    """Return codes of suspicions, each once and in one order, so that equal sets are equal.

    Raises:
        ValueError: one is no suspicion; names them.
    """
    codes = [value] if isinstance(value, str) else value
    if not isinstance(codes, list | tuple | set | frozenset):
        raise ValueError(f"must be a list of codes, not {value!r}.")
    known = sorted(SUSPICIONS)
    for code in codes:
        if code not in SUSPICIONS:
            near = suggest(str(code), known)
            raise ValueError(f"{code!r} is no suspicion; they are {', '.join(known)}.{near}")
    return tuple(sorted(map(str, set(codes))))


def accepting(mapping: M, codes: Sequence[str]) -> M:
    """Return a Mapping that accepts more suspicions.

    Raises:
        MappingError: a code is no suspicion.
    """
    if not codes:
        return mapping
    try:
        more = parse_accept([*getattr(mapping, "accept", ()), *codes])
    except ValueError as error:
        raise MappingError(OptionText(Option(name="accept"), f": {error}"), path="accept") from None
    return mapping.model_copy(update={"accept": more})
