"""The pace that processes share: kept in a file, leased in batches, and safe to lose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import LedgerError
from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Heard, Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.rate_limit.pace_state import pace_name
from incarts_pipeline.rate_limit.shared import SharedRate
from incarts_pipeline.rate_limit.shared_file import PaceFile, pace_path, waiting_now
from incarts_pipeline.rate_limit.worker import Slots
from tests.support.rates.answers import ACCEPTED, refused
from tests.support.sqlite_files import opened

KEY = "a1b2c3d4"
REFUSED = refused(30.0)


class SetClock(Clock):
    """A clock that stands where it is put."""

    def __init__(self, boot_id: str = "this boot") -> None:
        self.seconds, self.boot_id = 1_000.0, boot_id

    def now(self) -> Stamp:
        return Stamp(wall=1.8e9 + self.seconds, boot=self.seconds, boot_id=self.boot_id)

    def monotonic(self) -> float:
        return self.seconds


MADE: list[PaceFile] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the files of a test, which a run does at its end."""
    yield
    while MADE:
        MADE.pop().close()


def pace_file(
    ledger: Path, clock: Clock, rate: float | None = None, learned: Learned | None = None
) -> PaceFile:
    """Return a process's way to the pace beside a ledger."""

    def fresh() -> Shared:
        return Shared(RateController(rate or 100.0, learned, learns=not rate))

    MADE.append(PaceFile(ledger, pace_name(KEY, fixed=rate is not None), fresh, clock))
    return MADE[-1]


def wants(worker: str, *heard: Heard, ceiling: float = 100.0) -> Report:
    """Return a report of a worker that wants ten slots."""
    return Report(worker, ceiling, heard, 10)


def test_two_processes_share_one_rate(tmp_path: Path) -> None:
    """What two get together is what one would get; neither waits for the other's connection."""
    clock, got = SetClock(), 0
    files = [pace_file(tmp_path / "ledger", clock, rate=20.0) for _ in range(2)]
    for _ in range(200):
        for i, file in enumerate(files):
            got += len(file.exchange(wants(f"worker {i}", ceiling=20.0)).slots)
        clock.seconds += 0.05
    assert got == pytest.approx(20 * 10, abs=6)


def test_a_block_holds_for_everybody(tmp_path: Path) -> None:
    """A 429 that one process heard stops the other, and `status` can say why."""
    clock, ledger = SetClock(), tmp_path / "ledger"
    one, other = (pace_file(ledger, clock) for _ in range(2))
    assert one.exchange(wants("one")).slots
    one.exchange(wants("one", Heard(REFUSED, clock.seconds, clock.seconds, False)))
    clock.seconds += 0.01
    lease = other.exchange(wants("other"))
    assert lease.slots == []
    assert lease.waiting is not None
    assert str(waiting_now(ledger, clock)[KEY]) == str(lease.waiting)
    assert lease.waiting.said == "429"
    clock.seconds += 5.0
    assert waiting_now(ledger, clock) == {}, "both are gone"


def test_another_boot_begins_anew(tmp_path: Path) -> None:
    """Times of another boot mean nothing, nor do those of another host."""
    clock, ledger = SetClock(), tmp_path / "ledger"
    file = pace_file(ledger, clock)
    file.exchange(wants("one"))
    file.exchange(wants("one", Heard(REFUSED, clock.seconds, clock.seconds, False)))
    assert not file.exchange(wants("one")).slots
    assert pace_file(ledger, SetClock("another boot")).exchange(wants("one")).slots


@pytest.mark.parametrize("damage", [b"no database at all, not even close to one", b""])
def test_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    """Nothing is in it that can't be learned again."""
    ledger = tmp_path / "ledger"
    pace_path(ledger).write_bytes(damage)
    assert pace_file(ledger, SetClock()).exchange(wants("one")).slots


def test_state_of_another_version_is_made_anew(tmp_path: Path) -> None:
    """An older version's state is not read as if it were this one's."""
    clock, ledger = SetClock(), tmp_path / "ledger"
    pace_file(ledger, clock).exchange(wants("one"))
    with opened(pace_path(ledger)) as connection:
        connection.execute("""UPDATE pace SET state = '{"controller": {"speed": 3}}'""")
    assert waiting_now(ledger, clock) == {}
    assert pace_file(ledger, clock).exchange(wants("one")).slots


def test_state_with_the_fields_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    """What it counted is not in today's fields, so that it is learned again."""
    clock, ledger = SetClock(), tmp_path / "ledger"
    old = RateController(100.0, Learned(kind=LimitKind.BUCKET, rate=5.0))
    states = TypeAdapter(Shared)
    with_more = json.loads(states.dump_json(Shared(old)))
    assert states.validate_json(json.dumps(with_more)).controller == old
    with_more["controller"]["meter"] = {"accepted": 7}
    with pytest.raises(ValidationError):
        states.validate_json(json.dumps(with_more))
    pace_file(ledger, clock).exchange(wants("one"))
    with opened(pace_path(ledger)) as connection:
        connection.execute("UPDATE pace SET state = ?", (json.dumps(with_more),))
    assert pace_file(ledger, clock).exchange(wants("one")).learned is None


def shared_rate(ledger: Path, rate: float = 1_000.0) -> SharedRate:
    """Return one run's pace at a fixed rate, with real clocks."""
    clock = Clock()
    return SharedRate(
        pace_file(ledger, clock, rate), Slots("run", rate, None), clock, asyncio.Event()
    )


async def permits(pace: SharedRate, n: int) -> None:
    """Take so many permits, answered at once."""
    clock = Clock()
    for _ in range(n):
        while (wait := pace.ask(clock.monotonic())) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)
        now = clock.monotonic()
        pace.answered(ACCEPTED, sent_at=now, now=now)


def test_slots_are_leased_in_batches(tmp_path: Path) -> None:
    """A request costs no transaction of its own."""

    async def go() -> int:
        async with shared_rate(tmp_path / "ledger") as pace:
            await permits(pace, 300)
        with opened(pace_path(tmp_path / "ledger")) as connection:
            [(exchanges,)] = connection.execute("SELECT version FROM pace").fetchall()
        return int(exchanges)

    assert asyncio.run(go()) < 100


def test_who_waits_hears_of_slots_that_come_sooner(tmp_path: Path) -> None:
    """A refusal brings a canary's slot, whatever the last lease said of when to ask again."""

    async def go() -> None:
        news = asyncio.Event()
        clock = Clock()
        file = pace_file(tmp_path / "ledger", clock, 1_000.0)
        async with SharedRate(file, Slots("run", 1_000.0, None), clock, news) as pace:
            while pace.ask(clock.monotonic()) > 0:
                await asyncio.wait_for(news.wait(), 60.0)
            sent_at = clock.monotonic()
            news.clear()
            pace.answered(REFUSED, sent_at=sent_at, now=sent_at)
            assert pace.ask(sent_at) > 0
            await asyncio.wait_for(news.wait(), 60.0)

    asyncio.run(go())


def test_store_that_is_gone_stops_sending(tmp_path: Path) -> None:
    """No slot without the file; after half a minute the run ends, and says what is wrong."""

    async def go() -> None:
        ledger = tmp_path / "ledger"
        pace_path(ledger).mkdir()
        async with shared_rate(ledger) as pace:
            clock = Clock()
            assert pace.ask(clock.monotonic()) > 0
            await asyncio.sleep(0.1)
            assert pace.ask(clock.monotonic()) > 0
            assert "pace" in str(pace.waiting_for(clock.monotonic()))
            with pytest.raises(LedgerError, match="pace"):
                pace.ask(clock.monotonic() + 31.0)

    asyncio.run(go())


def test_store_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """A short failure is only a pause."""

    async def go() -> None:
        path = pace_path(tmp_path / "ledger")
        path.mkdir()
        async with shared_rate(tmp_path / "ledger") as pace:
            pace.ask(Clock().monotonic())
            await asyncio.sleep(0.1)
            path.rmdir()
            await permits(pace, 5)
            assert not pace.waiting_for(Clock().monotonic())

    asyncio.run(go())


def test_known_limit_is_what_a_fresh_state_begins_with(tmp_path: Path) -> None:
    """A run that finds no pace file goes on at the limit that the ledger knows."""
    clock, learned = SetClock(), Learned(kind=LimitKind.BUCKET, rate=50.0)
    file = pace_file(tmp_path / "ledger", clock, learned=learned)
    lease = file.exchange(wants("one"))
    assert (lease.learned, lease.pace) == (learned, pytest.approx(50.0, rel=0.01))


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("hard", [False, True])
def test_a_link_to_another_file_is_refused(tmp_path: Path, end: str, hard: bool) -> None:
    """Neither a database elsewhere gets a table, nor is another file taken for a damaged pace."""
    clock, ledger, victim = SetClock(), tmp_path / "ledger", tmp_path / "victim"
    with opened(victim) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = victim.read_bytes()
    pace_path(ledger).touch()
    link = Path(f"{pace_path(ledger)}{end}")
    link.unlink(missing_ok=True)
    if hard:
        link.hardlink_to(victim)
    else:
        link.symlink_to(victim)
    with pytest.raises(LedgerError, match="is a link"):
        pace_file(ledger, clock).exchange(wants("a"))
    with pytest.raises(LedgerError, match="is a link"):
        waiting_now(ledger, clock)
    assert victim.read_bytes() == before


def test_a_ledger_that_is_a_link_has_one_pace(tmp_path: Path) -> None:
    """It lies beside the ledger's own file, under whatever name that was opened."""
    (tmp_path / "ledger").touch()
    (tmp_path / "link").symlink_to("ledger")
    assert pace_path(tmp_path / "link") == pace_path(tmp_path / "ledger")
