"""The API itself, as one ASGI application."""

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

from incarts_pipeline.sandbox import validate
from incarts_pipeline.sandbox.config import ApiKey, Fault, SandboxConfig
from incarts_pipeline.sandbox.limits import Limiter, hint_headers
from incarts_pipeline.sandbox.store import Store, body_hash
from incarts_pipeline.sandbox.validate import Invalid

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


@dataclasses.dataclass(slots=True)
class _Answer:
    status: int
    content: dict[str, Any] | None = None
    error: tuple[str, str] | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    link_id: str | None = None


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.answer = _Answer(status, error=(code, message), headers=headers or {})


class App:
    """The sandbox's application; everything runs in one event loop."""

    def __init__(self, store: Store, config: SandboxConfig) -> None:
        self.store = store
        self.config = config
        self.log: deque[Logged] = deque(maxlen=_LOGGED)
        self.host = ""
        self._statuses: Counter[str] = Counter()
        self._random = random.Random(config.seed)  # noqa: S311 (a schedule of faults)
        self._faults_left = config.faults.first
        self._scripted: list[dict[str, Any]] = []
        self._limiters: dict[tuple[int, str], Limiter] = {}
        self._working: dict[tuple[str, str], asyncio.Event] = {}
        self._late: set[asyncio.Task[None]] = set()
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

    def audit(self) -> Any:
        """Count what was made, and what was made twice."""
        return self.store.audit(dict(self._statuses))

    def reconfigure(self, changes: dict[str, Any]) -> None:
        """Change switches while running."""
        self.config = self.config.with_changes(changes)
        if "limits" in changes:
            self._limiters.clear()
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
            answer = await self._answer(scope, headers, body, fault, address)
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
        self, send: Send, answer: _Answer, fault: Fault | None, correlation: str | None
    ) -> int | None:
        """Send an answer, or what the fault leaves of it; return the status that went out."""
        made = answer.status < 300
        if fault in (Fault.LOST_AFTER,) and made:
            await _abort(send)
            return None
        if fault is Fault.STALL and made:
            await asyncio.sleep(self.config.stall_seconds)
        if fault is Fault.ERROR_AFTER and made:
            answer = _Answer(500, error=("internal", "internal error"))
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

    async def _answer(
        self, scope: Scope, headers: dict[str, str], body: bytes, fault: Fault | None, address: str
    ) -> _Answer:
        try:
            api_key = self._authenticate(headers)
            parts = scope["path"].strip("/").split("/")
            if self.config.limit_first or not self._is_replay(api_key, headers):
                self._limit(api_key, body, address)
            if scope["method"] == "GET" and len(parts) == 3 and parts[1] == "links":
                return self._read_link(api_key, parts[2])
            if scope["method"] != "POST":
                raise _Refused(405, "method_not_allowed", "method not allowed")
            if parts == ["v1", "links"]:
                return await self._write(api_key, headers, body, fault, None)
            if len(parts) == 4 and parts[1] == "links" and parts[3] == "qr-codes":
                return await self._write(api_key, headers, body, fault, parts[2])
            raise _Refused(404, "not_found", "no such endpoint")
        except _Refused as refused:
            return refused.answer

    def _authenticate(self, headers: dict[str, str]) -> ApiKey:
        given = headers.get("x-incarts-api-key")
        found = next((one for one in self.config.keys if one.key == given), None)
        if found is None:
            raise _Refused(401, "unauthorized", "the API key is missing or invalid")
        for name in ("idempotency-key", "x-correlation-id"):
            value = headers.get(name)
            if value is not None and not 8 <= len(value) <= 128:
                raise _Refused(400, "bad_header", f"{name} must have 8 to 128 characters")
        return found

    def _is_replay(self, api_key: ApiKey, headers: dict[str, str]) -> bool:
        key = headers.get("idempotency-key")
        if key is None:
            return False
        owners = (api_key.key, *api_key.projects)
        window = self.config.idempotency_window
        return any(self.store.recall(owner, key, time.time(), window) for owner in owners)

    def _limit(self, api_key: ApiKey, body: bytes, address: str) -> None:
        now = time.time()
        for position, limit in enumerate(self.config.limits):
            owner = {"key": api_key.key, "address": address}.get(limit.per)
            if owner is None:
                owner = str((_json(body) or {}).get("projectId"))
            limiter = self._limiters.setdefault((position, owner), Limiter(limit))
            verdict = limiter.check(now, count_refused=self.config.count_refused)
            if not verdict.allowed:
                headers = hint_headers(self.config.hints, limit, verdict, now)
                raise _Refused(429, "rate_limited", "too many requests", headers)

    def _read_link(self, api_key: ApiKey, link_id: str) -> _Answer:
        if "links:read" not in api_key.scopes:
            raise _Refused(403, "missing_scope", "the key has no scope links:read")
        content = self.store.link(link_id)
        if content is None or content["projectId"] not in api_key.projects:
            raise _Refused(404, "not_found", "there is no such link")
        return _Answer(200, content=content)

    async def _write(
        self,
        api_key: ApiKey,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None,
        link_id: str | None,
    ) -> _Answer:
        content = _json(body)
        if content is None:
            raise _Refused(400, "bad_json", "the body is not a JSON object")
        scope = "links:write" if link_id is None else "qr-codes:write"
        if scope not in api_key.scopes:
            raise _Refused(403, "missing_scope", f"the key has no scope {scope}")
        project = self._project(content, link_id)
        if project not in api_key.projects:
            raise _Refused(403, "wrong_project", "the key may not access this project")
        key = headers.get("idempotency-key")
        owner = api_key.key if self.config.idempotency_scope == "key" else str(project)
        if key is not None:
            known = await self._replay(owner, key, body)
            if known is not None:
                return known
            self.store.begin(owner, key, body_hash(body), time.time())
        return await self._work(api_key, owner, key, content, body, fault, link_id)

    def _project(self, content: dict[str, Any], link_id: str | None) -> Any:
        if link_id is None:
            return content.get("projectId")
        link = self.store.link(link_id)
        if link is None:
            raise _Refused(404, "not_found", "there is no such link")
        return content.get("projectId", link["projectId"])

    async def _replay(self, owner: str, key: str, body: bytes) -> _Answer | None:
        """Answer from memory: the same again, a conflict, or None to go on."""
        while True:
            now, window = time.time(), self.config.idempotency_window
            known = self.store.recall(owner, key, now, window)
            if known is None:
                return None
            if known.body_hash != body_hash(body):
                raise _Refused(409, "idempotency_conflict", "the key came with another body before")
            if known.status is not None:
                return _remembered(known.status, known.answer)
            event = self._working.get((owner, key))
            if event is None:  # its process died: nobody is at it any more
                return None
            if self.config.concurrent == "conflict":
                raise _Refused(409, "in_progress", "a request with this key is being worked on")
            await event.wait()

    async def _work(
        self,
        api_key: ApiKey,
        owner: str,
        key: str | None,
        content: dict[str, Any],
        body: bytes,
        fault: Fault | None,
        link_id: str | None,
    ) -> _Answer:
        event = asyncio.Event()
        if key is not None:
            self._working[owner, key] = event
        late = False
        try:
            if fault is Fault.ERROR_BEFORE:
                raise _Refused(500, "internal", "internal error")
            if fault is Fault.LATE:
                late = True
                self._later(api_key, owner, key, content, body, link_id, event)
                return _Answer(504, error=("timeout", "gateway timeout"))
            return self._effect(api_key, owner, key, content, body, link_id, fault)
        except _Refused as refused:
            if key is not None:
                self._remember_failure(owner, key, refused.answer)
            raise
        finally:
            if not late:
                self._done(owner, key, event)

    def _done(self, owner: str, key: str | None, event: asyncio.Event) -> None:
        event.set()
        if key is not None:
            self._working.pop((owner, key), None)

    def _later(
        self,
        api_key: ApiKey,
        owner: str,
        key: str | None,
        content: dict[str, Any],
        body: bytes,
        link_id: str | None,
        event: asyncio.Event,
    ) -> None:
        async def land() -> None:
            await asyncio.sleep(self.config.late_seconds)
            try:
                self._effect(api_key, owner, key, content, body, link_id, None)
            except _Refused as refused:
                if key is not None:
                    self._remember_failure(owner, key, refused.answer)
            finally:
                self._done(owner, key, event)

        task = asyncio.create_task(land())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _effect(
        self,
        api_key: ApiKey,
        owner: str,
        key: str | None,
        content: dict[str, Any],
        body: bytes,
        link_id: str | None,
        fault: Fault | None,
    ) -> _Answer:
        """Make what was asked for, and remember it under its key in the same step."""
        try:
            made = self._make(api_key, content, body, key or "", link_id)
        except Invalid as invalid:
            raise _Refused(invalid.status, "invalid", invalid.message) from None
        if key is not None:
            stored_error = self.config.replay == "stored_errors" and fault is Fault.ERROR_AFTER
            self.store.finish(
                owner,
                key,
                500 if stored_error else 201,
                json.dumps(["internal", "internal error"] if stored_error else made),
            )
        return _Answer(201, content=made, link_id=made["id"])

    def _make(
        self, api_key: ApiKey, content: dict[str, Any], body: bytes, key: str, link_id: str | None
    ) -> dict[str, Any]:
        if link_id is not None:
            code = self.store.add_qr(link_id, validate.qr_body(content), key, self.host)
            if code is None:
                raise _Refused(409, "duplicate_identifier", "the link has this identifier already")
            return code
        link = validate.link_body(content)
        scope = validate.scope_of(link)
        if scope not in api_key.scopes:
            raise _Refused(403, "missing_scope", f"the key has no scope {scope}")
        made = self.store.add_link(link, key, body_hash(body), self.host)
        if self.config.smart_select and "location" in link and link.get("products"):
            made |= {"offers": [{"storeId": link["location"].get("storeId", "5260")}]}
        return made

    def _remember_failure(self, owner: str, key: str, answer: _Answer) -> None:
        if self.config.replay == "stored_errors" and answer.status >= 500:
            self.store.finish(owner, key, answer.status, json.dumps(answer.error))
        else:
            self.store.forget(owner, key)

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
        import segno  # noqa: PLC0415 (only for the few codes that are looked at)

        name = request.path_params["name"].removesuffix(".png")
        code = request.query_params.get("code")
        url = f"{self.host}/s/{name}" + (f"?qr={code}" if code else "")
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


def _remembered(status: int, text: str) -> _Answer:
    content = json.loads(text)
    if status >= 400:
        return _Answer(status, error=(content[0], content[1]))
    return _Answer(status, content=content, link_id=content["id"])


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
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
