"""`incarts init`: a mapping for any table, with what it was guessed from, and its plan."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from incarts_pipeline.mapping import Column, load_mapping
from incarts_pipeline.suggest import PLACEHOLDER
from tests.support.shapes import PRESTASHOP, SCRAPED, SHAPES, SHOPIFY, Shape
from tests.support.shell import Shell, answering


def written() -> str:
    """Return the mapping that was written."""
    return Path("mapping.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_one_command_gives_a_mapping_that_plans(shell: Shell, shape: Shape) -> None:
    """Each shape of table is mapped and planned at the first try, and every product has a link."""
    shop = ["--url", shape.shop] if shape.shop else []
    code, out, err = shell("init", shape.write(), *shop, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["plan"]["calls"] == shape.links, told["plan"]
    assert {name for name, n in told["plan"]["actions"].items() if n} == {"create"}
    mapping = load_mapping(Path("mapping.yaml"))
    assert tuple(mapping.unique_key) == shape.key
    assert mapping.link is not None
    assert mapping.link.name == Column(column=shape.name)
    # The mapping is all that the other commands need.
    code, out, err = shell("plan", shape.file, "--mapping", "mapping.yaml", "--json")
    assert (code, json.loads(out)["digest"]) == (0, told["plan"]["digest"]), err


def test_links_lead_to_the_products_pages(shell: Shell) -> None:
    """What is made of a Shopify export opens the shop's pages, one for each product."""
    shell("init", SHOPIFY.write(), "--url", SHOPIFY.shop or "", "--json")
    code, _, err = shell(
        *("apply", SHOPIFY.file, "-m", "mapping.yaml", "-o", "links.parquet", "--yes", "--json")
    )
    assert code == 0, err
    rows = pq.read_table("links.parquet").to_pylist()
    assert rows[0]["target_url"] == SHOPIFY.page


def test_a_shop_that_isn_t_known_makes_no_link(shell: Shell) -> None:
    """Without the shop's address the rows are held, and what is missing is said."""
    code, out, err = shell("init", SHOPIFY.write())
    assert code == 0, err
    assert PLACEHOLDER in written()
    assert "look at" in out
    assert "--url" in out
    code, out, _ = shell("plan", SHOPIFY.file, "--mapping", "mapping.yaml", "--json")
    assert (code, json.loads(out)["calls"]) == (0, 0)


def test_a_mapping_that_is_there_stays(shell: Shell) -> None:
    """Nothing is written over without a word."""
    Path("mapping.yaml").write_text("mine", encoding="utf-8")
    code, _, err = shell("init", SCRAPED.write())
    assert (code, written()) == (2, "mine")
    assert "--overwrite" in err
    assert "--out" in err
    assert shell("init", SCRAPED.file, "--overwrite")[0] == 0
    assert written() != "mine"


def test_a_folder_that_isn_t_there_is_named(shell: Shell) -> None:
    """Where the mapping can't go is said before the table is read."""
    code, _, err = shell("init", SCRAPED.write(), "--out", "nowhere/mapping.yaml")
    assert code == 2
    assert "There is no folder nowhere" in err


def test_the_table_is_not_written_over(shell: Shell) -> None:
    """Not even when it is told to."""
    SCRAPED.write()
    code, _, err = shell("init", SCRAPED.file, "--out", SCRAPED.file, "--overwrite")
    assert code == 1
    assert "that is the catalog" in err
    assert Path(SCRAPED.file).read_text("utf-8") == SCRAPED.text


def test_it_works_before_anything_is_set(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither project nor key nor host is needed to look at a table; no ledger is made."""
    for name in ("API_BASE_URL", "API_KEY", "PROJECT_ID"):
        monkeypatch.delenv(f"INCARTS_{name}")
    code, out, err = shell("init", SCRAPED.write())
    assert code == 0, err
    assert "2 links to make" in out
    assert "INCARTS_PROJECT_ID" in out
    assert "`incarts sandbox` prints what to export" in " ".join(out.split())
    assert {path.name for path in Path().iterdir()} == {SCRAPED.file, "mapping.yaml"}


def test_in_a_terminal_it_asks_what_it_can_t_know(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link set, the key where several fit, and the shop's address are asked for."""
    monkeypatch.setattr(sys, "stdin", answering(f"summer\n2\n{SHOPIFY.shop}\n"))
    code, _, err = shell("init", SHOPIFY.write())
    assert code == 0, err
    assert "makes every link anew" in err
    assert "What is a row, today and next year?" in err
    assert "Your shop's address" in err
    mapping = load_mapping(Path("mapping.yaml"))
    assert (mapping.link_set, mapping.unique_key) == ("summer", ["Variant SKU"])
    assert PLACEHOLDER not in written()


def test_enter_takes_the_guesses(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers nothing gets what would have been written without a terminal."""
    shell("init", SCRAPED.write(), "--out", "quiet.yaml")
    monkeypatch.setattr(sys, "stdin", answering("\n\n\n"))
    assert shell("init", SCRAPED.file)[0] == 0
    quiet = load_mapping(Path("quiet.yaml"))
    assert load_mapping(Path("mapping.yaml")) == quiet


def test_what_is_said_is_not_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options answer the questions, and `--yes` all of them."""
    monkeypatch.setattr(sys, "stdin", answering(""))
    code, _, err = shell(
        *("init", SCRAPED.write(), "--link-set", "a", "--unique-key", "Product URL", "--url"),
        "https://www.grocer.example/{Product ID}",
    )
    assert (code, err) == (0, "")
    assert load_mapping(Path("mapping.yaml")).unique_key == ["Product URL"]
    assert shell("init", SCRAPED.file, "--yes", "--overwrite")[0] == 0


def test_an_answer_that_doesn_t_fit_is_refused(shell: Shell) -> None:
    """A column that isn't there is told before anything is written."""
    code, _, err = shell("init", SCRAPED.write(), "--unique-key", "Product Id")
    assert code == 2
    assert 'Did you mean "Product ID"?' in err
    code, _, err = shell("init", SCRAPED.file, "--url", "https://www.grocer.example")
    assert code == 2
    assert "the same address for each row" in err
    assert not Path("mapping.yaml").exists()


def test_a_preset_is_shown(shell: Shell) -> None:
    """One can see what `preset: shopify` stands for, as a mapping that could be pasted."""
    code, out, _ = shell("init", "--preset", "shopify", "--show")
    assert code == 0
    assert "unique_key: [Handle]" in out
    assert "/products/{Handle}" in out
    code, _, err = shell("init", "--preset", "shopyfi", "--show")
    assert code == 2
    assert 'Did you mean "shopify"?' in err


def test_a_preset_can_be_named_for_a_table(shell: Shell) -> None:
    """A table that lacks a sign of its platform can be taken for its export all the same."""
    text = PRESTASHOP.text.replace("URL rewritten", "Slug")
    Path("products.csv").write_text(text, encoding="utf-8")
    code, out, err = shell(
        *("init", "products.csv", "--preset", "prestashop", "--url", "https://oak.example"),
        "--json",
    )
    assert code == 0, err
    assert json.loads(out)["platform"] == "prestashop"
    assert json.loads(out)["plan"]["calls"] == PRESTASHOP.links


def test_a_table_must_be_named(shell: Shell) -> None:
    """Without a file there is nothing to look at."""
    code, _, err = shell("init")
    assert code == 2
    assert "incarts init products.csv" in err


def test_an_empty_table_is_refused(shell: Shell) -> None:
    """A header alone shows nothing."""
    Path("empty.csv").write_text("sku,name\n", encoding="utf-8")
    code, _, err = shell("init", "empty.csv")
    assert code == 1
    assert "at least one row" in err


def test_a_plan_without_a_mapping_names_what_is_missing(shell: Shell) -> None:
    """All that a catalog lacks is said at once, with the command that finds it."""
    code, _, err = shell("plan", SCRAPED.write())
    assert code == 2
    for missing in ("--unique-key", "--link-set", '"name"', '"retailer"', '"intent"'):
        assert missing in err
    assert "incarts init" in err


def test_columns_that_look_otherwise_than_they_are_called_are_named(shell: Shell) -> None:
    """What is called a quantity and is text in 40 % of the rows isn't dropped without a word."""
    qty = ["1", "two", "3", "2", "a box"]
    rows = [f"{n},T{n},https://www.walmart.com/ip/{n:08},{qty[n % 5]},1234" for n in range(1, 21)]
    Path("a.csv").write_text("\n".join(["sku,title,url,qty,zip", *rows]), encoding="utf-8")
    code, out, err = shell("init", "a.csv")
    assert code == 0, err
    said = " ".join(out.split())
    assert "look at link.products.quantity: not mapped: 40% of the values of 'qty'" in said
    assert 'like "two"' in said
    assert "look at link.location.zip_code: not mapped: 100% of the values of 'zip'" in said
    assert "# quantity: {column: qty, default: 1}" in written()
    [mapping] = [load_mapping(Path("mapping.yaml"))]
    assert mapping.link is not None
    assert mapping.link.products is not None
    assert mapping.link.products.quantity is None
    assert mapping.link.location is None
    # As it says: once they are right, the line counts.
    Path("mapping.yaml").write_text(written().replace("# quantity:", "quantity:"), encoding="utf-8")
    assert load_mapping(Path("mapping.yaml")).link.products.quantity is not None  # type: ignore[union-attr]


def test_a_column_without_a_value_is_no_doubt(shell: Shell) -> None:
    """An empty column says nothing, whatever it is called."""
    rows = [f"{n},T{n},https://www.walmart.com/ip/{n:08}," for n in range(1, 21)]
    Path("a.csv").write_text("\n".join(["sku,title,url,qty", *rows]), encoding="utf-8")
    assert "quantity" not in shell("init", "a.csv")[1]
