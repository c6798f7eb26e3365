"""Application of the sandbox, in ASGI: requests in, faults and answers out."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from incarts_pipeline.sandbox.access import CONTROLS, new_token, refused
from incarts_pipeline.sandbox.audit import Audit
from incarts_pipeline.sandbox.config import ErrorShape, Fault, SandboxConfig
from incarts_pipeline.sandbox.pages import Pages
from incarts_pipeline.sandbox.service import Answer, Call, Service
from incarts_pipeline.sandbox.store import Store, digest

_LOGGED = 100_000  # requests kept for a look
_JSON = "application/json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One request as the sandbox saw it.

    `at` is in seconds since 1970, `status` None when no whole answer went out, `link_id` the id of
    the link or QR code that it made or was answered with, `fault` the fault that befell it.
    """

    at: float
    method: str
    path: str
    idempotency_key: str | None
    correlation_id: str | None
    body_hash: str
    status: int | None
    link_id: str | None
    fault: str | None


class App:
    """The sandbox's application; everything runs in one event loop.

    Its controls want `token`.
    """

    def __init__(
        self, store: Store, config: SandboxConfig, clock: Callable[[], float] = time.time
    ) -> None:
        self.service = Service(store, config, clock)
        self.log: deque[Logged] = deque(maxlen=_LOGGED)
        self.token = new_token()
        self._store = store
        self._clock = clock
        self._statuses: Counter[str] = Counter()
        self._at_work = 0
        self._pages = Pages(store, self).routes()

    @property
    def config(self) -> SandboxConfig:
        """The switches as they are."""
        return self.service.config

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return self._store.audit(self._statuses, self._at_work)

    def reconfigure(self, changes: Mapping[str, Any]) -> None:
        """Change switches while running."""
        self.service.reconfigure(changes)

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail.

        Args:
            kind: a Fault's value, like `lost_after`.
            times: how many requests; 0 takes back what is left of such orders.
            where: picks the requests whose key or body contains it; empty for any.
        """
        self.service.faults.order(kind, times, where)

    def alter(self, link_id: str, changes: Mapping[str, Any] | None) -> None:
        """Change a link's fields, or let it disappear, as if somebody did at Incarts."""
        self._store.alter(link_id, changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if (why := refused(scope, self.token)) is not None:
            await _read(receive)
            content = json.dumps({"error": why.message}).encode()
            await _respond(send, why.status, content, _JSON, {})
        elif scope["path"].startswith("/v1/"):
            self._at_work += 1
            try:
                await self._api(scope, receive, send)
            finally:
                self._at_work -= 1
        elif scope["path"].startswith(("/s/", "/qr/", CONTROLS)):
            await self._pages(scope, receive, send)
        else:
            # As a web server does that isn't the API: an error in HTML, not in its shape.
            await _respond(send, 404, b"<html><title>Not Found</title></html>", "text/html", {})

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        call = _call(scope, body)
        if call.key is not None and call.method == "POST":
            # Before anything can fail: the audit counts what was asked, not what was answered.
            self._store.note(call.key, call.fingerprint)
        at = self._clock()
        try:
            answer = await self._answer(call)
            if answer.fault is Fault.STALL:
                await asyncio.sleep(self.config.stall_seconds)
        except asyncio.CancelledError:
            _cut(send)  # stopping; uvicorn would answer with a 500 of its own
            raise
        self._record(call, answer, at)  # first, so that whoever saw the answer finds it in the log
        await self._deliver(send, answer, call.headers.get("x-correlation-id"))

    async def _answer(self, call: Call) -> Answer:
        try:
            return await self.service.answer(call)
        except Exception:
            # A fault of the sandbox itself must not look like one that was ordered.
            _logger.exception("the sandbox failed at %s %s", call.method, call.path)
            return Answer(status=500, error={"code": "internal", "message": "internal error"})

    def _record(self, call: Call, answer: Answer, at: float) -> None:
        # What never arrived has no status, whatever would have been sent.
        status = None if self._is_cut(answer) else answer.status
        self._statuses[str(status or "lost")] += 1
        self.log.append(
            Logged(
                at=at,
                method=call.method,
                path=call.path,
                idempotency_key=call.key,
                correlation_id=call.headers.get("x-correlation-id"),
                body_hash=digest(call.body),
                status=status,
                link_id=answer.made,
                fault=answer.fault.value if answer.fault else None,
            )
        )

    def _is_cut(self, answer: Answer) -> bool:
        """Tell whether an answer doesn't go out as a whole."""
        if answer.fault is Fault.LATE:
            return self.config.late_closes
        return answer.fault in (Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.HALF_ANSWER)

    async def _deliver(self, send: Send, answer: Answer, correlation: str | None) -> None:
        """Send an answer, or what its fault leaves of it."""
        # Half an answer begins like a whole one; the others are cut before their first byte.
        half = answer.fault is Fault.HALF_ANSWER
        if self._is_cut(answer) and not half:
            await _abort(send)
            return
        content, kind = self._content(answer)
        headers = dict(answer.headers)
        if correlation:
            headers["x-correlation-id"] = correlation
        await _respond(send, answer.status, content, kind, headers, half=half)

    def _content(self, answer: Answer) -> tuple[bytes, str]:
        # What a captive portal or a proxy's login page answers: 2xx, and no JSON.
        if answer.fault is Fault.MALFORMED:
            return b"<html><title>Welcome</title></html>", "text/html"
        if answer.fault is Fault.NO_ID:
            return b'{"data":{"status":"active"}}', _JSON
        if answer.error is not None:
            return _error(self.config.error_shape, answer.status, answer.error)
        return json.dumps({"data": answer.content}).encode(), _JSON


def _error(shape: ErrorShape, status: int, error: Mapping[str, Any]) -> tuple[bytes, str]:
    code, message = error["code"], error["message"]
    match shape:
        # What errors look like isn't published for all statuses, so a client has to read all
        # shapes.
        case ErrorShape.NESTED:
            return json.dumps({"error": {"details": [], **error}}).encode(), _JSON
        case ErrorShape.TEXT:
            return json.dumps({"error": message}).encode(), _JSON
        case ErrorShape.FLAT:
            return json.dumps({"code": code, "message": message}).encode(), _JSON
        case ErrorShape.PROBLEM:
            content = {"type": "about:blank", "title": code, "status": status, "detail": message}
            return json.dumps(content).encode(), "application/problem+json"
        case ErrorShape.HTML:
            return f"<html><title>{status} {code}</title></html>".encode(), "text/html"
        case ErrorShape.EMPTY:
            return b"", "text/plain"


def _call(scope: Scope, body: bytes) -> Call:
    return Call(
        method=scope["method"],
        path=scope["path"],
        headers={
            # HTTP headers are bytes; ASGI has the names in lower case already.
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
        },
        body=body,
        address=scope["client"][0] if scope.get("client") else "",
    )


async def _read(receive: Receive) -> bytes | None:
    """Return the request's body; None when the client left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _respond(
    send: Send,
    status: int,
    content: bytes,
    kind: str,
    headers: Mapping[str, str],
    *,
    half: bool = False,
) -> None:
    # The length is that of the whole, also where half is sent: how a client notices.
    fields = {"content-type": kind, "content-length": str(len(content)), **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if half:
        part = content[: len(content) // 2]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await _abort(send)
        return
    await send({"type": "http.response.body", "body": content})


async def _abort(send: Send) -> None:
    """Close the connection without an answer, and let uvicorn see that before we return."""
    _cut(send)
    # Without a turn of the loop in between, uvicorn would answer with a 500 of its own.
    for _ in range(3):
        await asyncio.sleep(0)


def _cut(send: Send) -> None:
    """Close the connection through uvicorn's own transport, which ASGI has no words for."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("this server gives no access to its connections")
    transport.abort()
