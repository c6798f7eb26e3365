"""The sandbox's faults: what each one does to the link and to its answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.sandbox import Fault, Faults, Sandbox, SandboxConfig
from incarts_pipeline.sandbox.faults import Schedule
from tests.support.sandbox_caller import Caller, calling, until

KEY = "incarts1-0001"


@pytest.fixture
def call(box: Sandbox) -> Iterator[Caller]:
    """A caller with all scopes."""
    with calling(box) as caller:
        yield caller


def outcome(call: Caller, key: str = KEY) -> int | str:
    """Return a create's status, or the kind of its failure."""
    try:
        return call.create(key).status_code
    except httpx.TransportError:
        return "lost"


@pytest.mark.parametrize(
    ("kind", "seen", "links"),
    [
        ("lost_before", "lost", 0),
        ("lost_after", "lost", 1),
        ("error_before", 500, 0),
        ("error_after", 500, 1),
        ("half_answer", "lost", 1),
        ("malformed", 201, 1),
        ("no_id", 201, 1),
        ("stall", 201, 1),
    ],
)
def test_fault_happens_once_and_heals(
    box: Sandbox, call: Caller, kind: str, seen: int | str, links: int
) -> None:
    """The fault is as it says, the log tells it, and the same key then leads to one link."""
    box.reconfigure(stall_seconds=0)
    box.fail_next(kind)
    assert outcome(call) == seen
    assert box.audit().links == links
    [logged] = box.requests()
    assert logged.fault == kind
    assert logged.status == (None if seen == "lost" else seen)
    assert (logged.link_id is not None) == (links == 1)
    answer = call.create(KEY)
    assert answer.status_code == 201
    assert answer.json()["data"]["id"]
    audit = box.audit()
    assert (audit.links, audit.duplicates) == (1, 0)


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("lost_before", "lost"),
        ("lost_after", "lost"),
        ("error_before", 500),
        ("error_after", 500),
        ("late", 504),
        ("half_answer", "lost"),
        ("malformed", 201),
        ("no_id", 201),
        ("stall", 201),
    ],
)
def test_fault_befalls_replays_too(box: Sandbox, call: Caller, kind: str, seen: int | str) -> None:
    """A remembered key's answer can be lost as well, and makes nothing."""
    box.reconfigure(stall_seconds=0)
    assert outcome(call) == 201
    box.fail_next(kind)
    assert outcome(call) == seen
    assert (box.requests()[-1].fault, box.audit().links) == (kind, 1)


@pytest.mark.parametrize(
    ("kind", "seen"), [("error_before", 500), ("lost_after", "lost"), ("half_answer", "lost")]
)
def test_ordered_fault_befalls_reading(
    box: Sandbox, call: Caller, kind: str, seen: int | str
) -> None:
    """A fault that names a link befalls reading it; chance and other orders don't."""
    link = call.create(KEY).json()["data"]["id"]
    box.fail_next(kind)
    box.fail_next(kind, where=link)

    def read() -> int | str:
        try:
            return call.http.get(f"/v1/links/{link}").status_code
        except httpx.TransportError:
            return "lost"

    assert [read(), read()] == [seen, 200]


def test_malformed_answer_is_a_page(box: Sandbox, call: Caller) -> None:
    """A success may carry a web page."""
    box.fail_next("malformed")
    answer = call.create(KEY)
    assert (answer.status_code, answer.headers["content-type"]) == (201, "text/html")


def test_answer_without_id(box: Sandbox, call: Caller) -> None:
    """A success may lack its id."""
    box.fail_next("no_id")
    assert call.create(KEY).json() == {"data": {"status": "active"}}


@pytest.mark.parametrize(("closes", "seen"), [(False, 504), (True, "lost")])
def test_late_link_comes_after_the_answer(
    box: Sandbox, call: Caller, closes: bool, seen: int | str
) -> None:
    """The client is told of a failure, or cut off, and the link is made later."""
    box.reconfigure(late_seconds=0.2, late_closes=closes)
    box.fail_next("late")
    assert outcome(call) == seen
    assert box.audit().links == 0
    until(lambda: box.audit().links == 1)


def test_half_answer_is_half(box: Sandbox, call: Caller) -> None:
    """The answer's beginning arrives before the connection breaks."""
    box.fail_next("half_answer")
    with call.http.stream("POST", "/v1/links", json=call.body()) as answer:
        assert answer.status_code == 201
        parts = answer.iter_raw()
        received = next(parts)
        with pytest.raises(httpx.TransportError):
            next(parts)
    assert received.startswith(b'{"data": {"id": "lnk_')
    assert len(received) < int(answer.headers["content-length"])


def test_fail_next_picks_by_key_or_body(box: Sandbox, call: Caller) -> None:
    """A scripted fault waits for the request that it was meant for, so many times."""
    box.fail_next("error_before", times=2, where="sku-7")
    box.fail_next("error_before", where=KEY)
    assert call.create("incarts1-0002").status_code == 201
    assert call.create(metadata={"sku": "sku-7"}).status_code == 500
    assert call.create(KEY).status_code == 500
    assert call.create(name="sku-7 again").status_code == 500
    assert call.create(KEY, metadata={"sku": "sku-7"}).status_code == 201


def test_scripts_come_in_order(box: Sandbox, call: Caller) -> None:
    """Scripted faults befall one request after the other."""
    for kind in ("error_before", "lost_after", "malformed"):
        box.fail_next(kind)
    assert [outcome(call, f"incarts1-000{n}") for n in range(4)] == [500, "lost", 201, 201]
    assert [one.fault for one in box.requests()] == [
        "error_before", "lost_after", "malformed", None,
    ]  # fmt: skip


def test_faults_spare_what_is_refused(box: Sandbox, call: Caller) -> None:
    """A scripted fault waits until a request is let in."""
    box.fail_next("lost_after")
    assert call.create(KEY, name="").status_code == 400
    assert call.http.get("/v1/links/lnk_x").status_code == 404
    assert outcome(call) == "lost"


def test_unknown_fault_is_an_error(box: Sandbox) -> None:
    """A misspelt fault is told, not passed over."""
    with pytest.raises(ValueError, match="lost_afterwards"):
        box.fail_next("lost_afterwards")


def test_qr_codes_have_faults_too(box: Sandbox, call: Caller) -> None:
    """Creating a QR code fails in the same ways."""
    link = call.create().json()["data"]["id"]
    box.fail_next("error_after")
    assert call.qr(link, KEY).status_code == 500
    assert call.qr(link, KEY).status_code == 201
    assert box.audit().qr_codes == 1


def faults_of(shares: Faults, seed: int, keys: list[str]) -> dict[str, list[Fault | None]]:
    """Return what a schedule does to each key, try by try."""
    schedule = Schedule()
    schedule.restart(shares, seed)
    found: dict[str, list[Fault | None]] = {}
    for key in keys:
        found.setdefault(key, []).append(schedule.pick(key, b""))
    return found


@given(seed=st.integers(), keys=st.lists(st.sampled_from("abcde"), max_size=40), data=st.data())
def test_schedule_is_repeatable_in_any_order(
    seed: int, keys: list[str], data: st.DataObject
) -> None:
    """The same seed gives each key the same faults, however the requests are mixed."""
    shares = Faults.spread(0.7)
    mixed = data.draw(st.permutations(keys))
    assert faults_of(shares, seed, keys) == faults_of(shares, seed, mixed)


def test_another_seed_is_another_schedule() -> None:
    """Seeds give different schedules."""
    keys = [f"key-{n}" for n in range(50)]
    shares = Faults.spread(0.5)
    assert faults_of(shares, 1, keys) != faults_of(shares, 2, keys)


def test_shares_are_kept() -> None:
    """Each fault befalls about its share of many requests, independently set."""
    schedule = Schedule()
    schedule.restart(Faults(lost_after=0.1, late=0.3), 0)
    counts = Counter(schedule.pick(f"key-{n}", b"") for n in range(20_000))
    assert set(counts) == {Fault.LOST_AFTER, Fault.LATE, None}
    assert counts[Fault.LOST_AFTER] == pytest.approx(2_000, rel=0.1)
    assert counts[Fault.LATE] == pytest.approx(6_000, rel=0.1)


def test_every_request_can_fail() -> None:
    """Shares that add up to one spare nobody."""
    schedule = Schedule()
    schedule.restart(Faults.spread(1), 0)
    assert all(schedule.pick(f"key-{n}", b"") for n in range(2_000))


def test_faults_can_stop_after_the_first_requests(box: Sandbox, call: Caller) -> None:
    """A storm can end by itself, and starts afresh when it is set again."""
    box.reconfigure(faults={"error_before": 1.0, "first": 2})
    assert [call.create().status_code for _ in range(3)] == [500, 500, 201]
    box.reconfigure(faults={"error_before": 1.0, "first": 1})
    assert [call.create().status_code for _ in range(2)] == [500, 201]


@pytest.mark.parametrize(
    "shares", [{"lost_after": 1.5}, {"late": -0.1}, {"late": 0.6, "stall": 0.6}, {"typo": 0.1}]
)
def test_shares_must_make_sense(shares: dict[str, float]) -> None:
    """Impossible shares are refused."""
    with pytest.raises(ValueError, match="faults"):
        SandboxConfig().with_changes({"faults": shares})


def test_stalled_requests_dont_hold_up_the_end() -> None:
    """A sandbox stops although answers are outstanding, and cuts them off."""
    failures: list[Exception] = []
    config = SandboxConfig(stall_seconds=3600, late_seconds=3600)
    with Sandbox(config) as box:
        box.fail_next("stall")
        box.fail_next("late")

        def stalled() -> None:
            with calling(box) as caller:
                try:
                    caller.create(KEY)
                except httpx.TransportError as error:
                    failures.append(error)

        thread = threading.Thread(target=stalled)
        thread.start()
        until(lambda: box.audit().links == 1)
        with calling(box) as caller:
            assert caller.create().status_code == 504
    thread.join()
    assert len(failures) == 1
