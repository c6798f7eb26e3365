"""Received answers, as transports bring them: in bounds, with the connection that they came on."""

from __future__ import annotations

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
