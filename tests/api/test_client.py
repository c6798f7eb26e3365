"""The client's methods: what they send, return and raise, and what they never show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import pytest
from pydantic import SecretStr

from incarts_pipeline import errors
from incarts_pipeline.api.client import IncartsClient, new_correlation_id
from incarts_pipeline.api.probe import Probe, probe
from incarts_pipeline.models import AnswerKind, QrCode
from incarts_pipeline.sandbox import Sandbox

KEY = "ic_live_0123456789abcdef"
BODY = {"projectId": "demo", "name": "Café", "retailer": "walmart", "intent": "custom_url"}

T = TypeVar("T")
Handler = Callable[[httpx.Request], httpx.Response]


def talk(handler: Handler, use: Callable[[IncartsClient], Awaitable[T]]) -> T:
    """Run something with a client whose answers come from a function."""

    async def go() -> T:
        async with IncartsClient(
            base_url="https://api.example.com/base/",
            api_key=SecretStr(KEY),
            transport=httpx.MockTransport(handler),
        ) as client:
            return await use(client)

    return asyncio.run(go())


def always(status: int, body: object = None, **headers: str) -> Handler:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx.Response(status, content=content, headers=headers)


def create(client: IncartsClient) -> Awaitable[object]:
    return client.create_link(BODY, idempotency_key="incarts1-1")


def test_sandbox_makes_and_reads_a_link_and_its_codes(box: Sandbox) -> None:
    """A link is made, made no second time under its key, read back, and given one more QR code."""
    body = {
        "projectId": box.project_id,
        "name": "Café",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": [{"retailerProductId": "1", "quantity": 1}],
    }

    async def go() -> None:
        async with IncartsClient(base_url=box.base_url, api_key=SecretStr(box.api_key)) as client:
            made = await client.create_link(body, idempotency_key="incarts1-1")
            again = await client.create_link(body, idempotency_key="incarts1-1")
            read = await client.get_link(made.id)
            assert made.id == again.id == read.id
            assert read.name == "Café"
            code = {"projectId": box.project_id, "identifier": "shelf-1", "name": "Shelf"}
            one = await client.create_qr_code(made.id, code, idempotency_key="incarts1-2")
            answer = await client.post_qr_code(
                made.id,
                json.dumps(code | {"identifier": "shelf-2"}).encode(),
                idempotency_key="incarts1-3",
                correlation_id="incarts-test",
            )
            assert isinstance(answer.made, QrCode)
            assert {one.identifier, answer.made.identifier} == {"shelf-1", "shelf-2"}
            assert (await probe(client)).code == "ok"
            with pytest.raises(errors.NotFoundError):
                await client.get_link("lnk_nobody")

    asyncio.run(go())


def test_requests_have_their_paths_and_headers() -> None:
    """Each method calls its endpoint below the base URL, with the key and both ids."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        made = "lnk/../1" if request.method == "GET" else "lnk_1"
        return httpx.Response(201, json={"data": {"id": made, "identifier": "a"}})

    async def use(client: IncartsClient) -> None:
        await client.create_link(BODY, idempotency_key="incarts1-1", correlation_id="incarts-9")
        await client.get_link("lnk/../1")
        await client.create_qr_code("lnk_1", b'{"a":1}', idempotency_key="incarts1-2")

    talk(handler, use)
    made, read, code = seen
    assert (made.method, str(made.url)) == ("POST", "https://api.example.com/base/v1/links")
    assert json.loads(made.content) == BODY
    assert made.headers["x-incarts-api-key"] == KEY
    assert made.headers["idempotency-key"] == "incarts1-1"
    assert made.headers["x-correlation-id"] == "incarts-9"
    assert (read.method, read.url.raw_path) == ("GET", b"/base/v1/links/lnk%2F..%2F1")
    assert "idempotency-key" not in read.headers
    assert code.url.path == "/base/v1/links/lnk_1/qr-codes"
    assert code.content == b'{"a":1}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.UnprocessableError),
        (429, errors.RateLimitedError),
        (500, errors.ServerError),
        (302, errors.UnexpectedAnswerError),
    ],
)
def test_error_answers_raise_with_their_data(status: int, kind: type[errors.ApiError]) -> None:
    """The error says what Incarts said, and names the attempt when Incarts doesn't."""
    handler = always(status, {"error": {"code": "c", "message": "no"}}, location="https://x.org")
    with pytest.raises(kind) as caught:
        talk(handler, create)
    assert (caught.value.status, caught.value.code) == (status, "c")
    assert (caught.value.correlation_id or "").startswith("incarts-")


@pytest.mark.parametrize("body", [{"data": {}}, {}, b"{", b""])
def test_success_without_an_id_is_unexpected(body: object) -> None:
    """A success without a usable id raises with its own status, and says to send the same again."""
    with pytest.raises(errors.UnexpectedAnswerError, match="same idempotency key") as caught:
        talk(always(202, body), create)
    assert caught.value.status == 202


def test_redirects_are_not_followed() -> None:
    """A redirect is an answer: the key goes nowhere else."""
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"location": "https://elsewhere.example.com/"})

    def use(client: IncartsClient) -> Awaitable[object]:
        return client.post_link(b"{}", idempotency_key="incarts1-1", correlation_id="incarts-1")

    answer = talk(handler, use)
    assert getattr(answer, "kind", None) is AnswerKind.WRONG_ENDPOINT
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("x"), AnswerKind.NOT_SENT),
        (httpx.ConnectTimeout("x"), AnswerKind.NOT_SENT),
        (httpx.PoolTimeout("x"), AnswerKind.NOT_SENT),
        (httpx.ProxyError("x"), AnswerKind.NOT_SENT),
        (httpx.WriteError("x"), AnswerKind.UNKNOWN),
        (httpx.WriteTimeout("x"), AnswerKind.UNKNOWN),
        (httpx.ReadError("x"), AnswerKind.UNKNOWN),
        (httpx.ReadTimeout("x"), AnswerKind.UNKNOWN),
        (httpx.RemoteProtocolError("x"), AnswerKind.UNKNOWN),
        (httpx.DecodingError("x"), AnswerKind.UNKNOWN),
    ],
)
def test_network_errors_never_raise_from_an_attempt(error: Exception, kind: AnswerKind) -> None:
    """Only what fails before the first byte counts as not sent."""

    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    async def use(client: IncartsClient) -> None:
        answer = await client.post_link(
            b"{}", idempotency_key="incarts1-1", correlation_id="incarts-1"
        )
        assert (answer.kind, answer.correlation_id) == (kind, "incarts-1")
        lost = errors.NotSentError if kind is AnswerKind.NOT_SENT else errors.AnswerLostError
        with pytest.raises(lost):
            await create(client)

    talk(handler, use)


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (always(404, {"error": "no such link"}), (True, "ok")),
        (always(403, {"error": "scope"}), (True, "no_read")),
        (always(401, {"error": "key"}), (False, "bad_key")),
        (always(401, b""), (False, "bad_key")),
        (always(404, b"<html>"), (False, "wrong_base_url")),
        (always(404, b"404 page not found"), (False, "wrong_base_url")),
        (always(403, b"<html>"), (False, "wrong_base_url")),
        (always(200, b"<html>welcome"), (False, "wrong_base_url")),
        (always(302, b""), (False, "wrong_base_url")),
        (always(429, {"error": "slow"}), (False, "trouble")),
        (always(503, b"<html>"), (False, "trouble")),
        (always(501, b"<html>"), (False, "wrong_base_url")),
        (always(501, {"error": "not yet"}), (False, "trouble")),
    ],
)
def test_probe_tells_what_is_wrong(handler: Handler, found: tuple[bool, str]) -> None:
    """A made-up link's answer shows whether host and key are right; what is not has a fix."""
    got: Probe = talk(handler, probe)
    assert (got.ok, got.code) == found
    assert got.ok or got.fix


@pytest.mark.parametrize("body", [{"error": f"unknown key {KEY}"}, f"<title>{KEY}".encode()])
def test_key_in_an_answer_is_masked(body: object) -> None:
    """A server that repeats the key doesn't get it into errors or answers."""
    with pytest.raises(errors.UnauthorizedError) as caught:
        talk(always(401, body), create)
    assert KEY not in f"{caught.value!r}{caught.value}{caught.value.problem}"
    assert "ic_live_…" in str(caught.value)


def test_key_is_in_no_repr() -> None:
    """Neither the client nor what it holds shows the key."""

    async def use(client: IncartsClient) -> str:
        return f"{client!r}{client}{vars(client)}"

    assert KEY not in talk(always(404), use)


@pytest.mark.parametrize("key", ["", "two words", "ic_live_\n", "“ic_live”", "ic\x00"])
def test_key_that_no_header_may_carry_is_refused(key: str) -> None:
    """A key with quotes or line breaks is refused, without being shown."""
    with pytest.raises(errors.SettingsError, match="INCARTS_API_KEY") as caught:
        IncartsClient(base_url="https://api.example.com", api_key=SecretStr(key))
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "ftp://localhost",
        "api.example.com",
        "https://u:p@h",
        "https://h?x",
    ],
)
def test_base_url_that_would_show_the_key_is_refused(url: str) -> None:
    """Plain http is for loopback only."""
    with pytest.raises(errors.SettingsError, match="base URL"):
        IncartsClient(base_url=url, api_key=SecretStr(KEY))


@pytest.mark.parametrize("bad", ["short", "x" * 129, "line\r\nbreak", "ünïcödé-id"])
def test_ids_that_headers_may_not_carry_are_refused(bad: str) -> None:
    """Keys and ids have 8 to 128 printable ASCII characters, link ids 3 to 128."""

    async def use(client: IncartsClient) -> None:
        with pytest.raises(ValueError, match="8 to 128"):
            await client.post_link(b"{}", idempotency_key=bad, correlation_id="incarts-1")
        with pytest.raises(ValueError, match="8 to 128"):
            await client.create_link({}, idempotency_key="incarts1-1", correlation_id=bad)
        with pytest.raises(ValueError, match="link id"):
            await client.get_link("..")

    talk(always(404), use)


def test_correlation_ids_are_unique_and_fit() -> None:
    """Each attempt has an id of its own, within what the API allows."""
    made = {new_correlation_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(8 <= len(one) <= 128 and one.startswith("incarts-") for one in made)
