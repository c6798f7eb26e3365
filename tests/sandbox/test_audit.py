"""The sandbox's audit must be right: it judges whether links were made exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from incarts_pipeline.sandbox import ApiKey, Repeated, Sandbox, SandboxConfig
from incarts_pipeline.sandbox.app import App
from incarts_pipeline.sandbox.store import Store, digest
from tests.support.sandbox_caller import Caller, calling

KEY = "incarts1-0001"


@pytest.fixture
def call(box: Sandbox) -> Iterator[Caller]:
    """A caller with all scopes."""
    with calling(box) as caller:
        yield caller


def made(call: Caller, key: str | None = None, **changes: object) -> str:
    """Create a link and return its id."""
    return str(call.create(key, **changes).json()["data"]["id"])


def test_empty_sandbox(box: Sandbox) -> None:
    """Nothing happened, nothing is counted."""
    audit = box.audit()
    assert (audit.links, audit.requests, audit.limited_share, audit.statuses) == (0, 0, 0, {})
    assert box.requests() == []


def test_duplicates_are_listed(box: Sandbox, call: Caller) -> None:
    """Two links under one key are a duplicate, with both ids."""
    box.reconfigure(idempotency_window=0)
    ids = [made(call, KEY), made(call, KEY)]
    made(call, "incarts1-0002", name="Other")
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (3, 1)
    assert audit.duplicated_keys == (Repeated(project="demo", what=KEY, by=tuple(sorted(ids))),)


def test_duplicates_in_different_content_are_found(box: Sandbox, call: Caller) -> None:
    """Two links under one key are a duplicate although their bodies differ."""
    box.reconfigure(idempotency_window=0)
    made(call, KEY)
    made(call, KEY, name="Other")
    audit = box.audit()
    assert (audit.duplicates, audit.repeated_bodies, audit.second_bodies) == (1, 0, 1)


def test_equal_bodies_are_listed(box: Sandbox, call: Caller) -> None:
    """Equal bodies under different keys are listed, with all ids."""
    ids = [made(call, f"incarts1-000{n}") for n in range(3)]
    made(call, "incarts1-0009", name="Other")
    audit = box.audit()
    assert (audit.duplicates, audit.repeated_bodies) == (0, 1)
    [repeated] = audit.repeated_links
    assert (repeated.project, repeated.by) == ("demo", tuple(sorted(ids)))
    assert repeated.what == box.requests()[0].body_hash


def test_second_bodies_count_whatever_the_answer(box: Sandbox, call: Caller) -> None:
    """A key with a second body is found although it was refused, failed or lost."""
    made(call, KEY)
    assert call.create(KEY, name="Other").status_code == 409
    box.fail_next("error_before")
    assert call.create("incarts1-0002").status_code == 500
    assert call.create("incarts1-0002", name="").status_code == 400
    audit = box.audit()
    assert audit.second_bodies == 2
    assert [one.what for one in audit.disputed_keys] == [KEY, "incarts1-0002"]
    assert [len(one.by) for one in audit.disputed_keys] == [2, 2]


def test_replays_are_no_findings(box: Sandbox, call: Caller) -> None:
    """The same key and body again is as it should be."""
    assert len({made(call, KEY) for _ in range(5)}) == 1
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.repeated_bodies, audit.second_bodies) == (
        1, 0, 0, 0,
    )  # fmt: skip
    assert (audit.requests, audit.statuses) == (5, {"201": 5})


def test_projects_are_told_apart(box: Sandbox, call: Caller) -> None:
    """One key in two projects made one link in each: no duplicate, but two bodies."""
    box.reconfigure(
        keys=[ApiKey(projects=frozenset({"demo", "more"}))], idempotency_scope="project"
    )
    made(call, KEY)
    made(call, KEY, projectId="more")
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (2, 0, 1)


def test_qr_codes_are_judged_too(box: Sandbox, call: Caller) -> None:
    """Two QR codes under one key are a duplicate; a link and a QR code are not."""
    box.reconfigure(idempotency_window=0)
    link = made(call, KEY)
    for name in ("one", "two"):
        assert call.qr(link, "incarts1-qr-1", identifier=name).status_code == 201
    assert call.qr(link, KEY, identifier="three").status_code == 201
    audit = box.audit()
    assert (audit.links, audit.qr_codes, audit.duplicates) == (1, 3, 1)
    assert audit.duplicated_keys[0].what == "incarts1-qr-1"


def test_requests_are_recorded(box: Sandbox, call: Caller) -> None:
    """Each request is listed with what it brought and what it got."""
    headers = {"X-Correlation-ID": "corr-0001", "Idempotency-Key": KEY}
    answer = call.http.post("/v1/links", json=call.body(), headers=headers)
    call.http.get(f"/v1/links/{answer.json()['data']['id']}")
    create, read = box.requests()
    assert (create.method, create.path, create.status) == ("POST", "/v1/links", 201)
    assert (create.idempotency_key, create.correlation_id) == (KEY, "corr-0001")
    assert create.body_hash == digest(answer.request.content)
    assert create.link_id == answer.json()["data"]["id"]
    assert create.fault is None
    assert (read.method, read.status, read.idempotency_key) == ("GET", 200, None)
    assert read.at >= create.at > 1_600_000_000


def test_looking_counts_as_no_request(box: Sandbox, call: Caller) -> None:
    """Short links, images and the sandbox's own pages are not the API's requests."""
    link = call.create().json()["data"]
    for url in (link["shortLink"], link["qrCode"]["imageUrl"], "/_sandbox/audit", "/else"):
        call.http.get(url, headers={"Authorization": f"Bearer {box.token}"})
    assert box.audit().requests == 1


def test_requests_at_work_are_counted() -> None:
    """Whoever sent one may be gone: it counts until the server is done with it."""

    async def leaves_in_the_middle() -> list[int]:
        store, left = Store(None), asyncio.Event()
        app = App(store, SandboxConfig())
        scope = {"type": "http", "method": "POST", "path": "/v1/links"}
        scope |= {"headers": [(b"host", b"127.0.0.1")], "query_string": b""}

        async def receive() -> dict[str, object]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(_: object) -> None:
            raise AssertionError("nobody is there to answer to")

        request = asyncio.create_task(app(scope, receive, send))
        await asyncio.sleep(0)
        at_work = app.audit().unanswered
        left.set()
        await request
        counts = [at_work, app.audit().unanswered]
        store.close()
        return counts

    assert asyncio.run(leaves_in_the_middle()) == [1, 0]
