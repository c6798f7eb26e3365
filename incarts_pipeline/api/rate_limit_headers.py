"""Rate limit headers: what an answer says of the limit, in every spelling in use. Pure."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping

from incarts_pipeline.models import RateHints

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
_HINT_NAMES = frozenset(
    {"retry-after", "ratelimit", "ratelimit-policy"}
    | {prefix + name for prefix in _PREFIXES for name in ("limit", "remaining", "reset")}
)
_NO_HINTS = RateHints()
_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')


def parse_hints(headers: Mapping[str, str], *, now: dt.datetime) -> RateHints:
    """Return what the headers say of the limit; anything that makes no sense is left out.

    Understands Retry-After (RFC 9110 section 10.2.3: seconds or a date), RateLimit and
    RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers: items with parameters since -08, before
    that a dictionary, before that RateLimit-Limit, -Remaining and -Reset), and X-RateLimit-* with a
    reset in seconds, as a Unix time or as a date. Of several limits it returns the one that has the
    least left. Dates are compared with the server's own Date, so clocks need not agree.
    """
    if _HINT_NAMES.isdisjoint(headers):
        return _NO_HINTS
    now = _date(headers.get("date")) or now
    state, policy = _binding(
        headers.get("ratelimit", ""),
        headers.get("ratelimit-policy") or headers.get("ratelimit-limit", ""),
    )
    return RateHints(
        retry_after=_seconds(headers.get("retry-after"), now),
        limit=_count(_first(state.get("limit"), policy.get("q"), _plain_hint(headers, "limit"))),
        remaining=_count(
            _first(state.get("r"), state.get("remaining"), _plain_hint(headers, "remaining"))
        ),
        reset=_first(_believed(_first(state.get("t"), state.get("reset"))), _reset(headers, now)),
        window=_believed(policy.get("w")) or None,
    )


def _binding(states: str, policies: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parameters of the limit with the least left, and of its policy."""
    found = _items(states)
    by_name = {name: {"q": _number(name), **values} for name, values in _items(policies)}
    known = [{k: v for k, v in values.items() if v is not None} for values in by_name.values()]
    quota = min(known, key=_pace, default={})
    if not any(values for _, values in found):
        # The draft's older dictionary: limit=100, remaining=50, reset=5
        pairs = (name.partition("=") for name, _ in found)
        older = {key.strip(): _number(value) for key, _, value in pairs}
        return {key: value for key, value in older.items() if value is not None}, quota
    name, state = min(found, key=lambda item: item[1].get("r", float("inf")))
    own = by_name.get(name)
    if own is not None:
        quota = {key: value for key, value in own.items() if value is not None}
    return state, quota


def _pace(policy: Mapping[str, float]) -> float:
    return policy.get("q", float("inf")) / max(policy.get("w", 1.0), 1e-3)


def _items(text: str) -> list[tuple[str, dict[str, float]]]:
    """Return the items of a structured field's list, each with its numeric parameters."""
    items = []
    for item in _ITEM.findall(text[:2000]):
        name, *rest = item.split(";")
        pairs = (part.partition("=") for part in rest)
        numbers = {key.strip(): _number(value) for key, _, value in pairs}
        values = {key: value for key, value in numbers.items() if value is not None}
        items.append((name.strip().strip('"'), values))
    return items


def _plain_hint(headers: Mapping[str, str], name: str) -> float | None:
    texts = (headers.get(prefix + name) for prefix in _PREFIXES)
    return _first(*(_number(re.split("[,;]", text)[0]) for text in texts if text))


def _reset(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    return _first(*(_seconds(headers.get(prefix + "reset"), now) for prefix in _PREFIXES))


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


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
