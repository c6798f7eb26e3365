"""Responses: what an HTTP answer means. Pure: bytes and headers in, values out; nothing raises.

The API's error shape is not published, so every shape in use is understood: `{"error": {...}}`,
`{"error": "text"}`, `{"code", "message"}`, RFC 9457 problem documents, lists of errors, HTML from a
proxy, nothing. Headers are mappings with names in lower case, or `httpx.Headers`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from incarts_pipeline import errors
from incarts_pipeline.api.rate_limit_headers import _time, parse_hints
from incarts_pipeline.errors import ApiError, ApiProblem
from incarts_pipeline.models import Answer, AnswerKind, Link, QrCode
from incarts_pipeline.outgoing import MASK

_MAX_MESSAGE = 300
_ID = re.compile(r"[!-~]{3,128}")

_BY_STATUS = {
    401: AnswerKind.UNAUTHORIZED,
    409: AnswerKind.CONFLICT,
    429: AnswerKind.RATE_LIMITED,
}
_REFUSED = frozenset({400, 413, 422})
# These are given before anything is done. Not among them: 303, which says that a POST was carried
# out and where to look, and 302, which most servers mean as 303; 408, 421, 425 and 499, which a
# proxy may give after passing a request on.
_NOT_THERE = frozenset({300, 301, 304, 305, 307, 308}) | {
    *(404, 405, 406, 407, 410, 411, 414, 415, 417, 426, 431, 451),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, read to its end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> object:
        """The parsed body, None when it is not JSON."""
        return _json(self.body)

    def problem(self, ours: str) -> ApiProblem:
        """Return what it says went wrong; `ours` is the correlation id that was sent."""
        said = parse_error(self.status, self.headers, self.body, now=dt.datetime.now(dt.UTC))
        return replace(said, correlation_id=said.correlation_id or ours)


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    correlation_id: str,
    now: dt.datetime,
    read: Callable[[object], Link | QrCode | None] | None = None,
    of_link: bool = False,
) -> Answer:
    """Say what the answer to a create call means for exactly-once.

    A refusal parks a row until its content changes, so 400, 413 and 422 count as one only when the
    API itself speaks: in JSON, or echoing our correlation id. An HTML page, or an empty answer
    without the echo, comes from something in front of it, as does a 403 with an HTML page. Where a
    call is about one link (`of_link`), the API's own 404 says that there is no such link, and is a
    refusal too.

    Args:
        status: the HTTP status.
        headers: the answer's.
        body: the answer's, whole or cut off.
        correlation_id: the one that was sent.
        now: the time of arrival; only used when the answer has no Date.
        read: finds what was made or read in the parsed body; by default `parse_link`.
        of_link: whether the path names a link.
    """
    content = _json(body)
    made = (read or parse_link)(content) if 200 <= status < 300 else None
    echoed_id = _short(headers.get("x-correlation-id"))
    hints = parse_hints(headers, now=now)
    if made is not None:
        return Answer(
            kind=AnswerKind.LINK,
            correlation_id=correlation_id,
            status=status,
            made=made,
            echoed_id=echoed_id,
            hints=hints,
        )
    problem = parse_error(status, headers, body, now=now)
    return Answer(
        kind=_kind(status, body, echoed=echoed_id == correlation_id, of_link=of_link),
        correlation_id=correlation_id,
        status=status,
        echoed_id=echoed_id,
        error_code=problem.code,
        error_message=problem.message,
        is_own=is_own(body, echoed=echoed_id == correlation_id),
        hints=hints,
    )


def _kind(status: int, body: bytes, *, echoed: bool, of_link: bool) -> AnswerKind:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 403:
        return AnswerKind.WRONG_ENDPOINT if is_page(body) else AnswerKind.FORBIDDEN
    if status in _REFUSED or (of_link and status == 404):
        own = is_own(body, echoed=echoed)
        return AnswerKind.REFUSED if own else AnswerKind.WRONG_ENDPOINT
    return AnswerKind.WRONG_ENDPOINT if status in _NOT_THERE else AnswerKind.UNKNOWN


def is_own(body: bytes, *, echoed: bool) -> bool:
    """Say whether the API itself speaks; `echoed` is whether our correlation id came back."""
    return isinstance(_json(body), dict | list | str) or (echoed and not is_page(body))


def is_page(body: bytes) -> bool:
    """Say whether a body is an HTML or XML page."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def parse_link(content: object) -> Link | None:
    """Return the link in `{"data": link}`, None when there is no usable id.

    Fields of the wrong type are None, unknown ones stay in `raw`.
    """
    data = content.get("data") if isinstance(content, dict) else None
    link_id = _id(data)
    if not isinstance(data, dict) or link_id is None:
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
    code_id = _id(data)
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


def parse_made_code(content: object) -> QrCode | None:
    """Return the QR code in `{"data": code}`, None when there is no usable id."""
    return parse_qr_code(content.get("data") if isinstance(content, dict) else None)


def is_id(text: str) -> bool:
    """Say whether a text can be the id of a link or a QR code."""
    return _ID.fullmatch(text) is not None


def is_given_id(text: str) -> bool:
    """Say whether a text that a person gave can be such an id: an address is none."""
    return is_id(text) and "/" not in text


def _id(data: object) -> str | None:
    value = data.get("id") if isinstance(data, dict) else None
    if not isinstance(value, str) or not is_id(value) or MASK in value:
        return None
    return value


def parse_error(
    status: int, headers: Mapping[str, str], body: bytes, *, now: dt.datetime
) -> ApiProblem:
    """Return what an error answer said, in whatever shape."""
    content = _json(body)
    inner = content.get("error") if isinstance(content, dict) else None
    source = inner if isinstance(inner, dict) else content
    if isinstance(source, dict):
        code, message = _code(source), _said(source)
        details = source.get("details", source.get("errors"))
    else:
        code, details = None, None
        message = _said(source) or _plain(body)
    return ApiProblem(
        status=status,
        code=_short(code),
        message=_short(message),
        details=details,
        correlation_id=_short(headers.get("x-correlation-id")),
        retry_after=parse_hints(headers, now=now).retry_after,
    )


def _code(source: Mapping[str, object]) -> str | None:
    """Return the first code that is a word; a problem document's `about:blank` says nothing."""
    named = (_text(source.get(name)) for name in ("code", "status", "type"))
    return next((name for name in named if name and name != "about:blank"), None)


def _said(value: object, depth: int = 3) -> str | None:
    """Return the words in an error value: a text, an object's message, or a list of either."""
    if isinstance(value, list) and depth:
        said = [text for text in (_said(item, depth - 1) for item in value[:5]) if text]
        return "; ".join(said) or None
    if isinstance(value, dict) and depth:
        fields = ("message", "detail", "title", "error_description", "error", "msg", "errors")
        said_by = (_said(value[name], depth - 1) for name in fields if name in value)
        return next((text for text in said_by if text), None)
    return _text(value)


def _plain(body: bytes) -> str:
    text = body[:4000].decode("utf-8", "replace")
    title = re.search(r"<title[^>]{0,200}>([^<]{1,500})", text, re.IGNORECASE)
    if title:
        return f"a web page: {title.group(1)}"
    return "a web page" if is_page(body) else text


def _short(text: str | None) -> str | None:
    if text is None:
        return None
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
    return clean[:_MAX_MESSAGE] or None


def _text(value: object) -> str | None:
    """Return a string that Arrow and any database can store, None for anything else."""
    if not isinstance(value, str):
        return None
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\0", "") or None


_SAME_AGAIN = "Try again: the same bytes under the same idempotency key."
_ERRORS: dict[int, tuple[type[ApiError], str]] = {
    400: (errors.BadRequestError, "Correct the request; the message names what is malformed."),
    401: (errors.UnauthorizedError, "Set INCARTS_API_KEY to a valid key of this target."),
    403: (errors.ForbiddenError, "Check INCARTS_PROJECT_ID, and the key's project and scopes."),
    404: (errors.NotFoundError, "Check the id, and that the key may see it."),
    408: (errors.UnexpectedAnswerError, _SAME_AGAIN),
    409: (errors.ConflictError, "Look at what exists under that key or identifier."),
    413: (errors.BadRequestError, "Make the body smaller."),
    421: (errors.UnexpectedAnswerError, _SAME_AGAIN),
    422: (errors.UnprocessableError, "Correct what the message names; the same will fail again."),
    425: (errors.UnexpectedAnswerError, _SAME_AGAIN),
    429: (errors.RateLimitedError, "Wait, then go on more slowly."),
}


def error_for(problem: ApiProblem) -> ApiError:
    """Return the exception for an error answer, with what to do about it."""
    kind: type[ApiError]
    if problem.status in _ERRORS:
        kind, fix = _ERRORS[problem.status]
    elif problem.status >= 500:
        kind, fix = errors.ServerError, _SAME_AGAIN
    elif 200 <= problem.status < 300:
        kind = errors.UnexpectedAnswerError
        fix = f"Check INCARTS_API_BASE_URL; if it is right: {_SAME_AGAIN.lower()}"
    else:
        kind = errors.UnexpectedAnswerError
        fix = "Check INCARTS_API_BASE_URL: what answers there is not the Incarts API."
    return kind(problem, fix=fix)
