"""Filter of a mapping: a small language, read exactly, evaluated as SQL would."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from incarts_pipeline.errors import CatalogError, MappingError
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.prepare import Chosen, Partition

BASE: dict[str, Any] = {
    "link_set": "t",
    "unique_key": ["sku"],
    "link": {
        "name": "n",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "sku"}},
    },
}
TABLE = pa.table(
    {
        "sku": ["1", "2", "3", "4", "5", "2"],
        "status": ["active", "Active", None, " ", "it's", "active"],
        "stock": ["5", "0", "-1.5", None, "10", "7"],
        "n": [5, 0, None, 4, 10, 7],
        "live": [True, False, None, True, True, False],
        "Item type": ["a_b", "a%b", "axb", None, "a\nb", ""],
    }
)


def rows(changes: dict[str, Any], partition: Partition | None = None) -> list[int]:
    """Return the numbers of the rows that a mapping leaves, a few at a time."""
    mapping = load_mapping({**BASE, **changes})
    mapping.check(TABLE.schema)
    chosen = Chosen(partition, TABLE.schema, mapping)
    placed = list(chosen.of(TABLE.to_batches(max_chunksize=2)))
    numbers = [row for one in placed for row in one.rows.to_pylist()]
    taken = TABLE.take(pa.array(numbers, pa.int64()))
    assert pa.Table.from_batches([one.batch for one in placed], TABLE.schema).equals(taken)
    return numbers


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("status = 'active'", [0, 5]),
        ("STATUS = 'active'".lower(), [0, 5]),
        ("status != 'active'", [1, 4]),
        ("status <> 'active' and live = true", [4]),
        ("NOT status = 'active'", [1, 4]),
        ("status IS NULL", [2, 3]),
        ("status is not null", [0, 1, 4, 5]),
        ("status = 'it''s'", [4]),
        ("stock > 0", [0, 4, 5]),
        ("stock = 5", [0]),
        ("stock = '10'", [4]),
        ("stock >= -1.5 AND stock < 5", [1, 2]),
        ("stock BETWEEN 0 AND 5", [0, 1]),
        ("n > 4", [0, 4, 5]),
        ("n IN (5, 7)", [0, 5]),
        ("sku NOT IN ('1', '2')", [2, 3, 4]),
        ("live = TRUE", [0, 3, 4]),
        ("live = false OR n = 4", [1, 3, 5]),
        ("(live = false OR n = 4) AND status IS NOT NULL", [1, 5]),
        ("\"Item type\" LIKE 'a_b'", [0, 1, 2, 4]),
        ("`Item type` LIKE 'a%'", [0, 1, 2, 4]),
        ("\"Item type\" = 'a_b'", [0]),
        ("sku = '1' OR sku = '2' AND n = 7", [0, 5]),
    ],
)
def test_conditions(where: str, expected: list[int]) -> None:
    """Rows are left as SQL leaves them; white space is empty, and numbers in text are numbers."""
    assert rows({"where": where}) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "must be a condition"),
        ("status", "ends where =, !=,"),
        ("status = active", "'active' (character 10) stands where a number or a text"),
        ("status = 'active", "is no name, number, text or comparison"),
        ("status = 'a' status = 'b'", "stands where AND, OR or the end should be"),
        ("lower(status) = 'a'", "lower(…) is a function"),
        ("read_csv('/etc/passwd') = 'a'", "read_csv(…) is a function"),
        ("sku IN (SELECT 1)", "'SELECT' (character 9) stands where"),
        ("sku = '1'; DROP TABLE x", "';' (character 10)"),
        ("sku IN ()", "stands where a number or a text"),
        ("(sku = '1'", "ends where ) should be"),
        ("sku + 1 = 2", "'+' (character 5)"),
        ("statu = 'a'", 'the catalog has no column "statu". Did you mean "status"?'),
        (5, "must be a condition"),
    ],
)
def test_what_is_no_condition(where: object, message: str) -> None:
    """Nothing but comparisons is taken, and the place of what isn't one is told."""
    with pytest.raises(MappingError) as caught:
        rows({"where": where})
    assert message in str(caught.value)
    assert str(caught.value).startswith("where: ")


def test_a_text_where_a_number_is_compared_is_told() -> None:
    """The row and column are named."""
    with pytest.raises(
        CatalogError, match=r"Row 0 .* has 'active' in the column 'status'"
    ) as caught:
        rows({"where": "status > 5"})
    assert (caught.value.row, caught.value.column) == (0, "status")


def test_the_first_of_a_key_counts() -> None:
    """Later rows of it are no rows, in whichever batch; of the filtered ones the first is taken."""
    assert rows({"first_of_key": True}) == [0, 1, 2, 3, 4]
    assert rows({"first_of_key": True, "where": "n != 0"}) == [0, 3, 4, 5]
    assert rows({"first_of_key": True}, Partition(column="status", value="active")) == [0, 5]
    with pytest.raises(MappingError, match="first_of_key: a basket needs all rows"):
        rows({"first_of_key": True, "link": {**BASE["link"], "basket": True}})


def test_the_plan_is_told_what_was_left_out() -> None:
    """Counts of both reasons."""
    mapping = load_mapping({**BASE, "where": "n != 0", "first_of_key": True, "unique_key": "live"})
    chosen, warnings = Chosen(None, TABLE.schema, mapping), list[str]()
    list(chosen.of(TABLE.to_batches(), warnings))
    assert warnings == [
        "where: leaves out 2 rows.",
        "first_of_key: leaves out 2 rows behind the first of their key.",
    ]


columns = st.sampled_from(["n", "live", "sku"])
leaves = st.one_of(
    st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(-1, 11)).map(
        lambda pair: f"n {pair[0]} {pair[1]}"
    ),
    st.sampled_from(["live = true", "live = false", "n IS NULL", "n IS NOT NULL", "sku = '2'"]),
    st.lists(st.integers(0, 10), min_size=1, max_size=3).map(
        lambda values: f"n NOT IN ({', '.join(map(str, values))})"
    ),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda one: f"NOT ({one})"),
    ),
    max_leaves=6,
)


@given(conditions)
@settings(max_examples=60)
def test_conditions_mean_what_they_mean_in_sql(where: str) -> None:
    """DuckDB leaves the same rows."""
    numbered = TABLE.append_column("place", pa.array(range(len(TABLE))))
    found = duckdb.sql(f"SELECT place FROM numbered WHERE {where} ORDER BY place")
    assert rows({"where": where}) == [at for (at,) in found.fetchall()]
    assert len(numbered) == len(TABLE)
