"""Fixtures of the cards' tests: one world for all of them, since it takes two runs to make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.displayed import World, world


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A plan that is refused and a result with failures, of a catalog that is up to no good."""
    with world(tmp_path_factory.mktemp("world")) as one:
        yield one
