"""Functions over frames write over nothing that they read, or that is none of their files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline import create_qr_codes, plan_links, verify_links, write_links
from incarts_pipeline.errors import RefusedError
from incarts_pipeline.settings import Settings, load_settings
from tests.support.runs import products

SET = {"link_set": "test", "unique_key": "sku", "progress": False}
PLANNED = {"link_set": "test", "unique_key": "sku"}


@pytest.fixture
def catalog() -> Path:
    """A catalog in a file."""
    pq.write_table(products(3), "catalog.parquet")
    return Path("catalog.parquet")


def test_output_over_the_file_that_was_given(catalog: Path, near: Settings) -> None:
    """A path stays the catalog, though its rows were read by then."""
    before = catalog.read_bytes()
    with pytest.raises(RefusedError, match=r"that is the catalog, catalog\.parquet"):
        write_links(catalog, settings=near, output=catalog, **SET)
    for page in (catalog, near.ledger):
        with pytest.raises(RefusedError, match=r"^The report can't be written to"):
            write_links(catalog, settings=near, output="links.parquet", report=page, **SET)
    assert catalog.read_bytes() == before
    assert not Path("links.parquet").exists()
    assert not near.ledger.exists()


def test_a_plan_over_its_own_catalog(catalog: Path, near: Settings) -> None:
    """Neither the plan file nor the copy of the frame beside it."""
    pq.write_table(products(3), "night.catalog.parquet")
    before = Path("night.catalog.parquet").read_bytes()
    with plan_links("night.catalog.parquet", settings=near, **PLANNED) as plan:
        with pytest.raises(RefusedError, match="The frame's copy can't be written"):
            plan.save("night.incarts")
        with pytest.raises(RefusedError, match=r"The plan file can't be written to .*ledger\.db"):
            plan.save(near.ledger)
        for _ in range(2):
            plan.save("other.incarts")
    assert Path("night.catalog.parquet").read_bytes() == before


def test_pages_of_a_result(catalog: Path, near: Settings) -> None:
    """A report or a sheet goes over no table, no ledger, no catalog; over a page it does."""
    result = write_links(catalog, settings=near, output="links.parquet", **SET)
    Path("notes.txt").write_text("mine")
    for place in (catalog, near.ledger, Path("links.parquet"), Path("links.history.parquet")):
        for write in (result.report, result.qr_sheet):
            before = place.read_bytes()
            with pytest.raises(RefusedError) as refused:
                write(place)
            assert refused.value.guard == "output_is_input"
            assert place.read_bytes() == before
    with pytest.raises(RefusedError, match=r"notes\.txt exists and is no report"):
        result.report("notes.txt")
    for _ in range(2):
        assert result.report("run.html").exists()


def test_saved_code(catalog: Path, near: Settings) -> None:
    """A code is saved over no file that the run read or wrote, nor over another kind of file."""
    link = write_links(catalog, settings=near, output="links.parquet", **SET).link(0)
    Path("links.svg").write_text("mine")
    assert link.save("code.svg") == link.save("code.svg")
    assert link.save("code.png").read_bytes().startswith(b"\x89PNG")
    before = near.ledger.read_bytes()
    Path("ledger.png").symlink_to(near.ledger)
    with pytest.raises(RefusedError, match="that is the ledger"):
        link.save("ledger.png")
    with pytest.raises(RefusedError, match=r"links\.svg exists and is no QR code"):
        link.save("links.svg")
    assert near.ledger.read_bytes() == before


def test_settings_file_of_another_name(catalog: Path, near: Settings) -> None:
    """It is known as what the settings were read from."""
    Path("night.toml").write_text('rate = "fixed:none"\n')
    own = near.model_dump(include={"base_url", "api_key", "project_id", "ledger"})
    settings = load_settings(file=Path("night.toml"), **own)
    with pytest.raises(RefusedError, match="that is the settings file"):
        write_links(catalog, settings=settings, output="links.parquet", report="night.toml", **SET)
    assert Path("night.toml").read_text() == 'rate = "fixed:none"\n'


def test_codes_and_verdicts(catalog: Path, near: Settings) -> None:
    """Codes don't go over links, verdicts not over the table that is verified."""
    write_links(catalog, settings=near, output="links.parquet", **SET)
    before = Path("links.parquet").read_bytes()
    with pytest.raises(RefusedError, match="that is the catalog"):
        create_qr_codes(
            "links.parquet", near, identifiers=["shelf"], output="links.parquet", progress=False
        )
    for links in ("links.parquet", None):
        with pytest.raises(RefusedError):
            verify_links(links, near, output="links.parquet")
    pq.write_table(pa.table({"sold": [1]}), "sales.parquet")
    with pytest.raises(RefusedError, match="holds something else, not verdicts"):
        verify_links(None, near, output="sales.parquet")
    assert Path("links.parquet").read_bytes() == before
