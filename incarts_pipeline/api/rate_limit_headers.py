"""Rate limit headers: what an answer says of the limit, in every spelling in use. Pure."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping

from incarts_pipeline.models import RateHints, RatePolicy

_MAX_WAIT = 86_400.0  # seconds; a server that asks for more than a day is not believed
_EPOCH_FROM = 1e9  # a number above this is a time of day, not a number of seconds
_EPOCH_MILLISECONDS_FROM = 1e11


def _time(value: object) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = dt.datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


_PREFIXES = ("x-ratelimit-", "ratelimit-", "x-rate-limit-")
# Some tell each unit's limit under a name of its own; what isn't counted in requests is left out.
_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_SUFFIXES = ("", "-requests", *(f"-{unit}" for unit in _UNITS))
_HINT_NAMES = frozenset(
    {"retry-after", "ratelimit", "ratelimit-policy"}
    | {
        prefix + name + suffix
        for prefix in _PREFIXES
        for name in ("limit", "remaining", "reset")
        for suffix in _SUFFIXES
    }
)
_NO_HINTS = RateHints()
_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')
_MOST = 8  # policies

Values = dict[str, float]


def parse_hints(headers: Mapping[str, str], *, now: dt.datetime) -> RateHints:
    """Return what the headers say of the limits; anything that makes no sense is left out.

    Understands Retry-After (RFC 9110 section 10.2.3: seconds or a date), RateLimit and
    RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers: items with parameters since -08, before
    that a dictionary, before that RateLimit-Limit, -Remaining and -Reset), and X-RateLimit-* with a
    reset in seconds, as a Unix time or as a date, also for each unit of time (-Minute). Each policy
    stands by itself; one whose unit (`qu`) isn't requests is left out. Dates are compared with the
    server's own Date, so clocks need not agree.
    """
    if _HINT_NAMES.isdisjoint(headers):
        return _NO_HINTS
    now = _date(headers.get("date")) or now
    found = _standard(headers) or _plain(headers, now)
    policies = [_policy(values) for values in found[:_MOST]]
    return RateHints(
        retry_after=_seconds(headers.get("retry-after"), now),
        policies=tuple(one for one in policies if one != RatePolicy()),
    )


def _policy(values: Values) -> RatePolicy:
    return RatePolicy(
        limit=_count(values.get("q")),
        remaining=_count(values.get("r")),
        reset=_believed(values.get("t")),
        window=_believed(values.get("w")) or None,
    )


def _standard(headers: Mapping[str, str]) -> list[Values]:
    """Return the policies of RateLimit and RateLimit-Policy, with what is left of each."""
    by_name = _items(headers.get("ratelimit-policy", ""))
    states = _items(headers.get("ratelimit", ""))
    if len(older := _dictionary(headers.get("ratelimit", ""))) > 0:
        # It tells of the policy that binds first: the one with its quota, if there are several.
        fits = [name for name, one in by_name.items() if one.get("q") == older.get("q")]
        binding = fits[0] if fits else next(iter(by_name), "")
        by_name[binding] = {**by_name.get(binding, {}), **older}
        states = {}
    others = {name for name, one in by_name.items() if "other unit" in one}
    for name, state in states.items():
        # The only policy needs no name.
        known = name if name in by_name or len(by_name) != 1 else next(iter(by_name))
        by_name[known] = {**by_name.get(known, {}), **state}
        if known in others or "other unit" in state:
            others |= {known}
    return [one for name, one in by_name.items() if name not in others]


def _dictionary(text: str) -> Values:
    """Return what the draft's older form says: limit=100, remaining=50, reset=5."""
    pairs = (item.partition("=") for item in text[:2000].split(","))
    names = {"limit": "q", "remaining": "r", "reset": "t"}
    found = {names.get(key.strip(), ""): _number(value) for key, _, value in pairs}
    return {key: value for key, value in found.items() if key and value is not None}


def _items(text: str) -> dict[str, Values]:
    """Return a structured field's items by name, each with its numeric parameters.

    A name that is a number is the quota, and several such policies are told apart by their window.
    """
    items: dict[str, Values] = {}
    for item in _ITEM.findall(text[:2000]):
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = [part.partition("=")[::2] for part in rest]
        values = {key.strip(): _number(value.strip('"')) for key, value in pairs}
        found = {key: value for key, value in values.items() if value is not None}
        unit = next((value.strip().strip('"') for key, value in pairs if key.strip() == "qu"), "")
        if unit not in ("", "requests"):
            found["other unit"] = 1.0
        quota = _number(name)
        if quota is not None:
            found["q"] = quota
            name = f"{name} {found.get('w')}"
        items[name.strip('"')] = found
    return {name: found for name, found in items.items() if found}


def _plain(headers: Mapping[str, str], now: dt.datetime) -> list[Values]:
    """Return the policies of X-RateLimit-* and the like: one for each unit of time."""
    found = []
    for suffix in _SUFFIXES:
        texts = {
            name: next((t for p in _PREFIXES if (t := headers.get(p + name + suffix))), "")
            for name in ("limit", "remaining", "reset")
        }
        if not any(texts.values()):
            continue
        first, *more = texts["limit"].split(",")
        listed = list(_items(",".join(more)).values())
        values = {
            "q": _number(first.split(";")[0]),
            "r": _number(re.split("[,;]", texts["remaining"])[0]),
            "t": _seconds(texts["reset"], now),
            "w": _UNITS.get(suffix.removeprefix("-")),
        }
        own = {key: value for key, value in values.items() if value is not None}
        found.append(own)
        for one in listed:  # "100, 100;w=60, 1000;w=3600": the first is the one that binds
            if one.get("q") == own.get("q") and "w" in one and "w" not in own:
                own["w"] = one["w"]
            else:
                found.append(one)
    return found


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and value < 1e9 else None


def _believed(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds <= _MAX_WAIT else None


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,15}(?:\.\d{1,6})?\s*", text, re.ASCII):
        return None
    return float(text)


def _seconds(text: str | None, now: dt.datetime) -> float | None:
    """Return the seconds from now of a delay or a time, None when it can't be believed."""
    if not text:
        return None
    seconds = _number(text)
    if seconds is None:
        time = _date(text) or _time(text.strip())
        seconds = (time - now).total_seconds() if time else None
    elif seconds > _EPOCH_FROM:
        unix = seconds / 1000 if seconds > _EPOCH_MILLISECONDS_FROM else seconds
        seconds = unix - now.timestamp()
    return _believed(None if seconds is None else max(0.0, seconds))


def _date(text: str | None) -> dt.datetime | None:
    """Return an HTTP date's time (RFC 9110 section 5.6.7)."""
    try:
        time = email.utils.parsedate_to_datetime(text or "")
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
