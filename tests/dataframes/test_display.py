"""Plans and results as a notebook shows them, codes and reports as files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pandas as pd
import pytest
import zxingcpp
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from pydantic import SecretStr

import incarts_pipeline as ip
from incarts_pipeline.dataframes.result import LinksResult
from incarts_pipeline.errors import CatalogError, PublishError
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.schemas import LINKS
from incarts_pipeline.settings import Settings
from tests.support.displayed import SCRIPT
from tests.support.parsed_html import parsed
from tests.support.runs import products

SHOW = DisplayFormatter()


def frame(n: int = 3, **columns: list[object]) -> pd.DataFrame:
    """Return a catalog as an analyst has it."""
    return products(n, **columns).to_pandas()


def write(settings: Settings, n: int = 3, **columns: list[object]) -> LinksResult:
    """Make the links of a catalog."""
    return ip.write_links(
        frame(n, **columns), link_set="summer", unique_key="sku", settings=settings, progress=False
    )


def test_notebook_shows_cards_and_text(settings: Settings) -> None:
    """Plan, result and link have HTML for notebooks and text for everything else."""
    names = [SCRIPT, "Oats", "Rice"]
    plan = ip.plan_links(frame(name=names), link_set="s", unique_key="sku", settings=settings)
    result = ip.write_links(plan, progress=False)
    link = result.link(sku="000000")
    for shown, said in ((plan, SCRIPT), (result, SCRIPT), (link, SCRIPT)):
        formats, _ = SHOW.format(shown)
        assert set(formats) == {"text/plain", "text/html"}
        assert parsed(formats["text/html"]).has(said)
    assert str(result.link(1).short_link) in repr(result.link(1))


def test_closed_plan_still_shows_its_numbers(settings: Settings) -> None:
    """Without its workspace a card has no examples, and is no error."""
    with ip.plan_links(frame(), link_set="s", unique_key="sku", settings=settings) as plan:
        assert "Product 1" in plan._repr_html_()
    assert "create3" in parsed(plan._repr_html_()).text
    assert "Product 1" not in plan._repr_html_()


def test_plan_as_text_names_the_broken_rules(settings: Settings) -> None:
    """It has the shell's lines: rules by field, counts and the fix; without its workspace fewer."""
    catalog = frame(sku=["a", "a", ""], name=["Oats", "Oats", ""], retailer_product_id=["1"] * 3)
    with ip.plan_links(catalog, link_set="s", unique_key="sku", settings=settings) as plan:
        lines = str(plan).splitlines()
    assert [line.strip() for line in lines[3:]] == [
        "Rows are counted from 0; row 0 is the first below a header.",
        '1  name: missing, e.g. row 2: The column "name" is empty; fill it or give a default.',
        '1  unique_key: empty_key, e.g. row 2: The unique key\'s column "sku" is empty; '
        "fill it in, every row needs its key.",
        "1 link to make for 2 rows (1 shares another row's)",
        "scopes needed: links:write (1), retailers:walmart (1)",
    ]
    assert "empty_key" not in str(plan)


def test_refused_plan_says_how_in_python(settings: Settings) -> None:
    """The card names the arguments of write_links, not the shell's options alone."""
    plan = ip.plan_links(frame(), link_set="s", unique_key="sku", settings=settings, refuse_over=1)
    with plan:
        text = parsed(plan._repr_html_()).text
    assert f'write_links(plan, approve="{plan.digest}")' in text
    assert "raise refuse_over" in text


def test_qr_sheet_is_one_file_with_every_link(settings: Settings) -> None:
    """Each link's code with its name as it was sent; level and size are chosen."""
    result = write(settings, name=["Oats", SCRIPT, "Rice"])
    page = result.qr_sheet("sheet.html", error="h", size=40)
    seen = parsed(page.read_text(encoding="utf-8"))
    assert "3 codes, 40 mm, error correction H or better" in seen.text
    assert "summer" in seen.text
    for url in result.table["qr_encoded_url"].to_pylist():
        assert f"QR code of {url}" in seen.text
    assert seen.has(SCRIPT)
    assert seen.text.count("walmart") == 3
    assert not list(Path().glob("*.part"))


@pytest.mark.parametrize("name", ["code.png", "CODE.PNG", "code.svg"])
def test_single_codes_as_files(settings: Settings, name: str) -> None:
    """A code is written as what its file's name says, and says what Incarts named."""
    link = write(settings).link(2)
    path = link.save(name, error="q", size=20)
    encoded = link.row["qr_encoded_url"]
    if name.lower().endswith("png"):
        [code] = zxingcpp.read_barcodes(Image.open(path).convert("L"))
        assert code.text == encoded
    else:
        assert f"QR code of {encoded}" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        link.save("code.jpg")


def test_links_are_found_by_place_and_by_key(settings: Settings) -> None:
    """Keys as the catalog has them; what fits nothing or several is an error that says so."""
    result = write(settings)
    assert result.link(1).row["link_id"] == result.link(sku="000001").row["link_id"]
    for wanted, said in (
        ({}, "Which link"),
        ({"row": 7}, "No row has catalog_row=7"),
        ({"sku": "x"}, "No row has sku='x'"),
        ({"sku": "0000001"}, 'Did you mean "000001"'),
        ({"colour": "x"}, "no column 'colour'"),
        ({"SKU": "000001"}, "no column 'SKU'.*Did you mean \"sku\""),
        ({"short_linc": "x"}, 'Did you mean "short_link"'),
        ({"link_set": "summer"}, "Several links"),
    ):
        with pytest.raises(CatalogError, match=said):
            result.link(**wanted)


def test_links_begin_with_what_people_look_for(settings: Settings) -> None:
    """Status, link and code come first, alone and behind the caller's own columns."""
    result, first = write(settings), ["status", "short_link", "qr_image_url"]
    assert list(result.links.columns[:3]) == first
    own = len(frame(3).columns)
    assert list(result.to_pandas().columns[own : own + 3]) == first
    assert sorted(result.links.columns) == sorted(LINKS.names)


def test_a_plan_tells_values_and_writes_a_page(settings: Settings) -> None:
    """What changed is told while the plan is open and once it is closed; its page needs it open."""
    write(settings)
    changed = frame(3).assign(quantity=[2, 2, 1])
    with ip.plan_links(changed, link_set="summer", unique_key="sku", settings=settings) as plan:
        page = plan.report("plan.html").read_text(encoding="utf-8")
    assert "ic-rows" in page
    line = "  000000  products[0].quantity  1 → 2"
    assert line in repr(plan).splitlines()
    assert "  2 of 2 products.quantity: 1 → 2" in repr(plan).splitlines()
    assert "products[0].quantity 1 → 2" in parsed(plan._repr_html_()).text
    with pytest.raises(CatalogError, match="closed"):
        plan.report("again.html")


def test_row_without_link_has_no_code(settings: Settings) -> None:
    """Its card says why; asking for a code is an error that names the way on."""
    link = write(settings, quantity=[1, 0, 1]).link(1)
    assert "not a whole number" in parsed(link._repr_html_()).text
    with pytest.raises(CatalogError, match=r"result\.failed"):
        link.svg()


def test_result_whose_file_was_replaced_still_shows(settings: Settings, tmp_path: Path) -> None:
    """A result over a file can't read its rows any more; its counts are still its own."""
    frame(2).to_csv("a.csv", index=False)
    first, second = (
        ip.write_links("a.csv", link_set="s", unique_key="sku", settings=settings, progress=False)
        for _ in range(2)
    )
    assert "created2" in parsed(first._repr_html_()).text
    assert "unchanged2" in parsed(second._repr_html_()).text


def test_report_is_written_whichever_way_it_is_asked_for(settings: Settings) -> None:
    """From the result, by the argument, and by the awaited call."""
    result = write(settings)
    later = result.report("later.html")
    arguments = {"link_set": "t", "unique_key": "sku", "settings": settings, "progress": False}
    ip.write_links(frame(4), report="run.html", **arguments)
    asyncio.run(ip.awrite_links(frame(5), report="again.html", **arguments))
    for path, made in ((later, 3), (Path("run.html"), 4), (Path("again.html"), 1)):
        seen = parsed(path.read_text(encoding="utf-8"))
        assert f"links made{made}" in seen.text
        assert "Throughput, in requests a second" in seen.text
        assert "Every row has what it asked for." in seen.text


def test_report_of_a_run_that_ends_early(settings: Settings, box: Sandbox) -> None:
    """A refused key ends the run; the report says so, and what to do."""
    wrong = settings.model_copy(update={"api_key": SecretStr("ic_live_wrong")})
    ip.write_links(
        frame(), link_set="s", unique_key="sku", settings=wrong, progress=False, report="run.html"
    )
    text = parsed(Path("run.html").read_text(encoding="utf-8")).text
    assert "Ended early: Incarts refused the API key" in text
    assert "pending3" in text
    assert "ic_live_wrong" not in text


def test_report_of_a_run_that_fails(
    settings: Settings, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When links.parquet can't be written, the report tells that, and what was sent."""

    def broken(*_: object, **__: object) -> None:
        raise PublishError("The disk is full.", fix="Make room.")

    monkeypatch.setattr("incarts_pipeline.publish.publish.publish", broken)
    with pytest.raises(PublishError, match="full"):
        ip.write_links(
            frame(),
            link_set="s",
            unique_key="sku",
            settings=settings,
            progress=False,
            report="run.html",
        )
    text = parsed(Path("run.html").read_text(encoding="utf-8")).text
    assert "The run ended by an error: The disk is full. Make room." in text
    assert "requests3" in text
    assert box.audit().links == 3


@pytest.mark.parametrize("place", ["nowhere/run.html", "."])
def test_report_with_no_place_sends_nothing(settings: Settings, box: Sandbox, place: str) -> None:
    """A folder that isn't there is named before the first call."""
    with pytest.raises(PublishError):
        ip.write_links(
            frame(), link_set="s", unique_key="sku", settings=settings, progress=False, report=place
        )
    assert box.audit().requests == 0


def test_report_that_fails_at_the_end_costs_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The links are made and published; that the report is missing is said."""

    def full(*_: object, **__: object) -> None:
        raise PublishError("no room")

    monkeypatch.setattr("incarts_pipeline.display.reporting.write_file", full)
    result = ip.write_links(
        frame(), link_set="s", unique_key="sku", settings=settings, progress=False, report="r.html"
    )
    assert result.counts == {"created": 3}
    assert "its report can't be written: no room" in caplog.text
