"""What answers mean: kinds, links, error shapes and rate hints, whatever comes."""

from __future__ import annotations

import datetime as dt
import json
from itertools import chain

import httpx
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline import errors
from incarts_pipeline.api.rate_limit_headers import parse_hints
from incarts_pipeline.api.responses import classify, error_for, parse_error, parse_link
from incarts_pipeline.errors import ApiProblem
from incarts_pipeline.models import Answer, AnswerKind, RateHints, RatePolicy

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
OURS = "incarts-ours"
PAGE = b"\n<!doctype html><html><head><title>403 Forbidden</title></head></html>"
JSON = b'{"error":{"code":"invalid","message":"no"}}'


def told(*policies: RatePolicy) -> RateHints:
    return RateHints(policies=policies)


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, named, body, correlation_id=OURS, now=NOW)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, b'{"data":{"id":"lnk_1"}}', AnswerKind.LINK),
        (200, b'{"data":{"id":"lnk_1"}}', AnswerKind.LINK),
        (201, b'{"data":{"id":7}}', AnswerKind.UNKNOWN),
        (201, b'{"data":{"id":"x"}}', AnswerKind.UNKNOWN),
        (201, b'{"data":{"id":"lnk 1\\n"}}', AnswerKind.UNKNOWN),
        (201, b'{"data":{"id":"lnk_1"', AnswerKind.UNKNOWN),
        (201, b"", AnswerKind.UNKNOWN),
        (204, b"", AnswerKind.UNKNOWN),
        (200, PAGE, AnswerKind.UNKNOWN),
        (401, JSON, AnswerKind.UNAUTHORIZED),
        (403, JSON, AnswerKind.FORBIDDEN),
        (403, b"", AnswerKind.FORBIDDEN),
        (403, PAGE, AnswerKind.WRONG_ENDPOINT),
        (409, JSON, AnswerKind.CONFLICT),
        (429, PAGE, AnswerKind.RATE_LIMITED),
        *((status, JSON, AnswerKind.REFUSED) for status in (400, 413, 422)),
        *((status, PAGE, AnswerKind.WRONG_ENDPOINT) for status in (400, 413, 422)),
        *((status, b"", AnswerKind.WRONG_ENDPOINT) for status in (400, 413, 422)),
        *((status, b"", AnswerKind.WRONG_ENDPOINT) for status in (301, 307, 308, 404)),
        *((status, JSON, AnswerKind.WRONG_ENDPOINT) for status in (404, 405, 406, 410, 415)),
        *((status, JSON, AnswerKind.UNKNOWN) for status in (100, 302, 303, 408, 418, 425, 499)),
        *((status, JSON, AnswerKind.UNKNOWN) for status in (500, 502, 503, 504, 599)),
    ],
)
def test_kind_of_an_answer(status: int, body: bytes, kind: AnswerKind) -> None:
    """Each status means one thing, unless the body shows that it is not the API that speaks."""
    assert answer(status, body).kind is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", AnswerKind.REFUSED),
        (b"Bad Request", AnswerKind.REFUSED),
        (PAGE, AnswerKind.WRONG_ENDPOINT),
    ],
)
def test_echo_shows_that_the_api_speaks(body: bytes, kind: AnswerKind) -> None:
    """A refusal without JSON counts when our correlation id came back; a page never does."""
    assert answer(400, body, x_correlation_id=OURS).kind is kind


def test_foreign_echo_is_kept() -> None:
    """A correlation id that is not ours is kept and changes nothing."""
    body = b'{"data":{"id":"lnk_1"}}'
    got = answer(201, body, x_correlation_id="other-id")
    assert (got.kind, got.echoed_id, got.correlation_id) == (AnswerKind.LINK, "other-id", OURS)


def test_link_tolerates_what_it_does_not_know() -> None:
    """Unknown fields stay in raw; absent ones and those of the wrong type are None."""
    data = {
        "id": "lnk_1",
        "projectId": 5,
        "name": ["no"],
        "shortLink": "https://in2carts.com/\ud800a\0",
        "createdAt": "2026-01-01T01:00:00+01:00",
        "qrCode": {"id": "qr_1", "isDefault": "yes", "createdAt": "never"},
        "fresh": {"kept": 1},
    }
    link = parse_link({"data": data})
    assert link is not None
    assert (link.project_id, link.name, link.retailer) == (None, None, None)
    assert link.short_link == "https://in2carts.com/?a"
    assert link.created_at == NOW
    assert link.raw["fresh"] == {"kept": 1}
    assert link.qr_code is not None
    assert (link.qr_code.id, link.qr_code.is_default, link.qr_code.created_at) == (
        ("qr_1", None, None)
    )


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ({"error": {"code": "bad", "message": "It is bad"}}, "bad", "It is bad"),
        ({"error": "It is bad"}, None, "It is bad"),
        ({"code": "bad", "message": "It is bad"}, "bad", "It is bad"),
        ({"type": "https://e.com/bad", "title": "Bad"}, "https://e.com/bad", "Bad"),
        ({"type": "about:blank", "title": "Bad", "detail": "It is bad"}, None, "It is bad"),
        ({"error": {"code": 400, "status": "INVALID", "message": "bad"}}, "INVALID", "bad"),
        ({"statusCode": 400, "message": ["a", "b"], "error": "Bad Request"}, None, "a; b"),
        ({"detail": [{"loc": ["x"], "msg": "field required"}]}, None, "field required"),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, None, "first; second"),
        ([{"message": "in a list"}], None, "in a list"),
        ("just text", None, "just text"),
        ({"error": {"message": None}}, None, None),
        ({"error": "a\x1b[31m\nb\u202e" + "c" * 900}, None, "a [31m b " + "c" * 291),
    ],
)
def test_error_shapes(content: object, code: str | None, message: str | None) -> None:
    """Every shape in use gives its code and its message, short and without control characters."""
    problem = parse_error(400, {}, json.dumps(content).encode(), now=NOW)
    assert (problem.code, problem.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PAGE, "a web page: 403 Forbidden"),
        (b"<html><body>Nope", "a web page"),
        (b"upstream connect error", "upstream connect error"),
        (b"\xff\xfe\x00", "��"),
        (b"", None),
    ],
)
def test_errors_that_are_not_json(body: bytes, message: str | None) -> None:
    """Of a page its title is told, of plain text the text, of nothing nothing."""
    assert parse_error(502, {}, body, now=NOW).message == message


def test_details_and_wait_are_kept() -> None:
    """A problem carries the details, the echo and the seconds to wait."""
    body = b'{"error":{"message":"slow","details":[{"field":"name"}]}}'
    headers = httpx.Headers({"Retry-After": "7", "X-Correlation-ID": "theirs-1"})
    problem = parse_error(429, headers, body, now=NOW)
    assert problem.details == [{"field": "name"}]
    assert (problem.retry_after, problem.correlation_id) == (7.0, "theirs-1")


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({}, RateHints()),
        ({"retry-after": "30"}, RateHints(retry_after=30.0)),
        ({"retry-after": "0"}, RateHints(retry_after=0.0)),
        ({"retry-after": "1.5"}, RateHints(retry_after=1.5)),
        ({"retry-after": "-5"}, RateHints()),
        ({"retry-after": "soon"}, RateHints()),
        ({"retry-after": "999999"}, RateHints()),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, RateHints(retry_after=60.0)),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, RateHints(retry_after=0.0)),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 12:01:00 GMT",
                "date": "Thu, 01 Jan 2026 12:00:00 GMT",
            },
            RateHints(retry_after=60.0),
        ),
        (
            {"ratelimit": '"default";r=0;t=5', "ratelimit-policy": '"default";q=100;w=60'},
            told(RatePolicy(limit=100, remaining=0, reset=5.0, window=60.0)),
        ),
        (
            {"ratelimit": '"a";r=7;t=5', "ratelimit-policy": '"b";q=100;w=60'},
            told(RatePolicy(limit=100, remaining=7, reset=5.0, window=60.0)),
        ),
        (
            {
                "ratelimit": '"burst, a";r=9;t=1, "day";r=3;t=500',
                "ratelimit-policy": '"burst, a";q=10;w=1, "day";q=1000;w=86400;pk=:YQ==:',
            },
            told(
                RatePolicy(limit=10, remaining=9, reset=1.0, window=1.0),
                RatePolicy(limit=1000, remaining=3, reset=500.0, window=86_400.0),
            ),
        ),
        (
            {
                "ratelimit": '"peruser";r=90;t=1, "bytes";r=5;t=500',
                "ratelimit-policy": '"peruser";q=100;w=60,"bytes";q=65535;qu="content-bytes";w=9',
            },
            told(RatePolicy(limit=100, remaining=90, reset=1.0, window=60.0)),
        ),
        (
            {
                "ratelimit": "limit=100, remaining=0, reset=5",
                "ratelimit-policy": "1000;w=3600, 100;w=10",
            },
            told(
                RatePolicy(limit=1000, window=3600.0),
                RatePolicy(limit=100, remaining=0, reset=5.0, window=10.0),
            ),
        ),
        (
            {
                "ratelimit-limit": "100, 100;w=60, 5000;w=3600",
                "ratelimit-remaining": "0",
                "ratelimit-reset": "9",
            },
            told(
                RatePolicy(limit=100, remaining=0, reset=9.0, window=60.0),
                RatePolicy(limit=5000, window=3600.0),
            ),
        ),
        (
            {
                "x-ratelimit-limit": "50",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "12",
            },
            told(RatePolicy(limit=50, remaining=0, reset=12.0)),
        ),
        (
            {
                "x-ratelimit-limit-second": "5",
                "x-ratelimit-remaining-second": "4",
                "x-ratelimit-limit-hour": "1000",
                "x-ratelimit-limit-tokens": "90000",
            },
            told(
                RatePolicy(limit=5, remaining=4, window=1.0),
                RatePolicy(limit=1000, window=3600.0),
            ),
        ),
        (
            {"x-ratelimit-reset": str(int(NOW.timestamp()) + 12)},
            told(RatePolicy(reset=12.0)),
        ),
        (
            {"x-ratelimit-reset": str(int(NOW.timestamp()) * 1000 + 500)},
            told(RatePolicy(reset=0.5)),
        ),
        ({"x-ratelimit-reset": "2026-01-01T00:00:30Z"}, told(RatePolicy(reset=30.0))),
        ({"x-ratelimit-limit": "many", "x-ratelimit-remaining": "-1"}, RateHints()),
    ],
)
def test_rate_hints(headers: dict[str, str], hints: RateHints) -> None:
    """Every form in use is read, with zero as zero; what makes no sense is left out."""
    assert parse_hints(headers, now=NOW) == hints


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (413, errors.BadRequestError),
        (422, errors.UnprocessableError),
        (429, errors.RateLimitedError),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (200, errors.UnexpectedAnswerError),
        (301, errors.UnexpectedAnswerError),
        (408, errors.UnexpectedAnswerError),
    ],
)
def test_each_status_has_its_error_and_fix(status: int, kind: type[errors.ApiError]) -> None:
    """The exception fits the status and says what to do."""
    error = error_for(ApiProblem(status=status, message="no", retry_after=2.0))
    assert type(error) is kind
    assert error.fix
    assert str(error).startswith(f"Incarts answered {status}: no.")
    assert error.retry_after == 2.0


HEADER_NAMES = st.sampled_from(
    [
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-limit",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-correlation-id",
        "date",
        "content-type",
    ]
)
HEADERS = st.dictionaries(
    HEADER_NAMES, st.text(max_size=60) | st.from_regex(r'[a"\d;=,. :rtqw-]{0,40}', fullmatch=True)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "id", "error", "errors", "message", "code", "qrCode", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary() | VALUES.map(lambda value: json.dumps(value).encode())


@given(status=st.integers(100, 599), headers=HEADERS, body=BODIES)
def test_nothing_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever comes is classified, and only a success with an id is a link."""
    got = classify(status, headers, body, correlation_id=OURS, now=NOW)
    assert (got.made is not None) == (got.kind is AnswerKind.LINK)
    assert got.kind is not AnswerKind.LINK or 200 <= status < 300
    assert got.kind is not AnswerKind.NOT_SENT
    for text in (got.error_message, got.error_code, got.echoed_id):
        assert text is None or (text.isprintable() and 0 < len(text) <= 300)
    policies = [(one.reset, one.window) for one in got.hints.policies]
    for seconds in (got.hints.retry_after, *chain(*policies)):
        assert seconds is None or 0 <= seconds <= 86_400
    error_for(parse_error(status, headers, body, now=NOW))


@given(depth=st.integers(1, 3000))
def test_deep_json_does_not_raise(depth: int) -> None:
    """Nesting without end is no reason to fail."""
    assert answer(400, b'{"error":' * depth).kind is AnswerKind.WRONG_ENDPOINT
    assert answer(400, b'{"error":' * depth + b"1" + b"}" * depth).status == 400


@pytest.mark.parametrize(("body", "is_own"), [(PAGE, False), (b"No", False), (JSON, True)])
def test_answer_says_whether_it_is_the_apis(body: bytes, is_own: bool) -> None:
    """An unknown outcome keeps whether it had the API's shape."""
    assert answer(501, body).is_own is is_own
