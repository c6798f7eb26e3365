"""Service behind the API: who may, how often, once only, and the effect of a request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from incarts_pipeline.sandbox import validate
from incarts_pipeline.sandbox.config import (
    ApiKey,
    Concurrent,
    Fault,
    OtherBody,
    Owner,
    Per,
    Replay,
    SandboxConfig,
)
from incarts_pipeline.sandbox.faults import Schedule
from incarts_pipeline.sandbox.limits import Limiters
from incarts_pipeline.sandbox.store import Remembered, Store, digest, new_link, new_qr, smart_select

_INTERNAL = {"code": "internal", "message": "internal error"}
_TIMEOUT = {"code": "timeout", "message": "gateway timeout"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str

    @property
    def key(self) -> str | None:
        """The idempotency key."""
        return self.headers.get("idempotency-key")

    @property
    def fingerprint(self) -> str:
        """What a key was used for: the hash of the endpoint and the exact body."""
        # The path too: one key at two endpoints is a conflict, as with another body.
        return digest(self.path.encode() + b"\n" + self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer before it is put into bytes: content, or an error's code, message and details.

    `made` is the id of the link or QR code, `fault` what is still to be done to the answer.
    """

    status: int
    content: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    made: str | None = None
    fault: Fault | None = None


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, details: Any = ()) -> None:
        super().__init__(message)
        error = {"code": code, "message": message, "details": list(details)}
        self.answer = Answer(status=status, error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One write that passed the checks of who and how; `link` is given for a QR code."""

    owner: str
    key: str | None
    fingerprint: str
    project: str
    content: dict[str, Any]
    body: bytes
    link: Mapping[str, Any] | None
    fault: Fault | None
    at: float


@dataclass(frozen=True, slots=True)
class _Running:
    fingerprint: str
    done: asyncio.Event


class Service:
    """The API without its transport; everything runs in one event loop.

    Args:
        store: the memory.
        config: the switches.
        clock: the time in seconds since 1970.
    """

    def __init__(self, store: Store, config: SandboxConfig, clock: Callable[[], float]) -> None:
        self.host = ""
        self.faults = Schedule()
        self._store = store
        self._clock = clock
        self._running: dict[tuple[str, str], _Running] = {}
        self._late: set[asyncio.Task[None]] = set()
        self._limiters = _limiters_of(config)
        self._take(config)
        self.faults.restart(config.faults, config.seed)

    def reconfigure(self, changes: Mapping[str, Any]) -> None:
        """Change switches; limits and faults start afresh when they are named.

        Raises:
            ValueError: there is no such switch, or it can't take that value.
        """
        self._take(self.config.with_changes(changes))
        if changes.keys() & {"limits", "hints", "count_refused"}:
            self._limiters = _limiters_of(self.config)
        if changes.keys() & {"faults", "seed"}:
            self.faults.restart(self.config.faults, self.config.seed)

    def _take(self, config: SandboxConfig) -> None:
        self.config = config
        self._keys = {one.key: one for one in config.keys}
        self._random = random.Random(config.seed)  # noqa: S311 (jitter)

    async def answer(self, call: Call) -> Answer:
        """Answer one request."""
        headers: dict[str, str] = {}
        try:
            api_key = self._authenticate(call)
            if self.config.limit_first or not self._is_replay(api_key, call):
                self._limit(api_key, call, headers)
            answer = await self._route(api_key, call)
        except validate.InvalidError as invalid:
            details = [{"field": invalid.field, "message": invalid.message}]
            answer = RefusedError(invalid.status, "invalid", invalid.message, details).answer
        except RefusedError as refused:
            answer = refused.answer
        return replace(answer, headers=headers) if headers else answer

    def _authenticate(self, call: Call) -> ApiKey:
        found = self._keys.get(call.headers.get("x-incarts-api-key", ""))
        if found is None:
            raise RefusedError(401, "unauthorized", "the API key is missing or invalid")
        for name in ("idempotency-key", "x-correlation-id"):
            if not 8 <= len(call.headers.get(name, "12345678")) <= 128:
                raise RefusedError(400, "bad_header", f"{name} must have 8 to 128 characters")
        return found

    def _is_replay(self, api_key: ApiKey, call: Call) -> bool:
        if call.key is None:
            return False
        owners = {Owner.KEY: api_key.key, Owner.PROJECT: self._project(call)}
        return self._recall(owners[self.config.idempotency_scope], call.key) is not None

    def _limit(self, api_key: ApiKey, call: Call, headers: dict[str, str]) -> None:
        if not self.config.limits:
            return
        # The project is in the body, which is parsed for it only where a limit asks.
        owners = {Per.KEY: api_key.key, Per.ADDRESS: call.address}
        if any(limit.per is Per.PROJECT for limit in self.config.limits):
            owners[Per.PROJECT] = self._project(call)
        passage = self._limiters.admit(self._clock(), owners)
        headers.update(passage.headers)
        if not passage.allowed:
            raise RefusedError(429, "rate_limited", "too many requests")

    def _project(self, call: Call) -> str:
        """Return the project that a request is about, as far as it can be told."""
        parts = call.path.split("/")
        link = self._store.link(parts[3]) if len(parts) > 3 else None
        if link is not None:
            return str(link["projectId"])
        try:
            return str(validate.parse(call.body).get("projectId", ""))
        except validate.InvalidError:
            return ""

    async def _route(self, api_key: ApiKey, call: Call) -> Answer:
        match call.path.split("/")[2:]:
            case ["links"]:
                self._expect(call, "POST")
                return await self._create_link(api_key, call)
            case ["links", link_id]:
                self._expect(call, "GET")
                await self._pause()
                _need(api_key, "links:read")
                return self._read_link(self._visible(api_key, link_id))
            case ["links", link_id, "qr-codes"]:
                self._expect(call, "POST")
                return await self._create_qr(api_key, call, link_id)
        raise RefusedError(404, "not_found", "there is no such endpoint")

    def _read_link(self, link: Mapping[str, Any]) -> Answer:
        """Answer with a link; only a fault that was ordered for its id befalls that."""
        fault = self.faults.pick_read(link["id"])
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            return Answer(status=500, error=_INTERNAL, fault=fault)
        return Answer(status=200, content=link, made=link["id"], fault=fault)

    def _expect(self, call: Call, method: str) -> None:
        if call.method != method:
            raise RefusedError(405, "method_not_allowed", f"use {method}")

    async def _create_link(self, api_key: ApiKey, call: Call) -> Answer:
        content = self._parse(call)
        validate.link_shape(content)
        _need(api_key, "links:write")
        # Shape (400) came first, now scope and project (403), then meaning (422), which is a part
        # of the effect: its refusal is remembered under the key.
        if content["projectId"] not in api_key.projects:
            raise RefusedError(403, "wrong_project", "the key may not access this project")
        _need(api_key, validate.retailer_scope(content))
        return await self._once(self._job(api_key, call, content, None))

    async def _create_qr(self, api_key: ApiKey, call: Call, link_id: str) -> Answer:
        content = self._parse(call)
        validate.qr_shape(content, needs_project=self.config.qr_needs_project)
        _need(api_key, "qr-codes:write")
        link = self._visible(api_key, link_id)
        # 404 and not 403: who may not see a link isn't told that it exists.
        if content.get("projectId", link["projectId"]) != link["projectId"]:
            raise RefusedError(404, "not_found", "the project has no such link")
        return await self._once(self._job(api_key, call, content, link))

    def _parse(self, call: Call) -> dict[str, Any]:
        most = self.config.max_body_bytes
        if most is not None and len(call.body) > most:
            raise RefusedError(413, "too_large", f"the body is larger than {most} bytes")
        return validate.parse(call.body)

    def _visible(self, api_key: ApiKey, link_id: str) -> dict[str, Any]:
        link = self._store.link(link_id)
        if link is None or link["projectId"] not in api_key.projects:
            raise RefusedError(404, "not_found", "there is no such link")
        return link

    def _job(
        self,
        api_key: ApiKey,
        call: Call,
        content: dict[str, Any],
        link: Mapping[str, Any] | None,
    ) -> _Job:
        project = str((link or content)["projectId"])
        per_key = self.config.idempotency_scope is Owner.KEY
        return _Job(
            owner=api_key.key if per_key else project,
            key=call.key,
            fingerprint=call.fingerprint if call.key else "",
            project=project,
            content=content,
            body=call.body,
            link=link,
            # Drawn once for a request, here, so that a replay draws anew.
            fault=self.faults.pick(call.key, call.body),
            at=self._clock(),
        )

    async def _once(self, job: _Job) -> Answer:
        """Do a job unless its key is being worked on or was answered before."""
        # Before the key is looked at: nothing of this request ever happened.
        if job.fault is Fault.LOST_BEFORE:
            return Answer(status=500, error=_INTERNAL, fault=job.fault)
        if job.key is None:
            return await self._work(job)
        slot = (job.owner, job.key)
        while running := self._running.get(slot):
            self._same_body(running.fingerprint, job)
            if self.config.concurrent is Concurrent.CONFLICT:
                raise RefusedError(409, "in_progress", "a request with this key is being worked on")
            await running.done.wait()
        known = self._recall(job.owner, job.key)
        if known is not None:
            self._same_body(known.fingerprint, job)
            return self._again(known, job)
        # No await since the look at `_running`, so no other request can be between.
        self._running[slot] = _Running(job.fingerprint, asyncio.Event())
        return await self._work(job)

    def _recall(self, owner: str, key: str) -> Remembered | None:
        return self._store.recall(owner, key, self._clock() - self.config.idempotency_window)

    def _same_body(self, fingerprint: str, job: _Job) -> None:
        if fingerprint == job.fingerprint or self.config.other_body is OtherBody.REPLAY:
            return
        status = 409 if self.config.other_body is OtherBody.CONFLICT else 422
        raise RefusedError(status, "idempotency_conflict", "the key came with another body before")

    def _again(self, known: Remembered, job: _Job) -> Answer:
        """Answer from memory; a fault may still befall the answer."""
        if job.fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            return Answer(status=500, error=_INTERNAL, fault=job.fault)
        if job.fault is Fault.LATE:
            return Answer(status=504, error=_TIMEOUT, fault=job.fault)
        if known.made is None:
            return Answer(status=known.status, error=known.error)
        content = self._store.made(known.made)
        return Answer(status=known.status, content=content, made=known.made, fault=job.fault)

    async def _work(self, job: _Job) -> Answer:
        if job.fault is Fault.LATE:
            # Kept in a set: the loop alone would let a task be collected while it sleeps.
            task = asyncio.create_task(self._land(job))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return Answer(status=504, error=_TIMEOUT, fault=job.fault)
        try:
            await self._pause()
            return self._effect(job)
        finally:
            self._release(job)

    async def _land(self, job: _Job) -> None:
        """Do a late request's work, long after its client was told something else."""
        try:
            await asyncio.sleep(self.config.late_seconds)
            self._effect(job)
        finally:
            self._release(job)

    def _release(self, job: _Job) -> None:
        running = self._running.pop((job.owner, job.key or ""), None)
        if running is not None:
            running.done.set()

    async def _pause(self) -> None:
        if self.config.latency or self.config.jitter:
            jitter = self._random.random() * self.config.jitter
            await asyncio.sleep(self.config.latency + jitter)

    def _effect(self, job: _Job) -> Answer:
        """Make what was asked for, and remember it under its key, in one transaction."""
        with self._store.transaction():
            answer = self._make(job)
            if job.key is not None:
                self._remember(job, job.key, answer)
        return answer

    def _make(self, job: _Job) -> Answer:
        if job.fault is Fault.ERROR_BEFORE:
            return Answer(status=500, error=_INTERNAL, fault=job.fault)
        try:
            content = self._new_link(job) if job.link is None else self._new_qr(job, job.link)
        except RefusedError as refused:
            return refused.answer
        except validate.InvalidError as invalid:
            details = [{"field": invalid.field, "message": invalid.message}]
            return RefusedError(invalid.status, "invalid", invalid.message, details).answer
        if job.fault is Fault.ERROR_AFTER:
            return Answer(status=500, error=_INTERNAL, made=content["id"], fault=job.fault)
        return Answer(status=201, content=content, made=content["id"], fault=job.fault)

    def _remember(self, job: _Job, key: str, answer: Answer) -> None:
        status, replay = answer.status, self.config.replay
        # A 5xx after the effect is remembered as the link that it was: a replay is to find it.
        # Before the effect there is nothing to remember, unless the switch says that errors stick.
        kept = Remembered(fingerprint=job.fingerprint, status=status, error=answer.error)
        if status >= 500 and replay is not Replay.STORED_ERRORS:
            if answer.made is None:
                return
            kept = Remembered(fingerprint=job.fingerprint, status=201, made=answer.made)
        elif status < 400:
            kept = Remembered(fingerprint=job.fingerprint, status=status, made=answer.made)
        elif status < 500 and replay is Replay.FRESH:
            return
        self._store.remember(job.owner, key, job.at, kept)

    def _new_link(self, job: _Job) -> dict[str, Any]:
        validate.link_meaning(job.content, self.config)
        domain = self.config.short_domain or self.host
        link = new_link(job.content, self.host, domain, self._clock())
        if self.config.smart_select and job.content["intent"] == "add_to_cart":
            link.update(smart_select(job.content))
        self._store.add_link(link, job.key, digest(job.body))
        return link

    def _new_qr(self, job: _Job, link: Mapping[str, Any]) -> dict[str, Any]:
        code = new_qr(job.content, link, self.host, self._clock())
        if not self._store.add_qr(code, job.project, job.key):
            raise RefusedError(409, "duplicate_identifier", "the link has this identifier already")
        return code


def _limiters_of(config: SandboxConfig) -> Limiters:
    return Limiters(config.limits, hints=config.hints, count_refused=config.count_refused)


def _need(api_key: ApiKey, scope: str) -> None:
    if scope not in api_key.scopes:
        raise RefusedError(403, "missing_scope", f"the key has no scope {scope}")
