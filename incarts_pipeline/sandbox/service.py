"""What the API does with a request: who may, how often, once only, and its effect."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from incarts_pipeline.sandbox import validate
from incarts_pipeline.sandbox.config import ApiKey, Fault, SandboxConfig
from incarts_pipeline.sandbox.limits import Limiter, hint_headers
from incarts_pipeline.sandbox.store import Store, body_hash
from incarts_pipeline.sandbox.validate import InvalidError


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer before it is put into bytes: content, or an error's code and message."""

    status: int
    content: dict[str, Any] | None = None
    error: tuple[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    link_id: str | None = None


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.answer = Answer(status=status, error=(code, message), headers=headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One write that passed all checks but those of its body; `link_id` for a QR code."""

    api_key: ApiKey
    owner: str
    key: str | None
    content: dict[str, Any]
    body: bytes
    link_id: str | None
    fault: Fault | None


class Service:
    """The API without its transport; everything runs in one event loop."""

    def __init__(self, store: Store, config: SandboxConfig) -> None:
        self.store = store
        self.config = config
        self.host = ""
        self._limiters: dict[tuple[int, str], Limiter] = {}
        self._working: dict[tuple[str, str], asyncio.Event] = {}
        self._late: set[asyncio.Task[None]] = set()

    def reconfigure(self, config: SandboxConfig) -> None:
        """Take other switches; new limits start afresh."""
        if config.limits != self.config.limits:
            self._limiters.clear()
        self.config = config

    async def answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None,
        address: str,
    ) -> Answer:
        """Answer one request; `fault` may keep its effect from happening, or make it late."""
        try:
            api_key = self._authenticate(headers)
            parts = path.strip("/").split("/")
            if self.config.limit_first or not self._is_replay(api_key, headers):
                self._limit(api_key, body, address)
            if method == "GET" and len(parts) == 3 and parts[1] == "links":
                return self._read_link(api_key, parts[2])
            if method != "POST":
                raise RefusedError(405, "method_not_allowed", "method not allowed")
            if parts == ["v1", "links"]:
                return await self._write(api_key, headers, body, fault, None)
            if len(parts) == 4 and parts[1] == "links" and parts[3] == "qr-codes":
                return await self._write(api_key, headers, body, fault, parts[2])
            raise RefusedError(404, "not_found", "no such endpoint")
        except RefusedError as refused:
            return refused.answer

    def _authenticate(self, headers: dict[str, str]) -> ApiKey:
        given = headers.get("x-incarts-api-key")
        found = next((one for one in self.config.keys if one.key == given), None)
        if found is None:
            raise RefusedError(401, "unauthorized", "the API key is missing or invalid")
        for name in ("idempotency-key", "x-correlation-id"):
            value = headers.get(name)
            if value is not None and not 8 <= len(value) <= 128:
                raise RefusedError(400, "bad_header", f"{name} must have 8 to 128 characters")
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
                owner = str((parse_json(body) or {}).get("projectId"))
            limiter = self._limiters.setdefault((position, owner), Limiter(limit))
            verdict = limiter.check(now, count_refused=self.config.count_refused)
            if not verdict.allowed:
                headers = hint_headers(self.config.hints, limit, verdict, now)
                raise RefusedError(429, "rate_limited", "too many requests", headers)

    def _read_link(self, api_key: ApiKey, link_id: str) -> Answer:
        if "links:read" not in api_key.scopes:
            raise RefusedError(403, "missing_scope", "the key has no scope links:read")
        content = self.store.link(link_id)
        if content is None or content["projectId"] not in api_key.projects:
            raise RefusedError(404, "not_found", "there is no such link")
        return Answer(status=200, content=content)

    async def _write(
        self,
        api_key: ApiKey,
        headers: dict[str, str],
        body: bytes,
        fault: Fault | None,
        link_id: str | None,
    ) -> Answer:
        content = parse_json(body)
        if content is None:
            raise RefusedError(400, "bad_json", "the body is not a JSON object")
        scope = "links:write" if link_id is None else "qr-codes:write"
        if scope not in api_key.scopes:
            raise RefusedError(403, "missing_scope", f"the key has no scope {scope}")
        project = self._project(content, link_id)
        if project not in api_key.projects:
            raise RefusedError(403, "wrong_project", "the key may not access this project")
        key = headers.get("idempotency-key")
        owner = api_key.key if self.config.idempotency_scope == "key" else str(project)
        if key is not None:
            known = await self._replay(owner, key, body)
            if known is not None:
                return known
            self.store.begin(owner, key, body_hash(body), time.time())
        return await self._work(
            _Job(
                api_key=api_key,
                owner=owner,
                key=key,
                content=content,
                body=body,
                link_id=link_id,
                fault=fault,
            )
        )

    def _project(self, content: dict[str, Any], link_id: str | None) -> Any:
        if link_id is None:
            return content.get("projectId")
        link = self.store.link(link_id)
        if link is None:
            raise RefusedError(404, "not_found", "there is no such link")
        return content.get("projectId", link["projectId"])

    async def _replay(self, owner: str, key: str, body: bytes) -> Answer | None:
        """Answer from memory: the same again, a conflict, or None to go on."""
        while True:
            now, window = time.time(), self.config.idempotency_window
            known = self.store.recall(owner, key, now, window)
            if known is None:
                return None
            if known.body_hash != body_hash(body):
                raise RefusedError(
                    409, "idempotency_conflict", "the key came with another body before"
                )
            if known.status is not None:
                return _remembered(known.status, known.answer)
            event = self._working.get((owner, key))
            if event is None:  # its process died: nobody is at it any more
                return None
            if self.config.concurrent == "conflict":
                raise RefusedError(409, "in_progress", "a request with this key is being worked on")
            await event.wait()

    async def _work(self, job: _Job) -> Answer:
        event = asyncio.Event()
        if job.key is not None:
            self._working[job.owner, job.key] = event
        if job.fault is Fault.LATE:
            task = asyncio.create_task(self._land(job, event))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return Answer(status=504, error=("timeout", "gateway timeout"))
        try:
            if job.fault is Fault.ERROR_BEFORE:
                raise RefusedError(500, "internal", "internal error")
            return self._effect(job)
        except RefusedError as refused:
            self._remember_failure(job, refused.answer)
            raise
        finally:
            self._done(job, event)

    async def _land(self, job: _Job, event: asyncio.Event) -> None:
        """Do a late request's work, long after its client was told something else."""
        await asyncio.sleep(self.config.late_seconds)
        try:
            self._effect(job)
        except RefusedError as refused:
            self._remember_failure(job, refused.answer)
        finally:
            self._done(job, event)

    def _done(self, job: _Job, event: asyncio.Event) -> None:
        event.set()
        if job.key is not None:
            self._working.pop((job.owner, job.key), None)

    def _effect(self, job: _Job) -> Answer:
        """Make what was asked for, and remember it under its key in the same step."""
        try:
            made = self._make(job)
        except InvalidError as invalid:
            raise RefusedError(invalid.status, "invalid", invalid.message) from None
        if job.key is not None:
            stored = self.config.replay == "stored_errors" and job.fault is Fault.ERROR_AFTER
            answer = ["internal", "internal error"] if stored else made
            status = 500 if stored else 201
            self.store.finish(job.owner, job.key, status, json.dumps(answer))
        return Answer(status=201, content=made, link_id=made["id"])

    def _make(self, job: _Job) -> dict[str, Any]:
        if job.link_id is not None:
            body = validate.qr_body(job.content)
            code = self.store.add_qr(job.link_id, body, job.key or "", self.host)
            if code is None:
                raise RefusedError(409, "duplicate_identifier", "the link has this identifier")
            return code
        link = validate.link_body(job.content)
        scope = validate.scope_of(link)
        if scope not in job.api_key.scopes:
            raise RefusedError(403, "missing_scope", f"the key has no scope {scope}")
        made = self.store.add_link(link, job.key or "", body_hash(job.body), self.host)
        if self.config.smart_select and "location" in link and link.get("products"):
            made |= {"offers": [{"storeId": link["location"].get("storeId", "5260")}]}
        return made

    def _remember_failure(self, job: _Job, answer: Answer) -> None:
        if job.key is None:
            return
        if self.config.replay == "stored_errors" and answer.status >= 500:
            self.store.finish(job.owner, job.key, answer.status, json.dumps(answer.error))
        else:
            self.store.forget(job.owner, job.key)


def _remembered(status: int, text: str) -> Answer:
    content = json.loads(text)
    if status >= 400:
        return Answer(status=status, error=(content[0], content[1]))
    return Answer(status=status, content=content, link_id=content["id"])


def parse_json(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None for anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
