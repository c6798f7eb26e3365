"""Exposure of secrets: none is sent beside its header, and none is taken from an answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr

from incarts_pipeline.api.client import IncartsClient
from incarts_pipeline.api.exposure import reply_of
from incarts_pipeline.api.received import Received
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.models import AnswerKind
from incarts_pipeline.sandbox import Sandbox
from tests.support.canaries import SPELLINGS, found_in

KEY = "ic_live_Qz7+kV/x3WmRt9_HbN4p"
ID = "incarts-0123456789"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_request_with_the_key_is_refused(box: Sandbox, spelling: str) -> None:
    """No body, id or idempotency key with the key in any spelling reaches the server."""
    said = SPELLINGS[spelling](box.api_key)

    async def go() -> None:
        async with IncartsClient(base_url=box.base_url, api_key=SecretStr(box.api_key)) as client:
            with pytest.raises(RefusedError, match="not sent") as caught:
                await client.create_link({"name": f"x {said}"}, idempotency_key=ID)
            assert caught.value.guard == "secret_in_request"
            with pytest.raises(RefusedError, match="link's id"):
                await client.get_link(said)
            with pytest.raises(RefusedError, match="idempotency key"):
                await client.create_link({}, idempotency_key=said)

    asyncio.run(go())
    assert box.audit().requests == 0


def test_an_attempt_with_the_key_never_leaves(box: Sandbox) -> None:
    """A run's attempt says that it was not sent, as a stored body may have what is a key now."""

    async def go() -> None:
        async with IncartsClient(base_url=box.base_url, api_key=SecretStr(box.api_key)) as client:
            body = json.dumps({"name": box.api_key}).encode()
            answer = await client.post_link(body, idempotency_key=ID, correlation_id=ID)
            assert answer.kind is AnswerKind.NOT_SENT
            assert answer.error_code == "secret_in_request"

    asyncio.run(go())
    assert box.audit().requests == 0


def received(body: bytes, **headers: str) -> Received:
    """Return an answer with a body and headers."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Received(422, raw, body, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_answers_are_cleaned_behind_their_decoding(spelling: str, encoding: str) -> None:
    """JSON stays JSON, in UTF-8, with all but the secret as it was."""
    said: dict[str, Any] = {"error": [f"no {SPELLINGS[spelling](KEY)}", 1], "kept": "Café \\ %20"}
    reply = reply_of(received(json.dumps(said).encode(encoding)))
    content = reply.content
    assert isinstance(content, dict)
    assert content["kept"] == said["kept"]
    assert content["error"][1] == 1
    assert not found_in(json.dumps(content), KEY)


@pytest.mark.parametrize("body", [b"<p>" + KEY.encode(), b"[" * 100_000 + KEY.encode()])
def test_what_is_no_json_is_cleaned_too(body: bytes) -> None:
    """Pages, and what is nested too deeply to be parsed, lose the secret."""
    assert KEY.encode() not in reply_of(received(body)).body


def test_other_answers_are_passed_on_as_they_are() -> None:
    """An answer without a secret keeps its bytes."""
    body = json.dumps({"data": {"id": "lnk_1", "url": "https://a/?x=%2F&y=\u00e9"}}).encode()
    assert reply_of(received(body)).body is body
    assert reply_of(received(b"", **{"X-Correlation-ID": ID})).headers["x-correlation-id"] == ID
    echoed = reply_of(received(b"", **{"X-Correlation-ID": KEY})).headers["x-correlation-id"]
    assert not found_in(echoed, KEY)
