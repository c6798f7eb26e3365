"""Spellings of values: durations, paces, lists of words, as people write them."""

from __future__ import annotations

import re
from dataclasses import asdict

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.models import Limits
from incarts_pipeline.settings.hosts import named_host

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(rf"({_NUMBER.pattern})([smhd])", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str | float) -> float:
    """Return the seconds of a duration like `90`, `90s`, `25m`, `1h30m` or `2d`.

    Raises:
        SettingsError: it is none of these.
    """
    compact = "".join(str(text).lower().split())
    if _NUMBER.fullmatch(compact):
        return float(compact)
    if not _DURATION.fullmatch(compact):
        raise SettingsError(f"{text!r} is not a duration.", fix="Write it like 90s, 25m or 1h30m.")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))


def as_words(value: object) -> object:
    """Return the words of a text that separates them by white space or commas."""
    if isinstance(value, str):
        return frozenset(re.split(r"[\s,]+", value.strip())) - {""}
    return value


def as_rate(value: object) -> object:
    """Return a rate, None for the word none."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def as_pace(value: str) -> str:
    """Return a pace in small letters; raises ValueError for what is none."""
    name, _, number = value.strip().lower().partition(":")
    if (name, number) == ("adaptive", "") or (name, number) == ("fixed", "none"):
        return value.strip().lower()
    if name == "fixed" and _NUMBER.fullmatch(number) and float(number) > 0:
        return value.strip().lower()
    raise ValueError(f"{value!r} is neither adaptive nor fixed:N, N requests a second or none")


def as_duration(value: object) -> float:
    """Return a duration's seconds; raises ValueError for what is none."""
    try:
        return parse_duration(value)  # type: ignore[arg-type]
    except SettingsError as error:
        raise ValueError(str(error).removesuffix(".")) from None


def as_limits(value: Limits) -> Limits:
    """Return limits that are all 1 or more; raises ValueError for others."""
    for name, limit in asdict(value).items():
        if limit < 1:
            raise ValueError(f"{name} must be 1 or more, not {limit}")
    return value


def as_hosts(value: frozenset[str] | None) -> frozenset[str] | None:
    """Return hosts as `host_of` does; raises ValueError for what is none."""
    return None if value is None else frozenset(map(named_host, value))
