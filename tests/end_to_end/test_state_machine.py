"""One row's life under whatever Hypothesis comes up with: every fault is a rule."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from incarts_pipeline.ledger.state_machine import ReplayRule
from tests.end_to_end.simulation import checks
from tests.end_to_end.simulation.memory_ledger import MemoryLedger
from tests.end_to_end.simulation.server import FAULTS, Fault
from tests.end_to_end.simulation.world import WINDOW, World, calm, respell, review

DEADLINE = ReplayRule(window=WINDOW, api_key_fingerprint=None).deadline
GAPS = (0.5, 29.0, 31.0, 600.0, DEADLINE - 1, DEADLINE + 1, WINDOW + 1, 1e5)


class RowsLife(RuleBasedStateMachine):
    """Runs are started, stepped, killed and frozen while requests and clocks go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0, MemoryLedger())
        self.world.catalog = {"1": b"A"}

    @rule(host=st.integers(0, 1))
    def a_run_starts(self, host: int) -> None:
        """The job is started, perhaps while another one is under way."""
        if len(self.world.running()) < 3:
            self.world.start(host)

    @precondition(lambda self: self.world.running())
    @rule(data=st.data(), steps=st.integers(1, 12))
    def a_run_goes_on(self, data: st.DataObject, steps: int) -> None:
        """Some process takes some steps."""
        me = data.draw(st.sampled_from(self.world.running()))
        for _ in range(steps):
            if me.frozen_until <= self.world.t:
                self.world.step(me)

    @precondition(lambda self: self.world.running())
    @rule(data=st.data())
    def a_run_is_killed(self, data: st.DataObject) -> None:
        """SIGKILL, at whichever boundary it stands."""
        self.world.crash(data.draw(st.sampled_from(self.world.running())))

    @precondition(lambda self: self.world.running())
    @rule(data=st.data(), seconds=st.sampled_from(GAPS))
    def a_run_is_frozen(self, data: st.DataObject, seconds: float) -> None:
        """SIGSTOP, or a machine that sleeps."""
        self.world.freeze(data.draw(st.sampled_from(self.world.running())), seconds)

    @rule(faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4))
    def requests_will_fail(self, faults: list[Fault]) -> None:
        """The next requests fail in these ways."""
        self.world.faults.extend(faults)

    @rule(seconds=st.sampled_from(GAPS))
    def time_passes(self, seconds: float) -> None:
        """Seconds, or a day."""
        self.world.pass_time(seconds)

    @rule(content=st.sampled_from((b"A", b"B", None)))
    def the_row_changes(self, content: bytes | None) -> None:
        """Its content changes, changes back, or it leaves the catalog."""
        self.world.catalog.pop("1", None)
        if content is not None:
            self.world.catalog["1"] = content

    @rule(host=st.integers(0, 1), offset=st.sampled_from((-120.0, 0.0, 120.0)))
    def a_clock_is_set(self, host: int, offset: float) -> None:
        """By no more than the margin covers."""
        self.world.hosts[host].offset = offset

    @rule(host=st.integers(0, 1))
    def a_machine_boots(self, host: int) -> None:
        """All that runs on it dies, and its boot clock starts anew."""
        booted = self.world.hosts[host]
        for one in self.world.running():
            if one.host is booted:
                self.world.crash(one)
        booted.boots, booted.booted_at = booted.boots + 1, self.world.t

    @rule(key=st.sampled_from(("key-1", "key-2")))
    def the_api_key_is_rotated(self, key: str) -> None:
        """Runs that start from now on use another key."""
        self.world.fingerprint = key

    @rule()
    def its_key_is_spelled_anew(self) -> None:
        """And a person says so."""
        respell(self.world)

    @rule()
    def the_ledger_is_backed_up(self) -> None:
        """Also while runs are at work."""
        self.world.ledger.back_up()

    @precondition(lambda self: not self.world.running())
    @rule()
    def the_ledger_is_rolled_back(self) -> None:
        """To its last backup; runs refuse it until a person restores it."""
        self.world.roll_back()

    @precondition(lambda self: self.world.is_refused)
    @rule()
    def a_person_restores(self) -> None:
        """What was sent since the backup is held."""
        self.world.restore()

    @precondition(lambda self: not self.world.running())
    @rule()
    def a_person_reviews(self) -> None:
        """With Incarts' help, once nothing is on its way any more."""
        calm(self.world)
        review(self.world)

    @invariant()
    def nothing_is_duplicated_lost_or_undone(self) -> None:
        """What must be true at any moment."""
        assert checks.always(self.world) == []

    def teardown(self) -> None:
        """Whatever happened: run again, and every row has its link or says why not."""
        self.world.play()
        calm(self.world)
        assert checks.always(self.world) + checks.forgotten(self.world) == []
        review(self.world)
        calm(calm(self.world))
        wrong = checks.always(self.world) + checks.forgotten(self.world, reviewed=True)
        assert wrong == []


TestRowsLife = RowsLife.TestCase
TestRowsLife.settings = settings(
    max_examples=150,
    stateful_step_count=40,
)
