"""Arguments by name: seen by people and type checkers, documented, and refused when misspelt."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from dataclasses import fields
from typing import Any, get_type_hints

import pandas as pd
import pytest

from incarts_pipeline import awrite_links, plan_links, write_links
from incarts_pipeline.dataframes import PlanArguments, Planning, WriteArguments, Writing
from incarts_pipeline.pandas import IncartsAccessor

PLAN = [one for one in fields(Planning) if one.name != "mapping"]
WRITE = [*{one.name: one for one in (*PLAN, *fields(Writing))}.values()]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plan_links, PLAN),
        (write_links, WRITE),
        (awrite_links, WRITE),
        (IncartsAccessor.plan, PLAN),
        (IncartsAccessor.write, WRITE),
        (IncartsAccessor.awrite, WRITE),
    ],
)
def test_signatures_show_every_argument(function: Any, expected: list[Any]) -> None:
    """As `help` and a notebook's shift-tab do: name, type and default."""
    shown = [
        (one.name, one.annotation, one.default)
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert shown == [(one.name, one.type, one.default) for one in expected]


@pytest.mark.parametrize(
    ("group", "values"), [(PlanArguments, [Planning]), (WriteArguments, [Planning, Writing])]
)
def test_type_checkers_are_told_the_same(group: Any, values: list[Any]) -> None:
    """The TypedDicts have the names and types of the values that are made of them."""
    expected = {name: type_ for value in values for name, type_ in get_type_hints(value).items()}
    del expected["mapping"]  # it may be given by place
    assert get_type_hints(group) == expected


@pytest.mark.parametrize(("function", "expected"), [(plan_links, PLAN), (write_links, WRITE)])
def test_docstrings_list_every_argument(function: Any, expected: list[Any]) -> None:
    """With its type and its default."""
    text = " ".join(inspect.getdoc(function).split())
    listed = re.findall(r"(\w+) \(([^:]*)\): .*? Default (\S+)\.(?= |$)", text)
    told = [(one.name, one.type, _written(one.default)) for one in expected]
    assert listed == told


def _written(default: object) -> str:
    return json.dumps(default) if isinstance(default, str) else str(default)


def test_a_misspelt_argument_is_refused() -> None:
    """The nearest one is named, before anything is read."""
    with pytest.raises(TypeError, match=r"^plan_links\(\) got .* 'approve'\.$"):
        plan_links([], approve="5")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'retry_reject'\. Did you mean \"retry_rejected\"\?"):
        write_links([], retry_reject=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^awrite_links\(\) got .* Did you mean \"report\"\?"):
        asyncio.run(awrite_links([], reports="run.html"))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Did you mean \"link_set\"\?"):
        pd.DataFrame().incarts.write(linkset="a")
