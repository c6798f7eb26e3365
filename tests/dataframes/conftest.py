"""One sandbox for the tests of a module that don't count what it made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A sandbox for tests that don't count what it made."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def near(shared: Sandbox, tmp_path: Path) -> Settings:
    """Settings for the shared sandbox and a ledger of the test's own."""
    return settings_for(shared, tmp_path)


def settings_for(sandbox: Sandbox, folder: Path) -> Settings:
    return Settings(
        INCARTS_API_BASE_URL=sandbox.base_url,
        INCARTS_API_KEY=sandbox.api_key,
        INCARTS_PROJECT_ID=sandbox.project_id,
        INCARTS_LEDGER=folder / "ledger.db",
        INCARTS_RATE="fixed:none",
        INCARTS_MAX_RPS=None,
    )
