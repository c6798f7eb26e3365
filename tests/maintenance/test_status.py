"""What a ledger holds, as a value and in words."""

from __future__ import annotations

import pytest

from incarts_pipeline.kinds import LINKS
from incarts_pipeline.ledger.overview import Overview, SetOverview
from incarts_pipeline.maintenance.review import evidence, open_cases, row_history
from incarts_pipeline.maintenance.status import ledger_overview, stop_runs
from incarts_pipeline.models import State
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products


def test_overview_in_words() -> None:
    """Each number that isn't zero is explained; an API key goes by its fingerprint."""
    sets = SetOverview(
        project_id="acme",
        link_set="summer",
        kind=LINKS.name,
        links=1,
        missing=1,
        states={State.INTENDED: 2, State.NEEDS_REVIEW: 1},
    )
    found = Overview(
        facts={"base_url": "https://api"},
        sets=[sets],
        running={},
        rates={"8f85": Learned(kind=LimitKind.OPEN, rate=60)},
        waiting={},
        two_links=1,
        damage="",
        soundness="the file is intact",
    )
    assert str(found).splitlines() == [
        "ledger for https://api",
        "  acme summer: 1 link, 1 missing, 2 intended, 1 needs review",
        "missing: has a link, but left the catalog",
        "intended: recorded, but not sent; the next run sends it",
        "needs review: may exist at Incarts; see `incarts review list`",
        "nothing is running",
        "rate limit for the API key with the fingerprint 8f85: none met up to 60 requests a second",
        "the file is intact",
        "alarm: 1 key has more than one link",
    ]


def test_settings_are_the_environments(
    run: Run, box: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to give them who has set the environment, as for `write_links`."""
    monkeypatch.setenv("INCARTS_API_BASE_URL", box.base_url)
    monkeypatch.setenv("INCARTS_PROJECT_ID", box.project_id)
    monkeypatch.setenv("INCARTS_LEDGER", str(settings.ledger))
    run(products(2))
    assert ledger_overview().sets[0].links == 2
    assert (open_cases(), evidence().cases, stop_runs()) == ([], [], {})
    assert len(row_history("000001")) == 1
