"""The sandbox as one ASGI application: requests in, faults and answers out, and its own pages."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import random
import time
from collections import Counter, deque
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from incarts_pipeline.sandbox.config import Fault, SandboxConfig
from incarts_pipeline.sandbox.service import Answer, Service
from incarts_pipeline.sandbox.store import Audit, Store, body_hash

_LOGGED = 100_000  # requests kept for a look


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One request as the sandbox saw it; `at` is in seconds since 1970."""

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
    """The sandbox's application; everything runs in one event loop."""

    def __init__(self, store: Store, config: SandboxConfig) -> None:
        self.service = Service(store, config)
        self.store = store
        self.config = config
        self.log: deque[Logged] = deque(maxlen=_LOGGED)
        self._statuses: Counter[str] = Counter()
        self._random = random.Random(config.seed)  # noqa: S311 (a schedule of faults)
        self._faults_left = config.faults.first
        self._scripted: list[dict[str, Any]] = []
        self._pages = Starlette(
            routes=[
                Route("/s/{short_id}", self._short_link),
                Route("/qr/{name}", self._qr_image),
                Route("/_sandbox/audit", self._audit_page),
                Route("/_sandbox/requests", self._requests_page),
                Route("/_sandbox/reconfigure", self._reconfigure_page, methods=["POST"]),
                Route("/_sandbox/fail_next", self._fail_next_page, methods=["POST"]),
            ]
        )

    def audit(self) -> Audit:
        """Count what was made, and what was made twice."""
        return self.store.audit(dict(self._statuses))

    def reconfigure(self, changes: dict[str, Any]) -> None:
        """Change switches while running."""
        self.config = self.config.with_changes(changes)
        self.service.reconfigure(self.config)
        if "faults" in changes:
            self._faults_left = self.config.faults.first

    def fail_next(self, kind: str, times: int = 1, where: str = "") -> None:
        """Let the next requests fail; `where` picks those whose key or body contains it."""
        self._scripted.append({"kind": Fault(kind), "times": times, "where": where})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/v1/"):
            await self._api(scope, receive, send)
        elif scope["path"].startswith(("/s/", "/qr/", "/_sandbox/")):
            await self._pages(scope, receive, send)
        else:
            await _respond(send, 404, b"<html><title>Not Found</title></html>", "text/html", {})

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        body = await _read(receive)
        key, correlation = headers.get("idempotency-key"), headers.get("x-correlation-id")
        writes = scope["method"] == "POST"
        fault = self._pick_fault(key, body) if writes else None
        address = scope["client"][0] if scope.get("client") else ""
        link_id: str | None = None
        status: int | None = None
        try:
            if self.config.latency or self.config.jitter:
                pause = self.config.latency + self._random.random() * self.config.jitter
                await asyncio.sleep(pause)
            if fault is Fault.LOST_BEFORE:
                await _abort(send)
                return
            answer = await self.service.answer(
                scope["method"], scope["path"], headers, body, fault, address
            )
            link_id = answer.link_id
            status = await self._send(send, answer, fault, correlation)
        finally:
            self._statuses[str(status or "lost")] += 1
            self.log.append(
                Logged(
                    at=time.time(),
                    method=scope["method"],
                    path=scope["path"],
                    idempotency_key=key,
                    correlation_id=correlation,
                    body_hash=body_hash(body),
                    status=status,
                    link_id=link_id,
                    fault=fault.value if fault else None,
                )
            )

    async def _send(
        self, send: Send, answer: Answer, fault: Fault | None, correlation: str | None
    ) -> int | None:
        """Send an answer, or what the fault leaves of it; return the status that went out."""
        made = answer.status < 300
        if fault in (Fault.LOST_AFTER,) and made:
            await _abort(send)
            return None
        if fault is Fault.STALL and made:
            await asyncio.sleep(self.config.stall_seconds)
        if fault is Fault.ERROR_AFTER and made:
            answer = Answer(status=500, error=("internal", "internal error"))
        if answer.error is not None:
            content, kind = self._error(answer.status, *answer.error)
        else:
            content, kind = json.dumps({"data": answer.content}).encode(), "application/json"
        if fault is Fault.MALFORMED and made:
            content, kind = b"<html><title>Welcome</title></html>", "text/html"
        if fault is Fault.NO_ID and made:
            content = b'{"data":{"status":"active"}}'
        headers = dict(answer.headers)
        if correlation:
            headers["x-correlation-id"] = correlation
        half = fault is Fault.HALF_ANSWER and made
        await _respond(send, answer.status, content, kind, headers, half=half)
        return None if half else answer.status

    def _pick_fault(self, key: str | None, body: bytes) -> Fault | None:
        for script in self._scripted:
            if script["where"] in (key or "") or script["where"] in body.decode("utf-8", "replace"):
                script["times"] -= 1
                if script["times"] <= 0:
                    self._scripted.remove(script)
                kind: Fault = script["kind"]
                return kind
        if self._faults_left is not None:
            if self._faults_left <= 0:
                return None
            self._faults_left -= 1
        dice = self._random.random()
        for fault in Fault:
            dice -= getattr(self.config.faults, fault.value)
            if dice < 0:
                return fault
        return None

    def _error(self, status: int, code: str, message: str) -> tuple[bytes, str]:
        match self.config.error_shape:
            case "text":
                return json.dumps({"error": message}).encode(), "application/json"
            case "flat":
                return json.dumps({"code": code, "message": message}).encode(), "application/json"
            case "problem":
                content = {"type": code, "title": message, "status": status, "detail": message}
                return json.dumps(content).encode(), "application/problem+json"
            case "html":
                return f"<html><title>{status} {message}</title></html>".encode(), "text/html"
            case "empty":
                return b"", "text/plain"
        inner = {"code": code, "message": message, "details": []}
        return json.dumps({"error": inner}).encode(), "application/json"

    async def _short_link(self, request: Request) -> Response:
        target = self.store.target(request.path_params["short_id"])
        if target is None:
            return Response("no such link", 404)
        return RedirectResponse(target, 302)

    async def _qr_image(self, request: Request) -> Response:
        import segno  # only for the few codes that are looked at

        name = request.path_params["name"].removesuffix(".png")
        code = request.query_params.get("code")
        url = f"{self.service.host}/s/{name}" + (f"?qr={code}" if code else "")
        image = io.BytesIO()
        segno.make(url, error="m").save(image, kind="png", scale=8)
        return Response(image.getvalue(), media_type="image/png")

    async def _audit_page(self, _: Request) -> Response:
        return JSONResponse(dataclasses.asdict(self.audit()))

    async def _requests_page(self, _: Request) -> Response:
        return JSONResponse([dataclasses.asdict(one) for one in self.log])

    async def _reconfigure_page(self, request: Request) -> Response:
        try:
            self.reconfigure(await request.json())
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({})

    async def _fail_next_page(self, request: Request) -> Response:
        self.fail_next(**await request.json())
        return JSONResponse({})


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _respond(
    send: Send,
    status: int,
    content: bytes,
    kind: str,
    headers: dict[str, str],
    *,
    half: bool = False,
) -> None:
    fields = {"content-type": kind, "content-length": str(len(content)), **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if half:
        part = content[: len(content) // 2]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0.01)
        await _abort(send)
        return
    await send({"type": "http.response.body", "body": content})


async def _abort(send: Send) -> None:
    """Close the connection without an answer, through uvicorn's own transport."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise RuntimeError("this server gives no access to its connections")
    transport.abort()
    for _ in range(3):  # uvicorn must see the loss before we return without an answer
        with contextlib.suppress(Exception):
            await asyncio.sleep(0)
