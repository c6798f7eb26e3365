"""The rate controller's promises, kept whatever it is told, in whatever order."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from pydantic import TypeAdapter

from incarts_pipeline.rate_limit.controller import RateController
from incarts_pipeline.rate_limit.leases import Heard, Report, Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind, Phase
from tests.support.rates.answers import ACCEPTED, UNKNOWN, refused


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accepted", "refused", "hinted", "lost", "never"]),
            st.floats(0.0, 30.0),
        ),
        max_size=60,
    ),
    st.sampled_from([None, 100.0, 3.0]),
    st.sampled_from([None, Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0)]),
)
def test_it_never_stops_for_good(
    story: list[tuple[str, float]], ceiling: float | None, learned: Learned | None
) -> None:
    """Whatever it was told: once the server accepts, it sends, and never above the ceiling."""
    controller, now = RateController(ceiling, learned), 0.0
    answers = {"accepted": ACCEPTED, "hinted": refused(20.0), "lost": UNKNOWN}
    for what, pause in story:
        wait = controller.ask(now)
        assert 0.0 <= wait < 1e5
        now += wait
        if wait == 0.0 and what != "never":
            answer = answers.get(what, refused())
            controller.answered(answer, sent_at=now, now=now + 0.05)
        now += pause
    # Refusals hours apart speak of windows of hours; nothing makes it wait for good.
    sent, until = 0, now + 259_200.0
    while now < until and sent < 20:
        wait = controller.ask(now)
        now += wait
        if wait == 0.0:
            sent += 1
            controller.answered(ACCEPTED, sent_at=now, now=now + 0.05)
            assert ceiling is None or controller.ask(now) > 0.5 / ceiling - 0.06
    assert sent == 20


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accepted", "refused", "hinted", "lost"]),
            st.floats(0.0, 10.0),
            st.sampled_from(["one", "two"]),
        ),
        max_size=60,
    )
)
def test_state_survives_a_restart_at_any_point(story: list[tuple[str, float, str]]) -> None:
    """Written and read again after every exchange, it says the same as one that was kept."""
    states = TypeAdapter(Shared)
    kept = written = Shared(RateController(100.0))
    answers = {"accepted": ACCEPTED, "hinted": refused(20.0), "lost": UNKNOWN}
    written = states.validate_json(states.dump_json(written))
    now = 0.0
    heard: dict[str, list[Heard]] = {"one": [], "two": []}
    for what, pause, worker in story:
        report = Report(worker, 100.0, heard[worker], 8)
        lease = kept.exchange(report, now)
        assert written.exchange(report, now) == lease
        written = states.validate_json(states.dump_json(written))
        answer = answers.get(what, refused())
        heard[worker] = [Heard(answer, at, at + 0.05, lease.canary) for at in lease.slots]
        now += pause


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=5, max_size=80),
    st.floats(1.0, 200.0),
)
def test_never_more_than_the_estimate_allows(story: list[tuple[float, bool]], rate: float) -> None:
    """However late the asking, and whatever the answers: in no stretch more than pace × time."""
    controller = RateController(None, Learned(kind=LimitKind.BUCKET, rate=rate))
    now, sent, budget = 0.0, 0, 1.0
    for pause, good in story:
        if controller.phase is not Phase.CRUISE or controller.block is not None:
            break
        until, fastest = now + pause, 0.0
        while now <= until and controller.block is None:
            fastest = max(fastest, controller.pace)
            wait = controller.ask(now)
            if wait > 0:
                now += wait
                continue
            sent += 1
            assert sent <= budget + fastest * (now + 0.15) + 1
            controller.answered(ACCEPTED if good else refused(), sent_at=now, now=now + 0.01)
        now = max(now, until)


def test_answers_minutes_apart_teach_no_pace_for_hours() -> None:
    """A limit of one in three minutes that only sparse answers speak for is given up in an hour."""
    controller, now = RateController(None), 0.0
    for is_accepted, pause in [
        (False, 30.0), (False, 0.0), (True, 11.0), (False, 20.0), (True, 0.0), (False, 0.0),
        (True, 7.0), (True, 30.0), (False, 20.0), (True, 16.0), (True, 30.0), (False, 0.0),
    ]:  # fmt: skip
        wait = controller.ask(now)
        now += wait
        if wait == 0.0:
            answer = ACCEPTED if is_accepted else refused(20.0 if pause == 20.0 else None)
            controller.answered(answer, sent_at=now, now=now + 0.05)
        now += 0.0 if pause == 20.0 else pause
    until, sent = now + 3_600.0, 0
    while now < until and sent < 200:
        wait = controller.ask(now)
        now += wait
        if wait == 0.0:
            sent += 1
            controller.answered(ACCEPTED, sent_at=now, now=now + 0.05)
    assert sent == 200
