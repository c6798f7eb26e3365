"""Words for people: numbers, options as each way in spells them, what a misspelt name may mean."""

from __future__ import annotations

import datetime as dt
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LINE_BREAK = "\n"


class Surface(Enum):
    """Where a person reads a text, and would follow its advice."""

    SHELL = "shell"
    PYTHON = "python"
    DAGSTER = "dagster"  # in YAML: a run's config, or a component's attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option to name in a text, with what to give it: a value, or True for a switch.

    `stand_in` is what the shell shows for the value, as its help does; `argument` is the name in
    Python and Dagster, where that is another one. `of_reading` is for what says how a catalog is
    read: no function over frames and no component takes it, but `open_catalog` and a mapping do.
    """

    name: str
    value: str | bool | Sequence[str] | None = None
    stand_in: str | None = None
    argument: str | None = None
    of_reading: bool = False

    def spelled(self, surface: Surface) -> str:
        """Return the option as a person would write it there."""
        if surface is Surface.SHELL:
            given = self.stand_in or (self.value if isinstance(self.value, str) else None)
            return " ".join(filter(None, ("--" + self.name.replace("_", "-"), given)))
        if self.of_reading:
            return self._spelled_of_reading(surface)
        name = self.argument or self.name
        if self.value is None:
            return name
        if surface is Surface.PYTHON:
            return f"{name}={self.value if self.value is True else json.dumps(self.value)}"
        return f"{name}: {json.dumps(self.value)}"

    def _spelled_of_reading(self, surface: Surface) -> str:
        value = json.dumps(self.value or self.stand_in)
        in_mapping = f"the mapping's read.{self.name}"
        if surface is Surface.PYTHON:
            if value == "null":
                return f"open_catalog's {self.name}, or {in_mapping},"
            return f"open_catalog(path, {self.name}={value})"
        return in_mapping if value == "null" else f"`read: {{{self.name}: {value}}}` in the mapping"


class OptionText(str):
    """A text that names options: itself as the shell spells them, `spelled` for the other ways in.

    A formatted or stripped one is a plain text, the shell's; to put one into another, make a new
    one of both.
    """

    __slots__ = ("parts",)

    parts: tuple[str | Option, ...]

    def __new__(cls, *parts: str | Option) -> OptionText:
        """Join texts and options."""
        shell = (part if isinstance(part, str) else part.spelled(Surface.SHELL) for part in parts)
        text = super().__new__(cls, "".join(shell))
        text.parts = parts
        return text


def options_in(text: str) -> Iterator[Option]:
    """Yield the options that a text names, in its order."""
    for part in text.parts if isinstance(text, OptionText) else ():
        if isinstance(part, Option):
            yield part
        else:
            yield from options_in(part)


def spelled(text: str, surface: Surface) -> str:
    """Return a text with its options as they are spelled there; any other text as it is."""
    if not isinstance(text, OptionText):
        return text
    return "".join(
        spelled(part, surface) if isinstance(part, str) else part.spelled(surface)
        for part in text.parts
    )


def respelled(text: str, surface: Surface) -> OptionText:
    """Return the same for good: a text of the same lines, whose options have their spelling."""
    parts = text.parts if isinstance(text, OptionText) else (text,)
    return OptionText(
        *(
            respelled(part, surface)
            if isinstance(part, OptionText)
            else part
            if isinstance(part, str)
            else part.spelled(surface)
            for part in parts
        )
    )


def each_part(text: str, change: Callable[[str], str]) -> str:
    """Return a text with each of its parts changed that is no option, nor a line break between two.

    So whoever makes a text of several lines joins them by `joined`; a line break inside of a part
    came with a value.
    """
    if not isinstance(text, OptionText):
        return change(text)
    parts = (
        each_part(part, change) if isinstance(part, str) and part != LINE_BREAK else part
        for part in text.parts
    )
    return OptionText(*parts)


def joined(separator: str, texts: Sequence[str]) -> OptionText:
    """Return texts as one, whose options can still be spelled; at `LINE_BREAK`, as lines."""
    parts = [part for text in texts for part in (separator, text)]
    return OptionText(*parts[1:])


def counted(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, like `1 request` or `2,000 requests`.

    Args:
        n: the count.
        one: the noun in the singular.
        many: its plural, where that isn't `one` with an s.
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a time in words: 48 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    parts += [f"{left} s" if left and not hours else ""]
    return " ".join(part for part in parts if part)


def clock_time(at: dt.datetime, now: dt.datetime | None = None) -> str:
    """Return a moment for people, in UTC: the time alone when it is today, as `now` has it."""
    day = "" if now is not None and at.date() == now.date() else f"{at:%Y-%m-%d} "
    return f"{day}{at:%H:%M:%S} UTC"


def shortened(text: str, most: int = 80) -> str:
    """Return the beginning of a text, as much of it as a message should quote."""
    return text if len(text) <= most else f"{text[:most]}…"


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest candidate, or an empty string."""
    known = list(candidates)
    # `SKU` for `sku` is the commonest slip, and letters of another case count as other letters.
    by_lower = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_lower, n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[near[0]]}"?' if near else ""


def suggest_file(path: Path) -> str:
    """Return the same for a path that doesn't exist, from what is in its folder."""
    try:
        if path.is_symlink():
            return f" It is a link to {path.readlink()}, which doesn't exist."
        return suggest(path.name, sorted(one.name for one in path.parent.iterdir()))
    except OSError:  # no folder, or none that can be looked into
        return ""
