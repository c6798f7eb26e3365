"""Golden vectors of body, hash and key, and what of a body changed."""

import hashlib
import json
from typing import Any

import pyarrow as pa
import pytest
import rfc8785
from hypothesis import given, strategies as st

from incarts_pipeline.identity import (
    GROUPS,
    RECIPE,
    group_hashes,
    idempotency_key,
)
from incarts_pipeline.kinds import LINKS
from incarts_pipeline.mapping.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.prepare import prepare
from tests.support.paths import GOLDEN as GOLDEN_FILES

GOLDEN = json.loads((GOLDEN_FILES / "links.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_bodies_hashes_and_keys_are_pinned(vector: dict[str, Any]) -> None:
    """An upgrade that changed one of them would silently re-create every link."""
    mapping = load_mapping(vector["mapping"])
    table = pa.Table.from_pylist(vector["rows"])
    batches = prepare(
        table.to_batches(), mapping, schema=table.schema, project_id="prj_golden", limits=Limits()
    )
    found = [row for batch in batches for row in batch.to_pylist()]
    assert [describe(row) for row in found] == vector["links"]


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the golden file pins of a link request."""
    body = row["body"].encode()
    key = idempotency_key(
        endpoint=LINKS.endpoint,
        project_id="prj_golden",
        link_set=row["link_set"],
        row_key=row["row_key"],
        content_hash=row["content_hash"],
        generation=0,
    )
    return {
        "row_key": row["row_key"],
        "body": row["body"],
        "content_hash": row["content_hash"].hex(),
        "group_hashes": [group.hex() for group in group_hashes(body)],
        "idempotency_key": key,
    }


def test_the_recipe_is_the_pinned_one() -> None:
    """A new recipe needs new vectors, deliberately."""
    assert GOLDEN["recipe"] == RECIPE


def test_every_part_makes_another_key() -> None:
    """Project, set, row, content, endpoint and generation each matter, and don't run together."""
    parts: dict[str, Any] = {
        "endpoint": LINKS.endpoint, "project_id": "p", "link_set": "ab", "row_key": "c",
        "content_hash": hashlib.sha256(b"{}").digest(), "generation": 0,
    }  # fmt: skip
    others: list[dict[str, Any]] = [
        {}, {"endpoint": "x"}, {"project_id": "q"}, {"link_set": "a", "row_key": "bc"},
        {"content_hash": bytes(32)}, {"generation": 1},
    ]  # fmt: skip
    keys = [idempotency_key(**{**parts, **other}) for other in others]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 49 and key.startswith("incarts1-") for key in keys)


def test_groups_change_on_their_own() -> None:
    """A new name changes the label only, a new campaign the tracking, products the destination."""
    body: dict[str, Any] = {
        "name": "a", "intent": "add_to_cart", "retailer": "walmart", "projectId": "p",
        "tracking": {"utm": {"source": "x"}}, "products": [{"retailerProductId": "1"}],
    }  # fmt: skip
    old = group_hashes(json.dumps(body).encode())

    def differ(**more: object) -> list[bool]:
        new = group_hashes(json.dumps({**body, **more}).encode())
        return [was != now for was, now in zip(old, new, strict=True)]

    assert differ() == [False, False, False]
    assert differ(name="b") == [False, False, True]
    assert differ(tracking={"tags": ["x"]}) == [False, True, False]
    assert differ(products=[]) == [True, False, False]


def test_large_doubles_are_hashed() -> None:
    """A double written as whole digits beyond the exact integers is still one number."""
    body = b'{"metadata":{"big":100000000000000000000,"n":9007199254740991}}'
    assert group_hashes(body)[2] == hashlib.sha256(body).digest()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = sorted({name for names in GROUPS.values() for name in names})


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_groups_are_hashed_as_the_standard_writes_them(content: dict[str, Any]) -> None:
    """Whatever a body holds, its hashes are those of the RFC's own encoder."""

    def expected(value: object) -> bytes:
        return hashlib.sha256(rfc8785.dumps(value)).digest()  # type: ignore[arg-type]

    body = rfc8785.dumps(content)
    destination, tracking, label = (
        {name: content[name] for name in names if name in content} for names in GROUPS.values()
    )
    assert group_hashes(body) == (
        expected(destination),
        expected(tracking.get("tracking", {})),
        expected(label),
    )
