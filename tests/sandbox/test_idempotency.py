"""What the sandbox does with idempotency keys, each way that the real API may turn out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.sandbox import ApiKey, Audit, Fault, Sandbox, SandboxConfig
from incarts_pipeline.sandbox.service import Answer, Call, Service
from incarts_pipeline.sandbox.store import Store
from tests.support.sandbox_caller import NOON, Caller, Clock, calling, until

KEY = "incarts1-0001"


@pytest.fixture
def call(box: Sandbox) -> Iterator[Caller]:
    """A caller with all scopes."""
    with calling(box) as caller:
        yield caller


def test_replay_gives_the_same_link(box: Sandbox, call: Caller) -> None:
    """A key's second use answers with the first one's link, to the letter."""
    first, second = call.create(KEY), call.create(KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert box.audit().links == 1


def test_without_key_every_request_makes_a_link(box: Sandbox, call: Caller) -> None:
    """Nothing is remembered of a request without a key."""
    assert call.create().json() != call.create().json()
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.repeated_bodies) == (2, 0, 1)


def test_window_is_a_switch() -> None:
    """A key is remembered for the window from its first use, and then forgotten."""
    clock = Clock()
    config = SandboxConfig(idempotency_window=1800)
    with Sandbox(config, clock=clock) as box, calling(box) as call:
        first = call.create(KEY).json()["data"]["id"]
        clock.now = NOON + 1799
        assert call.create(KEY).json()["data"]["id"] == first
        clock.now = NOON + 1800
        assert call.create(KEY).json()["data"]["id"] != first
        assert box.audit().duplicates == 1


def test_window_of_nothing_forgets_at_once(box: Sandbox, call: Caller) -> None:
    """A server without idempotency makes a link each time."""
    box.reconfigure(idempotency_window=0)
    assert call.create(KEY).json() != call.create(KEY).json()


@pytest.mark.parametrize(("scope", "links"), [("key", 2), ("project", 1)])
def test_scope_is_a_switch(box: Sandbox, call: Caller, scope: str, links: int) -> None:
    """Under a rotated API key a replay is trusted only if keys are remembered per project."""
    rotated = ApiKey(key="ic_rotated")
    box.reconfigure(keys=[ApiKey(), rotated], idempotency_scope=scope)
    call.create(KEY)
    with calling(box, rotated) as caller:
        assert caller.create(KEY).status_code == 201
    assert box.audit().links == links
    assert box.audit().duplicates == links - 1


@pytest.mark.parametrize(
    ("other_body", "status"), [("conflict", 409), ("unprocessable", 422), ("replay", 201)]
)
def test_other_body_is_a_switch(box: Sandbox, call: Caller, other_body: str, status: int) -> None:
    """A key with another body is refused, or answered with the first body's link."""
    box.reconfigure(other_body=other_body)
    first = call.create(KEY)
    second = call.create(KEY, name="Other")
    assert second.status_code == status
    assert (second.content == first.content) is (status == 201)
    assert (box.audit().links, box.audit().second_bodies) == (1, 1)


def test_key_is_bound_to_its_endpoint(call: Caller) -> None:
    """The same key and body for another link's QR code is not a replay."""
    one, two = (call.create().json()["data"]["id"] for _ in range(2))
    assert call.qr(one, KEY).status_code == 201
    assert call.qr(two, KEY).status_code == 409


def test_qr_codes_are_replayed(box: Sandbox, call: Caller) -> None:
    """A QR code's key works as a link's does."""
    link = call.create().json()["data"]["id"]
    first, second = call.qr(link, KEY), call.qr(link, KEY)
    assert first.content == second.content
    assert second.status_code == 201
    assert box.audit().qr_codes == 1


def test_concurrent_conflict(box: Sandbox, call: Caller) -> None:
    """While a key is being worked on, its second use is a 409."""
    box.reconfigure(concurrent="conflict", late_seconds=3600)
    box.fail_next("late")
    assert call.create(KEY).status_code == 504
    assert call.create(KEY).status_code == 409
    assert call.create(KEY, name="Other").status_code == 409
    assert call.create("incarts1-0002").status_code == 201


def test_concurrent_wait(box: Sandbox, call: Caller) -> None:
    """While a key is being worked on, its second use waits for the first one's link."""
    box.reconfigure(concurrent="wait", late_seconds=0.2)
    box.fail_next("late")
    assert call.create(KEY).status_code == 504
    assert call.create(KEY).status_code == 201
    assert box.audit().links == 1


@pytest.mark.parametrize("concurrent", ["conflict", "wait"])
def test_race_makes_one_link(box: Sandbox, concurrent: str) -> None:
    """Many requests with one key at once make one link, however the others are answered."""
    box.reconfigure(concurrent=concurrent, latency=0.02, jitter=0.02)

    def create(_: int) -> tuple[int, bytes]:
        with calling(box) as caller:
            answer = caller.create(KEY)
            return answer.status_code, answer.content

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(16)))
    statuses = {status for status, _ in answers}
    assert statuses <= {201, 409} if concurrent == "conflict" else statuses == {201}
    assert len({content for status, content in answers if status == 201}) == 1
    assert box.audit().links == 1


def test_same_forgets_server_errors(box: Sandbox, call: Caller) -> None:
    """By default a 500 is tried afresh, and a link behind a 500 is answered at last."""
    box.fail_next("error_before")
    assert call.create(KEY).status_code == 500
    assert call.create(KEY).status_code == 201
    box.fail_next("error_after")
    assert call.create("incarts1-0002").status_code == 500
    assert call.create("incarts1-0002").status_code == 201
    assert (box.audit().links, box.audit().duplicates) == (2, 0)


@pytest.mark.parametrize(("kind", "links"), [("error_before", 0), ("error_after", 1)])
def test_stored_errors_are_answered_again(
    box: Sandbox, call: Caller, kind: str, links: int
) -> None:
    """A server may keep a 500 under its key, whether or not there is a link behind it."""
    box.reconfigure(replay="stored_errors")
    box.fail_next(kind)
    assert [call.create(KEY).status_code for _ in range(3)] == [500, 500, 500]
    assert box.audit().links == links


@pytest.mark.parametrize(
    ("replay", "status"), [("same", 422), ("stored_errors", 422), ("fresh", 201)]
)
def test_refusals_may_be_kept(box: Sandbox, call: Caller, replay: str, status: int) -> None:
    """Whether a business rule's refusal outlives the rule can be chosen."""
    box.reconfigure(replay=replay, intents=["custom_url"])
    assert call.create(KEY).status_code == 422
    box.reconfigure(intents=["add_to_cart"])
    assert call.create(KEY).status_code == status


@pytest.mark.parametrize("replay", ["same", "stored_errors", "fresh"])
def test_refusals_of_the_caller_are_never_kept(box: Sandbox, call: Caller, replay: str) -> None:
    """A 401, 403, 400 or 429 leaves the key free for another try."""
    box.reconfigure(replay=replay, keys=[ApiKey(key="ic_other")])
    assert call.create(KEY).status_code == 401
    box.reconfigure(keys=[ApiKey(scopes=frozenset())])
    assert call.create(KEY).status_code == 403
    box.reconfigure(keys=[ApiKey()], limits=[{"requests": 1, "seconds": 3600}])
    assert call.create(KEY, name="").status_code == 400
    assert call.create(KEY).status_code == 429
    box.reconfigure(limits=[])
    assert call.create(KEY).status_code == 201


def test_late_refusal_frees_the_key(box: Sandbox, call: Caller) -> None:
    """A late request that breaks a rule makes nothing, and its key is kept with the refusal."""
    box.reconfigure(concurrent="wait", late_seconds=0.05)
    box.fail_next("late")
    assert call.create(KEY, products=[]).status_code == 504
    assert call.create(KEY, products=[]).status_code == 422
    assert box.audit().links == 0


def test_late_link_is_remembered(box: Sandbox, call: Caller) -> None:
    """Once a late link has landed, its key answers with it."""
    box.reconfigure(late_seconds=0)
    box.fail_next("late")
    call.create(KEY)
    until(lambda: box.audit().links == 1)
    assert call.create(KEY).status_code == 201
    assert box.audit().links == 1


async def served(
    config: SandboxConfig, requests: list[tuple[int, int, Fault | None]], *, at_once: bool
) -> tuple[list[Answer], Audit]:
    """Send (key, body, fault) to a service, one after the other or all at once."""
    store = Store(None)
    service = Service(store, config, Clock())
    loose = []
    for key, body, fault in requests:
        if fault is not None:
            service.faults.order(fault, 1, f"incarts1-{key}-{body}")
        content = {
            "projectId": "demo",
            "name": f"incarts1-{key}-{body}",
            "retailer": "shop",
            "intent": "custom_url",
            "customUrl": "https://shop.example",
        }
        headers = {"x-incarts-api-key": config.keys[0].key, "idempotency-key": f"incarts1-{key}"}
        call = Call(
            method="POST",
            path="/v1/links",
            headers=headers,
            body=json.dumps(content).encode(),
            address="127.0.0.1",
        )
        loose.append(asyncio.ensure_future(service.answer(call)))
        if not at_once:
            await loose[-1]
    answers = await asyncio.gather(*loose)
    await asyncio.gather(*(one for one in asyncio.all_tasks() if one is not asyncio.current_task()))
    audit = store.audit({}, 0)
    store.close()
    return answers, audit


@given(
    requests=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 2), st.none() | st.sampled_from(sorted(Fault))),
        max_size=12,
    ),
    at_once=st.booleans(),
    replay=st.sampled_from(["same", "stored_errors", "fresh"]),
    concurrent=st.sampled_from(["conflict", "wait"]),
    other_body=st.sampled_from(["conflict", "unprocessable", "replay"]),
)
def test_within_the_window_a_key_never_makes_two_links(
    requests: list[tuple[int, int, Fault | None]],
    at_once: bool,
    replay: str,
    concurrent: str,
    other_body: str,
) -> None:
    """Whatever fails, in whatever order, a key has at most one link, and all answers agree."""
    config = SandboxConfig(late_seconds=0).with_changes(
        {"replay": replay, "concurrent": concurrent, "other_body": other_body}
    )
    answers, audit = asyncio.run(served(config, requests, at_once=at_once))
    assert audit.duplicates == 0
    told: dict[int, set[str]] = {}
    for (key, _, _), answer in zip(requests, answers, strict=True):
        if answer.made is not None:
            told.setdefault(key, set()).add(answer.made)
    assert all(len(ids) == 1 for ids in told.values())
    assert len(told) <= audit.links <= len({key for key, _, _ in requests})
