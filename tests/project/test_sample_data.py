"""The sample data are what their README says: so many rows, and wrong in just these ways."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare
from tests.support.paths import SAMPLES

README = (SAMPLES / "README.md").read_text(encoding="utf-8")


def read(name: str) -> pa.Table:
    """Read a sample file, every column as text."""
    path = SAMPLES / name
    names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    types = dict.fromkeys(names, pa.string())
    return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=types))


def requests(catalog: str, mapping: str) -> list[dict[str, Any]]:
    """Return a sample file's link requests as dicts."""
    table = read(catalog)
    batches = prepare(
        table.to_batches(),
        load_mapping(SAMPLES / mapping),
        schema=table.schema,
        project_id="demo",
        limits=Limits(),
    )
    return [row for batch in batches for row in batch.to_pylist()]


def documented(heading: str) -> list[list[str]]:
    """Return the cells of the README's table whose first column is called `heading`."""
    table = README.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[2:]
    ]


def test_the_catalog_breaks_the_rules_that_its_readme_names() -> None:
    """Each row that breaks a rule is documented with its key, field and rule, and no other is."""
    found = [
        [
            str(row["catalog_row"]),
            row["row_key"] or "(empty)",
            {problem["field"] for problem in row["problems"]},
            [problem["code"] for problem in row["problems"]],
        ]
        for row in requests("catalog.csv", "mapping.yaml")
        if row["problems"]
    ]

    expected = [
        [row, sku, {field}, re.findall(r"\w+", rule)]
        for row, sku, _, field, rule in documented("row")
        if "duplicate_key" not in rule
    ]
    assert found == expected


def test_the_catalogs_duplicates_are_what_its_readme_says() -> None:
    """One key has two rows with the same body, the other two rows with different ones."""
    bodies: dict[str, list[object]] = {}
    for row in requests("catalog.csv", "mapping.yaml"):
        bodies.setdefault(str(row["row_key"]), []).append(row["body"])
    twice = {key: len(set(both)) for key, both in bodies.items() if len(both) > 1}

    assert twice == {"00090021": 1, "00090022": 2}


def test_the_readme_counts_the_catalogs_links() -> None:
    """The README's numbers of rows, of each intent and of links are those of the file."""
    rows = requests("catalog.csv", "mapping.yaml")
    conflicting = {"00090022"}
    good = [row for row in rows if row["body"] and row["row_key"] not in conflicting]
    links = {row["row_key"] for row in good}
    intents = read("catalog.csv").column("intent").value_counts().to_pylist()
    count = {item["values"]: item["counts"] for item in intents}

    assert f"the {len(good)} others become {len(links)} links" in README
    assert (
        f"{len(rows)} rows: {count['add_to_cart']} Walmart carts, {count['shopping_list']} "
        f"Instacart shopping lists, {count['recipe']} Instacart recipes, {count['custom_url']} "
        "custom URLs"
    ) in README


def test_the_baskets_are_what_their_readme_says() -> None:
    """The documented baskets are rejected for the documented rule, all others have a body."""
    rows = requests("baskets.csv", "baskets.yaml")
    rejected = {
        (row["row_key"], problem["field"], problem["code"])
        for row in rows
        for problem in row["problems"]
    }
    baskets = {row["row_key"] for row in rows}

    assert f"{len(rows)} lines of {len(baskets)} baskets" in README
    assert rejected == {(key, field, rule) for key, _, field, rule in documented("basket")}
    assert all((row["body"] is None) == bool(row["problems"]) for row in rows)


@pytest.mark.parametrize("name", ["catalog.csv", "baskets.csv"])
def test_the_samples_hold_hard_text(name: str) -> None:
    """Commas, emoji and accents are in the titles, so that no reader gets by without quoting."""
    titles = "".join(read(name).column("title").to_pylist())

    assert "," in titles
    assert any(ord(letter) > 0xFFFF for letter in titles)
    assert "é" in titles
