"""Received answers: their bytes, in bounds, and the connection that they came on."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import httpx

MAX_BODY = 4 * 1024 * 1024  # bytes of an answer; a link takes about one thousand


class Received(NamedTuple):
    """An answer as it came, read to its end.

    The connection that it came on is nobody else's until `let_go` is called, which it must be: True
    keeps it for other requests, False closes it.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    let_go: Callable[[bool], Awaitable[None]]


class AnswerTooLargeError(httpx.ReadError):
    """The answer is larger than any answer of the API."""


async def read_all(stream: httpx.AsyncByteStream) -> bytes:
    """Return an answer's body; whoever reads it closes the stream.

    Raises:
        AnswerTooLargeError: it has more than `MAX_BODY` bytes.
    """
    content = b""
    async for part in stream:
        content += part
        if len(content) > MAX_BODY:
            raise AnswerTooLargeError("the answer is too large")
    return content


def unpacked(content: bytes, encoding: str | None) -> bytes:
    """Undo a compression that nobody asked for, up to `MAX_BODY`; else return it as it came."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, MAX_BODY)
    except zlib.error:
        return content
