"""What a table says of the QR codes that are wanted: its columns, and the requests of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from incarts_pipeline.errors import MappingError
from incarts_pipeline.identity import qr_row_key
from incarts_pipeline.prepare.qr_codes import code_requests, request_schema
from incarts_pipeline.prepare.qr_mapping import choose_mapping

SETS = {"other": ("upc",), "test": ("sku", "status")}


def rows_of(table: pa.Table, batch: int = 100, **keywords: Any) -> list[dict[str, Any]]:
    """Return the requests of a table whose rows all have links."""
    mapping = choose_mapping(table.schema, project_id="demo", sets=SETS, **keywords)
    found = code_requests(table.to_batches(batch), mapping, table.schema, links)
    return [row for one in found for row in one.to_pylist()]


def links(name: str, row_keys: Sequence[str]) -> Mapping[str, str]:
    """Return a link for every row but the one that is called none."""
    return {key: f"lnk_{name}_{key}" for key in row_keys if key != "none"}


@pytest.mark.parametrize(
    ("names", "keywords", "said"),
    [
        (["upc"], {"link_set": "other"}, "nothing gives"),
        (["upc", "identifier"], {"link_set": "other", "identifiers": ("abc",)}, "both a column"),
        (["sku"], {"link_set": "test", "identifiers": ("abc",)}, "known by sku, status"),
        (["upc"], {"link_set": "other", "identifiers": ("a b",)}, "'a b' can't be used"),
        (["upc"], {"link_set": "other", "identifiers": ("abc",), "name": "{up}"}, 'mean "upc"'),
        (["upc"], {"link_set": "other", "identifiers": ("abc",), "name": " "}, "blank"),
        (["upc"], {"link_set": "other", "identifiers": ("abc",), "name": "{"}, "--name"),
        (["upc"], {"link_set": "othr", "identifiers": ("abc",)}, 'mean "other"'),
        (["upc"], {"identifiers": ("abc",)}, "several link sets: other, test"),
    ],
)
def test_unclear_tables_are_refused(names: list[str], keywords: dict[str, Any], said: str) -> None:
    """What can't be meant is named, with the fix, before a row is read."""
    schema = pa.schema([(name, pa.string()) for name in names])
    with pytest.raises(MappingError, match=said):
        choose_mapping(schema, project_id="demo", sets=SETS, **keywords)


def test_published_table_shows_its_keys() -> None:
    """Key columns that links.parquet had to rename are found, and get their own names back."""
    names = ("sku", "status_catalog", "link_set", "row_key", "link_id", "status")
    schema = pa.schema([(name, pa.string()) for name in names])
    mapping = choose_mapping(schema, project_id="demo", sets=SETS, identifiers=("abc",))
    assert dict(mapping.keys) == {"sku": "sku", "status": "status_catalog"}
    fields = request_schema(schema, mapping).field("key").type.fields
    assert [field.name for field in fields] == ["sku", "status"]


def test_published_key_with_a_nul_is_rejected() -> None:
    """As in a catalog: the ledger's queries would cut it."""
    table = pa.table({"link_set": ["test"] * 2, "row_key": ["1|a", "1|\0a"], "upc": [1, 2]})
    good, bad = rows_of(table, link_set="test", identifiers=("abc",))
    assert (good["problems"], bad["row_key"]) == ([], None)
    assert [problem["code"] for problem in bad["problems"]] == ["nul_in_key"]


def test_rows_of_one_set_keep_their_numbers() -> None:
    """Rows of other sets are left out, row numbers count the whole table, in batches or not."""
    table = pa.table(
        {"link_set": ["test", "other", "test"], "row_key": ["1|a", "2", "none"], "upc": [1, 2, 3]}
    )
    for batch in (1, 3):
        found = rows_of(table, batch, link_set="test", identifiers=("abc", "abd", "abc"))
        assert [one["catalog_row"] for one in found] == [0, 1, 2, 3]
        assert [one["code"]["row"] for one in found] == [0, 0, 2, 2]
        assert [one["row_key"] for one in found][:2] == ["1\\|a|abc", "1\\|a|abd"]
        assert found[0]["code"]["link_id"] == "lnk_test_1|a"
        assert [p["code"] for p in found[2]["problems"]] == ["no_link"]
        assert found[2]["body"] is None


def test_key_column_called_identifier() -> None:
    """A key column may have the name of one of ours; identifiers come from the options then."""
    table = pa.table({"identifier": ["7"], "upc": ["8"]})
    mapping = choose_mapping(
        table.schema, project_id="demo", sets={"s": ("identifier",)}, identifiers=("shelf",)
    )
    [batch] = code_requests(table.to_batches(), mapping, table.schema, links)
    [row] = batch.to_pylist()
    assert (row["row_key"], row["code"]["link_id"]) == ("7|shelf", "lnk_s_7")
    assert '"identifier":"shelf"' in row["body"]


@given(st.lists(st.tuples(st.text(min_size=1), st.from_regex(r"\A[A-Za-z0-9-]{3,8}\Z"))))
def test_different_codes_never_share_a_key(pairs: list[tuple[str, str]]) -> None:
    """Whatever characters row keys have, the joined keys are as different as their parts."""
    assert len({qr_row_key(*pair) for pair in pairs}) == len(set(pairs))
