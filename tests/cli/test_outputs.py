"""No command writes over what it reads, or over what is none of its own files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.processes import NO_MAPPING
from tests.support.runs import products
from tests.support.shell import Shell

MAPPING = """
link_set: test
unique_key: [sku]
link:
  name: "{name}"
  retailer: walmart
  intent: add_to_cart
  products: {retailer_product_id: {column: retailer_product_id}}
"""
APPLY = ("apply", "catalog.csv", "-m", "mapping.yaml", "-o", "links.parquet")


@pytest.fixture
def made(shell: Shell, catalog: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The shell in a folder with all that a run reads, and links made of it."""
    Path("mapping.yaml").write_text(MAPPING)
    Path("key.txt").write_text(box.api_key)
    Path("key.txt").chmod(0o600)
    Path("incarts.toml").write_text("")
    monkeypatch.setenv("INCARTS_API_KEY_FILE", "key.txt")
    Path("symbolic").symlink_to("incarts-ledger.db")
    Path("other.db").hardlink_to("key.txt")
    monkeypatch.delenv("INCARTS_API_KEY")
    assert shell(*APPLY)[0] == 0
    return shell


def contents() -> dict[str, bytes]:
    """Return every file in the folder but SQLite's, which change while they are read."""
    own = ("-wal", "-shm", "-pace")
    return {p.name: p.read_bytes() for p in Path().iterdir() if not p.name.endswith(own)}


INPUTS = [
    ("incarts-ledger.db", "the ledger"),
    ("symbolic", "the ledger"),
    ("INCARTS-ledger.db", "the ledger"),
    ("incarts-ledger.db-wal", "the ledger's own file"),
    ("incarts-ledger.db.witness", "the ledger's own file"),
    ("catalog.csv", "the catalog"),
    ("mapping.yaml", "the mapping"),
    ("key.txt", "the file with the API key"),
    ("other.db", "the file with the API key"),
    ("incarts.toml", "the settings file"),
]


@pytest.mark.parametrize(("place", "what"), INPUTS)
@pytest.mark.parametrize("option", ["--report", "--out"])
def test_neither_page_nor_plan_file_goes_over_an_input(
    made: Shell, box: Sandbox, option: str, place: str, what: str
) -> None:
    """Whatever its name, it is refused with both names, and all is as it was."""
    before = contents()
    command = APPLY if option == "--report" else ("plan", "catalog.csv", "-m", "mapping.yaml")
    code, out, _ = made(*command, option, place, "--json")
    told = json.loads(out.splitlines()[-1])
    assert (code, told["guard"]) == (1, "output_is_input")
    assert f"can't be written to {place}: that is {what}, " in told["error"]
    assert contents() == before
    assert box.audit().requests == 12


@pytest.mark.parametrize("place", ["links.parquet", "links.history.parquet"])
def test_a_page_is_not_a_table(made: Shell, place: str) -> None:
    """Two outputs in one place, or in that of a companion, are refused."""
    Path(place).unlink()
    before = contents()
    code, out, _ = made(*APPLY, "--report", place, "--json")
    assert (code, json.loads(out)["guard"]) == (1, "output_is_input")
    assert contents() == before


def test_a_page_over_a_plan_file(made: Shell) -> None:
    """The plan file that is applied is an input too."""
    assert made("plan", "catalog.csv", "-m", "mapping.yaml", "--out", "night.incarts")[0] == 0
    before = contents()
    code, _, err = made(
        "apply", "night.incarts", "-o", "links.parquet", "--report", "night.incarts"
    )
    assert (code, "that is the plan file, night.incarts" in err) == (1, True)
    assert contents() == before
    assert made("plan", "catalog.csv", "-m", "mapping.yaml", "--out", "night.incarts")[0] == 0
    assert made("apply", "night.incarts", "-o", "links.parquet", "--report", "run.html")[0] == 0
    assert made("apply", "night.incarts", "-o", "links.parquet", "--report", "run.html")[0] == 0


@pytest.mark.parametrize("table", ["links.parquet", "links.history.parquet", "sales.parquet"])
def test_verdicts_go_over_no_other_table(made: Shell, table: str) -> None:
    """`verify -o links.parquet` leaves the links; a table of verdicts is replaced."""
    pq.write_table(pa.table({"sold": [1]}), "sales.parquet")
    before = contents()
    for source in ((), ("links.parquet",)):
        code, out, _ = made("verify", *source, "-o", table, "--json")
        assert (code, json.loads(out)["exit_code"]) == (1, 1)
        assert json.loads(out)["guard"] in ("unknown_output", "output_is_input")
        assert contents() == before
    for _ in range(2):
        assert made("verify")[0] == 0
    assert made("verify", "links.verified.parquet", "-o", "links.verified.parquet")[0] == 1


def test_codes_and_links_go_over_no_other_table(made: Shell) -> None:
    """Each kind of table is replaced by its own kind only."""
    assert made("qr", "links.parquet", "--identifier", "shelf")[0] == 0
    before = contents()
    for command in (
        ("qr", "links.parquet", "--identifier", "shelf", "-o", "links.parquet"),
        ("qr", "qr_codes.parquet", "-o", "qr_codes.parquet"),
        ("apply", "catalog.csv", "-m", "mapping.yaml", "-o", "qr_codes.parquet"),
        ("apply", "catalog.csv", "-m", "mapping.yaml", "-o", "links.history.parquet"),
    ):
        code, out, _ = made(*command, "--json")
        assert (code, json.loads(out)["exit_code"]) == (1, 1)
        assert contents() == before


def test_a_companion_that_is_something_else(made: Shell, box: Sandbox) -> None:
    """A table of others by the name of a companion is not overwritten."""
    pq.write_table(pa.table({"sold": [1]}), "new.history.parquet")
    code, out, _ = made("apply", "catalog.csv", "-m", "mapping.yaml", "-o", "new.parquet", "--json")
    assert (code, json.loads(out)["guard"]) == (1, "unknown_output")
    assert pq.read_table("new.history.parquet").column_names == ["sold"]


@pytest.mark.parametrize("source", ["data", "data/*.parquet", "data/p.parquet"])
def test_links_don_t_go_into_the_catalog(shell: Shell, box: Sandbox, source: str) -> None:
    """A table among the catalog's files would be a part of it the next night."""
    Path("data").mkdir()
    pq.write_table(products(2), "data/p.parquet")
    output = source if source.endswith("p.parquet") else "data/links.parquet"
    code, _, err = shell("apply", source, *NO_MAPPING, "-o", output)
    assert (code, f"that is the catalog, {source}" in err) == (1, True)
    assert box.audit().requests == 0
    assert [one.name for one in Path("data").iterdir()] == ["p.parquet"]


def test_evidence_goes_over_nothing_else(made: Shell, box: Sandbox) -> None:
    """Not over the ledger, nor over another JSON file."""
    box.fail_next("lost_after", times=12)
    Path("catalog.csv").write_text(
        Path("catalog.csv").read_text() + "new,New,walmart,add_to_cart,77,1\n"
    )
    made(*APPLY, "--max-duration", "1s")
    Path("notes.json").write_text("{}")
    before = contents()
    for place in ("incarts-ledger.db", "notes.json", "catalog.csv"):
        code, _, err = made("review", "evidence", "-o", place)
        assert (code, place in err) == (1, True)
        assert contents() == before
    for _ in range(2):
        assert made("review", "evidence")[0] == 0
    assert "question" in json.loads(Path("incarts-evidence.json").read_text())
