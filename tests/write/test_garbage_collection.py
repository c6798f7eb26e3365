"""Garbage is collected less often within the block, and as before after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from incarts_pipeline.write.garbage_collection import less_garbage_collection


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_fewer_within_the_block() -> None:
    """And as before afterwards."""
    gc.set_threshold(700, 10, 10)
    with less_garbage_collection():
        assert gc.get_threshold()[0] > 700
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("first", [0, 50_000])
def test_what_its_owner_has_set_stays(first: int) -> None:
    """A collector that is off, or comes by less often still."""
    gc.set_threshold(first, 10, 10)
    with less_garbage_collection():
        assert gc.get_threshold() == (first, 10, 10)
    assert gc.get_threshold() == (first, 10, 10)


def test_of_two_blocks_only_the_first_changes_it_back() -> None:
    """Two runs at once in one process: whichever ends last leaves it as it was."""
    gc.set_threshold(700, 10, 10)
    one, other = less_garbage_collection(), less_garbage_collection()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)
