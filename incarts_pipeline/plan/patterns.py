"""Patterns: what the changes of one field have in common, proposed from some and counted in all."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile

from incarts_pipeline.differences import ARROW, common_prefix, told
from incarts_pipeline.outgoing import holds_secret, safe

Pair = tuple[str | None, str | None]  # a value as it was, and as it is

_NUMBER = re.compile(r"\d{1,30}", re.ASCII)
_WORD = re.compile(r"\w")
_PROPOSED = 3  # of each form
_LEAST = 2  # changes that have it in common


class Form(Enum):
    """How changes are alike; its value is the condition in SQL, over `old` and `new`."""

    SAME = "old IS NOT DISTINCT FROM $a AND new IS NOT DISTINCT FROM $b"
    ADDED = "old IS NULL"
    REMOVED = "new IS NULL"
    BECOMES = "new = $b"
    BEGINS = (
        "STARTS_WITH(old, $a) AND STARTS_WITH(new, $b) "
        "AND SUBSTR(old, LENGTH($a) + 1) = SUBSTR(new, LENGTH($b) + 1)"
    )
    STEP = (
        "REGEXP_FULL_MATCH(old, '[0-9]{1,30}') AND REGEXP_FULL_MATCH(new, '[0-9]{1,30}') "
        "AND TRY_CAST(new AS HUGEINT) - TRY_CAST(old AS HUGEINT) = $a::HUGEINT"
    )
    ENDS = (
        "SUFFIX(old, $a) AND SUFFIX(new, $b) "
        "AND LEFT(old, LENGTH(old) - LENGTH($a)) = LEFT(new, LENGTH(new) - LENGTH($b))"
    )
    WITHIN = "REPLACE(old, $a, $b) = new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One way in which changes are alike: its form, and the texts that it is about."""

    form: Form
    a: str | None = None
    b: str | None = None

    def parameters(self) -> dict[str, str | None]:
        """Return what its form's condition takes."""
        return {name: value for name, value in (("a", self.a), ("b", self.b)) if self._has(name)}

    def _has(self, name: str) -> bool:
        return f"${name}" in self.form.value

    def __str__(self) -> str:
        a, b = (json.dumps(text or "", ensure_ascii=False) for text in (self.a, self.b))
        match self.form:
            case Form.SAME:
                return f"{told(self.a)} {ARROW} {told(self.b)}"
            case Form.BECOMES:
                return f"becomes {told(self.b)}"
            case Form.ADDED:
                return "added"
            case Form.REMOVED:
                return "taken away"
            case Form.STEP:
                return f"{int(self.a or 0):+,}"
            case Form.WITHIN:
                return f"{a} {ARROW} {b} inside"
        begins = self.form is Form.BEGINS
        if not self.a:
            return f"{b} put {'before' if begins else 'behind'}"
        if not self.b:
            return f"{a} taken from the {'beginning' if begins else 'end'}"
        return f"{'begins' if begins else 'ends'} with {b}, not {a}"


def proposals(pairs: Sequence[Pair]) -> list[Pattern]:
    """Return the patterns that several of some changes have, the plainest form first."""
    counts: dict[Form, Counter[Pattern]] = {form: Counter() for form in Form}
    for old, new in pairs:
        for pattern in set(_of(old, new)):
            counts[pattern.form][pattern] += 1
    return [
        pattern
        for found in counts.values()
        for pattern, n in found.most_common(_PROPOSED)
        if n >= _LEAST
    ]


def _of(old: str | None, new: str | None) -> Iterator[Pattern]:
    """Yield all that a change could be one of."""
    yield Pattern(form=Form.SAME, a=old, b=new)
    if old is None or new is None:
        yield Pattern(form=Form.ADDED if old is None else Form.REMOVED)
        return
    yield Pattern(form=Form.BECOMES, b=new)
    if _NUMBER.fullmatch(old) and _NUMBER.fullmatch(new) and int(old) != int(new):
        yield Pattern(form=Form.STEP, a=str(int(new) - int(old)))
    if not any(map(holds_secret, (old, new))):  # half of one would be shown
        yield from _edits(safe(old), safe(new))


def _edits(old: str, new: str) -> Iterator[Pattern]:
    """Yield what was put in the place of what, exactly and in whole words."""
    first = common_prefix(old, new)
    left = common_prefix(old[first:][::-1], new[first:][::-1])
    wider = _to_word(old[:first][::-1]), _to_word(old[len(old) - left :] if left else "")
    for begin, end in {(first, left), (first - wider[0], left - wider[1])}:
        a, b = old[begin : len(old) - end], new[begin : len(new) - end]
        if begin and end:
            if a and (begin, end) != (first, left) and old.replace(a, b) == new:
                yield Pattern(form=Form.WITHIN, a=a, b=b)
        elif begin or end:  # else the whole value was replaced
            yield Pattern(form=Form.ENDS if begin else Form.BEGINS, a=a, b=b)


def _to_word(text: str) -> int:
    """Return how many characters of a word a text begins with."""
    return sum(1 for _ in takewhile(_WORD.match, text))
