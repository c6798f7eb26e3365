"""What an HTTP answer means. Pure: bytes and headers in, values out, and nothing here raises.

The API's error shape is not published, so every shape in use is understood: `{"error": {...}}`,
`{"error": "text"}`, `{"code", "message"}`, RFC 9457 problem documents, HTML from a proxy, nothing.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import re
from collections.abc import Mapping
from typing import Any

from incarts_pipeline import errors
from incarts_pipeline.errors import ApiError, ApiProblem
from incarts_pipeline.models import Answer, AnswerKind, Link, QrCode, RateHints

_MAX_MESSAGE = 300
_MAX_WAIT = 7 * 86_400.0  # seconds; a server that asks for more is not believed
_EPOCH_FROM = 1e9  # a reset above this is a time of day, not a number of seconds

_BY_STATUS = {
    401: AnswerKind.UNAUTHORIZED,
    403: AnswerKind.FORBIDDEN,
    409: AnswerKind.CONFLICT,
    429: AnswerKind.RATE_LIMITED,
}
_REFUSED = frozenset({400, 413, 422})
# A 408 or 425 may come from a proxy after the request went on; nothing is known then.
_UNCLEAR = frozenset({408, 421, 425, 499})


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, correlation_id: str, now: dt.datetime
) -> Answer:
    """Say what the answer to a create call means for exactly-once.

    A 400 or 422 parks a row for good, so it counts only when the body is the API's own; the same
    status with an HTML page comes from something in front of it, and is the wrong endpoint.
    """
    content = _json(body)
    link = parse_link(content) if 200 <= status < 300 else None
    if link is not None:
        kind, problem = AnswerKind.LINK, None
    else:
        problem = parse_error(status, headers, body)
        kind = _kind(status, body, content)
    return Answer(
        kind=kind,
        correlation_id=correlation_id,
        status=status,
        link=link,
        echoed_id=headers.get("x-correlation-id"),
        error_code=problem.code if problem else None,
        error_message=problem.message if problem else None,
        hints=parse_hints(headers, now=now),
    )


def _kind(status: int, body: bytes, content: object) -> AnswerKind:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in _REFUSED:
        foreign = bool(body.strip()) and not isinstance(content, dict)
        return AnswerKind.WRONG_ENDPOINT if foreign else AnswerKind.REFUSED
    if 300 <= status < 500 and status not in _UNCLEAR:
        return AnswerKind.WRONG_ENDPOINT
    return AnswerKind.UNKNOWN


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def parse_link(content: object) -> Link | None:
    """Return the link in `{"data": link}`, None when there is no usable id."""
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        return None
    link_id = _text(data.get("id"))
    if link_id is None or not 3 <= len(link_id) <= 128:
        return None
    return Link(
        id=link_id,
        project_id=_text(data.get("projectId")),
        name=_text(data.get("name")),
        public_name=_text(data.get("publicName")),
        retailer=_text(data.get("retailer")),
        intent=_text(data.get("intent")),
        status=_text(data.get("status")),
        short_link=_text(data.get("shortLink")),
        short_id=_text(data.get("shortId")),
        target_url=_text(data.get("targetUrl")),
        created_at=_time(data.get("createdAt")),
        qr_code=parse_qr_code(data.get("qrCode")),
        raw=data,
    )


def parse_qr_code(data: object) -> QrCode | None:
    """Return a QR code object, None when there is no usable id."""
    code_id = _text(data.get("id")) if isinstance(data, dict) else None
    if not isinstance(data, dict) or code_id is None:
        return None
    default = data.get("isDefault")
    return QrCode(
        id=code_id,
        link_id=_text(data.get("linkId")),
        name=_text(data.get("name")),
        identifier=_text(data.get("identifier")),
        image_url=_text(data.get("imageUrl")),
        encoded_url=_text(data.get("encodedUrl")),
        is_default=default if isinstance(default, bool) else None,
        created_at=_time(data.get("createdAt")),
    )


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiProblem:
    """Return what an error answer said, in whatever shape."""
    content = _json(body)
    code: str | None = None
    message: str | None = None
    details: object = None
    if isinstance(content, dict):
        inner = content.get("error")
        source = inner if isinstance(inner, dict) else content
        code = _text(source.get("code")) or _text(source.get("type"))
        said = (source.get(name) for name in ("message", "detail", "title", "error"))
        message = next((text for text in map(_text, said) if text), None)
        details = source.get("details", source.get("errors"))
    elif body:
        message = _plain(body)
    return ApiProblem(
        status=status,
        code=_short(code),
        message=_short(message),
        details=details,
        correlation_id=headers.get("x-correlation-id"),
        retry_after=parse_hints(headers, now=dt.datetime.now(dt.UTC)).retry_after,
    )


def _plain(body: bytes) -> str:
    text = body[:4000].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    if title:
        return f"a web page: {title.group(1)}"
    return "a web page" if "<html" in text.lower() else text


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean[:_MAX_MESSAGE] or None


def _text(value: object) -> str | None:
    """Return a string that Arrow and SQLite can store, None for anything else."""
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "replace").decode()


def _time(value: object) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = dt.datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def parse_hints(headers: Mapping[str, str], *, now: dt.datetime) -> RateHints:
    """Return what the headers say of the limit; anything that makes no sense is left out.

    Understands Retry-After (RFC 9110: seconds or a date), RateLimit and RateLimit-Policy (the IETF
    draft, both its structured forms) and X-RateLimit-* with a reset in seconds or as a time.
    """
    limit = _number(headers.get("x-ratelimit-limit") or headers.get("ratelimit-limit"))
    remaining = _number(headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining"))
    reset = _number(headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset"))
    window: float | None = None
    item, policy = headers.get("ratelimit"), headers.get("ratelimit-policy")
    if item:
        remaining = _parameter(item, "r", "remaining") or remaining
        reset = _parameter(item, "t", "reset") or reset
        limit = _parameter(item, "limit") or limit
    if policy:
        limit = _parameter(policy, "q") or _number(policy.split(";")[0]) or limit
        window = _parameter(policy, "w")
    if reset is not None and reset > _EPOCH_FROM:
        reset = max(0.0, reset - now.timestamp())
    return RateHints(
        retry_after=_retry_after(headers.get("retry-after"), now),
        limit=int(limit) if limit is not None and limit < 1e9 else None,
        remaining=int(remaining) if remaining is not None and remaining < 1e9 else None,
        reset=reset if reset is not None and reset <= _MAX_WAIT else None,
        window=window if window is not None and 0 < window <= _MAX_WAIT else None,
    )


def _parameter(text: str, *names: str) -> float | None:
    for name in names:
        found = re.search(rf"(?:^|[;,\s]){name}=(\d+(?:\.\d+)?)", text)
        if found:
            return _number(found.group(1))
    return None


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,15}(?:\.\d{1,6})?\s*", text, re.ASCII):
        return None
    return float(text)


def _retry_after(text: str | None, now: dt.datetime) -> float | None:
    if text is None:
        return None
    seconds = _number(text)
    if seconds is None:
        if re.fullmatch(r"\s*-\d{1,15}(?:\.\d{1,6})?\s*", text, re.ASCII):
            return 0.0
        try:
            until = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=dt.UTC)
        seconds = (until - now).total_seconds()
    return min(max(0.0, seconds), _MAX_WAIT)


_ERRORS: dict[int, tuple[type[ApiError], str]] = {
    400: (errors.BadRequestError, "Correct the request; the message names what is malformed."),
    401: (errors.UnauthorizedError, "Set INCARTS_API_KEY to a valid key of this target."),
    403: (errors.ForbiddenError, "Use a key with access to this project and scope."),
    404: (errors.NotFoundError, "Check the id, and that the key may see it."),
    409: (errors.ConflictError, "Look at what exists under that key or identifier."),
    413: (errors.BadRequestError, "Make the body smaller."),
    422: (errors.UnprocessableError, "Correct what the message names; the same will fail again."),
    429: (errors.RateLimitedError, "Wait, then go on more slowly."),
}


def error_for(problem: ApiProblem) -> ApiError:
    """Return the exception for an error answer."""
    kind: type[ApiError]
    if problem.status in _ERRORS:
        kind, fix = _ERRORS[problem.status]
    elif problem.status >= 500:
        kind, fix = errors.ServerError, "Try again under the same idempotency key."
    else:
        kind = errors.UnexpectedAnswerError
        fix = "Check INCARTS_API_BASE_URL: what answers there is not the Incarts API."
    return kind(problem, fix=fix)


def as_dict(data: object) -> dict[str, Any]:
    """Return the object under `data`, empty when there is none."""
    inner = data.get("data") if isinstance(data, dict) else None
    return inner if isinstance(inner, dict) else {}
