"""Guards as pure functions of a plan's figures."""

from __future__ import annotations

import pytest

from incarts_pipeline.plan.guards import Refusal, SetFigures, refusals


def guards(refuse_over: int | None = None, allow_empty: bool = False, **figures: int) -> list[str]:
    """Return the guards that stand against one set's figures."""
    numbers = {"rows": 100, "live": 100, "create": 0, "replace": 0, "newly_missing": 0} | figures
    one = SetFigures(link_set="s", **numbers)
    found = refusals([one], refuse_over=refuse_over, allow_empty=allow_empty, missing_scopes=[])
    return [refusal.guard for refusal in found]


@pytest.mark.parametrize(
    ("figures", "refused"),
    [
        ({"replace": 30}, False),
        ({"replace": 31}, True),
        ({"newly_missing": 31}, True),
        ({"newly_missing": 31, "create": 31}, True),
        ({"replace": 16, "newly_missing": 15}, True),
        ({"live": 19, "replace": 19}, False),
        ({"live": 20, "replace": 7}, True),
        ({"create": 10_000}, False),
    ],
)
def test_mass_change(figures: dict[str, int], refused: bool) -> None:
    """More than 30 % replaced or missing is refused, once there are 20 links."""
    assert (guards(**figures) == ["mass_change"]) is refused


@pytest.mark.parametrize(
    ("figures", "refused"),
    [
        ({"create": 1_000}, True),
        ({"create": 999}, False),
        ({"live": 200, "create": 1_000}, False),
        ({"live": 200, "create": 1_001}, True),
        ({"live": 99, "create": 10_000}, False),
        ({"create": 10_000, "was_complete": False}, False),
    ],
)
def test_mass_growth(figures: dict[str, int], refused: bool) -> None:
    """More than five new links for each that is there, once a set of 100 was complete."""
    assert (guards(**{"was_complete": True} | figures) == ["mass_growth"]) is refused


def test_new_keys_for_all_rows_trip_both_guards() -> None:
    """What is gone is counted whether or not as many new links stand beside it."""
    figures = {"rows": 2_000, "newly_missing": 100, "create": 2_000, "was_complete": True}
    assert guards(**figures) == ["mass_change", "mass_growth"]


def test_empty_catalog() -> None:
    """An empty catalog is refused over live links only, and can be allowed."""
    assert guards(rows=0) == ["empty_catalog"]
    assert guards(rows=0, live=0) == []
    assert guards(rows=0, allow_empty=True) == []


def test_refuse_over_counts_replacements_too() -> None:
    """New links are new links, whether they replace one or not."""
    assert guards(refuse_over=10, create=6, replace=5) == ["too_many_new"]
    assert guards(refuse_over=11, create=6, replace=5) == []


def test_missing_scopes_can_not_be_approved() -> None:
    """No digest gives a key a scope that it lacks."""
    [refusal] = refusals(
        [], refuse_over=None, allow_empty=False, missing_scopes=["retailers:walmart"]
    )
    assert not refusal.approvable
    assert "retailers:walmart" in refusal.message


@pytest.mark.parametrize(
    ("link_set", "replace", "within"),
    [("a", 100, True), ("a", 95, True), ("a", 101, False), ("b", 100, False)],
)
def test_what_was_let_through_lets_through_no_more(
    link_set: str, replace: int, within: bool
) -> None:
    """A yes to a third of one set's links is none to more of them, nor to another set's."""

    def refused(link_set: str, replace: int) -> Refusal:
        figures = SetFigures(
            link_set=link_set, rows=300, live=300, create=0, replace=replace, newly_missing=0
        )
        [only] = refusals([figures], refuse_over=None, allow_empty=False, missing_scopes=[])
        return only

    assert refused(link_set, replace).is_within([refused("a", 100)]) is within
