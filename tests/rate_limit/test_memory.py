"""What is remembered of a limit beyond one ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from incarts_pipeline.clock import Clock
from incarts_pipeline.rate_limit.factory import pacing
from incarts_pipeline.rate_limit.leases import Shared
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.rate_limit.memory import memory_path, remember, remembered
from incarts_pipeline.rate_limit.shared_file import PaceFile
from incarts_pipeline.settings import Settings, key_fingerprint

URL, KEY = "https://someone@api.incarts.example:8443/base", "a1b2"
LEARNED = Learned(kind=LimitKind.WINDOW, rate=10.0, budget=600, window=60.0, burst=100.0)


def test_it_is_kept_for_each_host_and_key() -> None:
    """Another port or another key is another limit; no user name is in the file's name."""
    assert remembered(URL, KEY) is None
    remember(URL, KEY, LEARNED)
    assert remembered(URL, KEY) == LEARNED
    assert remembered(URL.replace("8443", "8444"), KEY) is None
    assert remembered(URL, "c3d4") is None
    assert memory_path(URL, KEY).name == "api.incarts.example_8443-a1b2.json"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"kind": "window"}',
        '{"kind": "bucket", "rate": -1.0}',
        '{"kind": "window", "rate": 10.0, "budget": 600}',
        '{"kind": "window", "rate": 10.0, "budget": 600, "window": -60.0}',
        '{"kind": "window", "rate": 10.0, "budget": 600, "window": 60.0, "burst": NaN}',
        '{"kind": "window", "rate": 10.0, "budget": 0, "window": 60.0}',
        '{"kind": "bucket", "rate": 10.0, "window": Infinity}',
    ],
)
def test_what_makes_no_sense_is_not_remembered(text: str) -> None:
    """A file that is damaged, or from another version, is as good as none."""
    remember(URL, KEY, LEARNED)
    memory_path(URL, KEY).write_text(text)
    assert remembered(URL, KEY) is None


def test_a_place_that_can_not_be_written_is_no_failure() -> None:
    """The run goes on; the next one in another folder starts anew."""
    memory_path(URL, KEY).parent.parent.mkdir(parents=True)
    memory_path(URL, KEY).parent.write_text("a file in its place")
    remember(URL, KEY, LEARNED)
    assert remembered(URL, KEY) is None


def test_another_ledger_starts_warm(settings: Settings) -> None:
    """A run in a new folder begins where the last one ended, and is remembered in its turn."""
    client = settings.model_copy(update={"rate": "adaptive", "max_rps": 100.0}).for_client()
    fingerprint = key_fingerprint(client.api_key)
    remember(client.base_url, fingerprint, LEARNED)

    def alone(name: str, fresh: Callable[[], Shared]) -> PaceFile:
        assert isinstance(client.ledger, Path)
        return PaceFile(client.ledger, name, fresh, Clock())

    async def main() -> Learned | None:
        async with pacing(client, "run", None, Clock(), alone, asyncio.Event()) as rate:
            rate.ask(Clock().monotonic())
            return rate.learned

    assert asyncio.run(main()) == LEARNED
    assert remembered(client.base_url, fingerprint) == LEARNED
