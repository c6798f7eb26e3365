"""Ownership: tables say whose they are, by host, project and the names of their link sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.errors import RefusedError
from incarts_pipeline.maintenance.import_links import import_links
from incarts_pipeline.models import Status
from incarts_pipeline.publish import facts_of
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from tests.support.runs import Make, Run, products

TABLES = ("links.parquet", "links.missing.parquet", "links.history.parquet")


def facts(name: str = "links.parquet") -> dict[str, str]:
    """Return what a published table says of itself."""
    return facts_of(pq.read_schema(name))


def tell(changes: Mapping[str, str | None], *names: str) -> None:
    """Let published tables say something else, or (None) nothing, of themselves."""
    for name in names or TABLES:
        table = pq.read_table(name)
        told = facts_of(table.schema) | changes
        kept = {f"incarts.{key}": value for key, value in told.items() if value is not None}
        pq.write_table(table.replace_schema_metadata(kept), name)


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings of another host, which is the same sandbox, with a ledger of its own."""
    assert settings.base_url is not None
    url = settings.base_url.replace("127.0.0.1", "localhost")
    return settings.model_copy(update={"base_url": url, "ledger": tmp_path / "other.db"})


def test_tables_say_whose_they_are(run: Run, make: Make, settings: Settings) -> None:
    """Host, project and link sets, by names that are told apart."""
    run(products(2), link_set="summer 2026")
    make("links.parquet", identifiers=("shelf",))
    for name in (*TABLES, "qr_codes.parquet"):
        told = facts(name)
        assert told["base_url"] == settings.base_url
        assert told["project_id"] == settings.project_id
        assert json.loads(told["link_set_names"]) == ["summer 2026"]


@pytest.mark.parametrize("older", [False, True])
def test_a_name_is_no_part_of_a_longer_one(run: Run, box: Sandbox, older: bool) -> None:
    """`summer` is not `summer 2026`, also where the table has the names in one text."""
    run(products(30), link_set="summer 2026")
    if older:
        tell({"link_set_names": None, "base_url": None})
    for other in ("summer", "2026"):
        with pytest.raises(RefusedError, match=f"of 'summer 2026', not of the link set '{other}'"):
            run(products(30), link_set=other)
    assert box.audit().links == 30
    assert run(products(30), link_set="summer 2026").written.requests == 0


@pytest.mark.parametrize("older", [False, True])
def test_a_mapping_may_gain_and_lose_a_link_set(run: Run, older: bool) -> None:
    """One of several names is enough, also of an older table that joined them by a space."""
    fields = {
        "name": "{name}",
        "retailer": "walmart",
        "intent": "add_to_cart",
        "products": {"retailer_product_id": {"column": "retailer_product_id"}},
    }
    mapping = {"link_set": "a b", "unique_key": ["sku"], "links": {"c": fields, "d": fields}}
    assert run(products(2), mapping=mapping).written.requests == 4
    if older:
        assert facts()["link_sets"] == "a b/c a b/d"
        tell({"link_set_names": None})
    with pytest.raises(RefusedError, match="holds links of 'a b/c, a b/d'"):
        run(products(2), link_set="b/c")
    run(products(2), mapping=mapping | {"links": {"c": fields}})
    assert json.loads(facts()["link_set_names"]) == ["a b/c"]


def test_an_older_table_of_one_name(run: Run) -> None:
    """A name without a space is itself, and needs no look at the rows."""
    run(products(2))
    tell({"link_set_names": None, "base_url": None})
    with pytest.raises(RefusedError, match="holds links of 'test'"):
        run(products(2), link_set="tes")
    assert run(products(2)).written.requests == 0


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_another_host_are_refused(
    run: Run, settings: Settings, box: Sandbox, tmp_path: Path, name: str
) -> None:
    """Staging's tables in production's folder: nothing is sent, written or imported."""
    run(products(3))
    before = Path(name).read_bytes()
    for other in {*TABLES} - {name}:
        Path(other).unlink()
    away = elsewhere(settings, tmp_path)
    with pytest.raises(RefusedError, match="holds links of http://127") as refused:
        run(products(3), base_url=away.base_url, ledger=away.ledger)
    assert refused.value.guard == "another_host"
    assert "import" not in str(refused.value)
    with pytest.raises(RefusedError) as refused:
        import_links(name, away)
    assert refused.value.guard == "another_host"
    assert Path(name).read_bytes() == before
    assert box.audit().links == 3


def test_codes_of_another_host_are_refused(
    run: Run, make: Make, settings: Settings, tmp_path: Path
) -> None:
    """Also further QR codes are only taken over where they were made."""
    run(products(2))
    make("links.parquet", identifiers=("shelf",))
    with pytest.raises(RefusedError) as refused:
        import_links("qr_codes.parquet", elsewhere(settings, tmp_path))
    assert refused.value.guard == "another_host"


@pytest.mark.parametrize("unknown", ["base_url", "project_id", None])
def test_import_is_advised_only_for_tables_that_are_ours(
    run: Run, tmp_path: Path, unknown: str | None
) -> None:
    """A table that doesn't say of which host and project it is may be anybody's."""
    run(products(3))
    if unknown is not None:
        tell({unknown: None})
    with pytest.raises(RefusedError, match="incarts import") as refused:
        run(products(3), ledger=tmp_path / "other.db")
    said = "which the table doesn't say" in str(refused.value)
    assert (refused.value.guard, said) == ("unknown_output", unknown is not None)


def test_a_table_without_a_host_still_comes_in(run: Run, settings: Settings) -> None:
    """What an earlier version published rebuilds a ledger as before."""
    run(products(3))
    tell({"base_url": None, "link_set_names": None})
    for file in Path().glob("ledger.db*"):
        file.unlink()
    import_links("links.parquet", settings)
    assert run(products(3)).published.by_status[Status.UNCHANGED] == 3


def test_facts_that_are_broken(run: Run) -> None:
    """A list of names that is none is no table of ours."""
    run(products(1))
    tell({"link_set_names": "[broken"}, "links.parquet")
    assert pa.schema(pq.read_schema("links.parquet")).metadata
    with pytest.raises(RefusedError, match="not a table of links"):
        run(products(1))
