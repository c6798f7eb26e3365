"""Cards, sheet and report in a real browser: light and dark, nothing run, nothing loaded."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from incarts_pipeline.display import (
    Reported,
    code_svg,
    link_card,
    plan_card,
    plan_page,
    qr_sheet,
    result_card,
    run_report,
)
from incarts_pipeline.ledger.queries import Label
from tests.support.displayed import AT, World, limited_run

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)
SHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / "screenshots"))
CARDS = ("plan", "result", "link")
NAMES = (*CARDS, "sheet", "report")
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 31)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all tests."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def files(made: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each kind of output as a file; cards are put into a page as a notebook would."""
    folder = tmp_path_factory.mktemp("pages")
    row = made.table.to_pylist()[6]  # the one whose name and key are a script
    reported = Reported(
        link_sets=("summer-campaign",),
        figures=made.result.figures,
        metrics=limited_run(),
        at=AT,
        result=made.result,
        failed=made.table,
        approved=made.plan.figures.digest,
    )
    texts = {
        "plan": plan_card(made.plan),
        "result": result_card(made.table, made.result, made.labels),
        "link": link_card(row, made.labels[row["link_id"]]),
        "sheet": qr_sheet(made.table, made.labels, title="summer-campaign"),
        "report": run_report(reported),
    }
    for name in CARDS:
        texts[name] = f'<!doctype html><meta charset="utf-8"><body>{texts[name]}</body>'
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def background(page: Page, theme: str = "") -> str:
    """Return the colour behind a card once the page has said what theme it is in."""
    return str(
        page.evaluate(
            f"() => {{ {theme}; return getComputedStyle(document.querySelector('.incarts'))"
            ".backgroundColor }"
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_and_nothing_is_loaded(
    browser: Browser, files: dict[str, Path], scheme: str
) -> None:
    """A product named <script> is shown; no request leaves a page; each is photographed."""
    context = browser.new_context(viewport={"width": 1000, "height": 720}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    for name in NAMES:
        page.goto(files[name].as_uri())
        assert page.title() != "run"
        assert page.locator("script, img, iframe, link").count() == 0
        assert background(page) == (LIGHT if scheme == "light" else DARK)
        if name not in ("report", "plan"):
            assert "<script>document.title='run'</script>" in page.inner_text("body")
        if name in CARDS:
            page.evaluate("s => document.body.style.background = s", "#111" * (scheme == "dark"))
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 1000, f"{name} is wider than the window"
        page.screenshot(path=SHOTS / f"{name}-{scheme}.png", full_page=name != "sheet")
    assert asked == [path.as_uri() for path in files.values()]
    assert wrong == []
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (1000, "dark"), (390, "light")])
def test_rows_of_a_plan_are_searched(
    browser: Browser, made: World, tmp_path: Path, width: int, scheme: str
) -> None:
    """A key, a name or a value leaves its rows; nothing else runs, nothing is loaded."""
    file = tmp_path / "plan-page.html"
    file.write_text(plan_page(made.plan, AT), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    rows = page.locator(".ic-rows tbody tr:visible")
    assert rows.count() == 72
    page.screenshot(path=SHOTS / f"plan-page-{width}-{scheme}.png")
    search = page.get_by_label("Search in all rows")
    for words, found in (("sku-0007", 1), ("REPLACE quantity", 27), ("<script>", 6), ("nobody", 0)):
        search.fill(words)
        sync_api.expect(rows).to_have_count(found)
        assert page.get_by_role("status").inner_text() == f"{found} of 72 rows"
    search.fill("")
    sync_api.expect(rows).to_have_count(72)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "run"
    assert wrong == []
    context.close()


@pytest.mark.parametrize(
    ("scheme", "theme", "colour"),
    [
        ("dark", "document.body.dataset.jpThemeLight = 'true'", LIGHT),
        ("light", "document.body.dataset.jpThemeLight = 'false'", DARK),
        ("dark", "document.body.className = 'vscode-light'", LIGHT),
        ("light", "document.body.className = 'vscode-dark'", DARK),
        ("light", "document.documentElement.setAttribute('theme', 'dark')", DARK),
        ("dark", "document.body.dataset.theme = 'light'", LIGHT),
        ("light", "document.body.dataset.theme = 'dark'", DARK),
    ],
)
def test_the_notebook_says_which_theme_it_is_in(
    browser: Browser, files: dict[str, Path], scheme: str, theme: str, colour: str
) -> None:
    """JupyterLab, VS Code, Colab and marimo win over what the system prefers."""
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(files["plan"].as_uri())
    assert background(page, theme) == colour
    context.close()


def test_a_notebook_and_a_card_leave_each_other_alone(
    browser: Browser, files: dict[str, Path]
) -> None:
    """Our rules touch no table outside of a card, and the notebook's none inside."""
    page = browser.new_page()
    outside = '<table id="o" class="ic-table"><tr><td class="ic-num">1</td></tr></table>'
    rules = (
        "<style>.jp-RenderedHTMLCommon tbody tr:nth-child(odd){background:red}"
        ".jp-RenderedHTMLCommon:not(.jp-RenderedMarkdown) td{text-align:right;max-width:9px}"
        "</style>"
    )
    look = (
        "s => { const {textAlign, maxWidth, borderBottomWidth, paddingRight} ="
        " getComputedStyle(document.querySelector(s + ' td'));"
        " const row = getComputedStyle(document.querySelector(s + ' tbody tr')).backgroundColor;"
        " return [textAlign, maxWidth, borderBottomWidth, paddingRight, row] }"
    )
    page.set_content(outside)
    alone = page.evaluate(look, "#o")
    card = files["result"].read_text(encoding="utf-8")
    page.set_content(outside + card)
    assert page.evaluate(look, "#o") == alone
    ours = page.evaluate(look, ".incarts")
    page.set_content(rules + f'<div class="jp-RenderedHTMLCommon">{card}</div>')
    assert page.evaluate(look, ".incarts") == ours
    page.close()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_printed_sheet_reads_back(
    browser: Browser, files: dict[str, Path], made: World, paper: str
) -> None:
    """No code is cut by a page's end: each is found on paper once, and says its own link."""
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(files["sheet"].as_uri())
    document = pypdfium2.PdfDocument(page.pdf(format=paper))
    context.close()
    found: list[str] = []
    for sheet in document:
        image = sheet.render(scale=2.5).to_pil().convert("L")
        assert image.getpixel((2, 2)) == 255  # dark themes are for screens
        found += [code.text for code in zxingcpp.read_barcodes(image)]
    assert len(document) > 2
    document.close()
    assert sorted(found) == sorted(set(made.table["qr_encoded_url"].drop_null().to_pylist()))


def test_codes_on_a_dark_screen_read_back(
    browser: Browser, files: dict[str, Path], made: World
) -> None:
    """A code on a card can be scanned off the screen in a dark theme."""
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(files["link"].as_uri())
    shot = page.locator(".incarts").screenshot()
    context.close()
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(shot)).convert("L"))
    assert code.text == made.table["qr_encoded_url"][6].as_py()


def test_single_code_as_svg_reads_back(browser: Browser, tmp_path: Path) -> None:
    """An SVG file by itself is drawn at its size in millimetres, and reads back."""
    path = tmp_path / "code.svg"
    path.write_text(code_svg("https://in2carts.com/a?b=1&c=2", error="h", size=40), "utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    size = page.evaluate("document.documentElement.getBoundingClientRect().width")
    shot = page.screenshot()
    page.close()
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(shot)).convert("L"))
    assert code.text == "https://in2carts.com/a?b=1&c=2"
    assert size == pytest.approx(40 / 25.4 * 96, abs=0.1)


def test_narrow_window_scrolls_nowhere(browser: Browser, files: dict[str, Path]) -> None:
    """On a phone's width a report and a card still fit."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for name in ("report", "result", "plan"):
        page.goto(files[name].as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
    page.screenshot(path=SHOTS / "plan-narrow.png", full_page=True)
    page.close()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_sheet_prints_as_many_as_asked(
    browser: Browser, made: World, tmp_path: Path, paper: str
) -> None:
    """On either paper each page has its codes, whole; no short link breaks inside its code."""
    [first] = made.table.filter(pc.is_valid(made.table["link_id"])).slice(0, 1).to_pylist()
    url = "https://in2carts.com/aB12xYzQ"
    rows = [
        first | {"link_id": f"lnk_{n}", "row_key": f"SKU-{n}", "short_link": f"{url}{n:03}"}
        for n in range(50)
    ]
    name = "Organic Rolled Oats, Gluten Free, Family Size"
    labels = {f"lnk_{n}": Label(retailer="walmart", intent="", name=name) for n in range(50)}
    table = pa.Table.from_pylist(rows, schema=made.table.schema)
    page = browser.new_page()
    for per_page, pages in ((6, 9), (12, 5), (24, 3), (40, 2)):
        file = tmp_path / f"{per_page}.html"
        file.write_text(qr_sheet(table, labels, per_page=per_page), encoding="utf-8")
        page.goto(file.as_uri())
        pdf = page.pdf(path=str(tmp_path / f"{per_page}.pdf"), format=paper)
        with closing(pypdfium2.PdfDocument(pdf)) as printed:
            assert len(printed) == pages
            texts = [one.get_textpage().get_text_bounded() for one in printed]
        assert [text.count("SKU-") for text in texts[:-1]] == [per_page] * (pages - 1)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 711, "height": 970})  # 188 mm
        assert page.evaluate(_CUT) == []
    page.close()


def test_a_report_is_read_on_a_phone(browser: Browser, files: dict[str, Path]) -> None:
    """At 390 pixels nothing is wider than the screen, and the plots' words have their size."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(files["report"].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    words = page.locator("figure svg text")
    heights = words.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert min(heights) >= 8
    page.close()


# Cells whose content is cut off, and codes of short links that stand on two lines.
_CUT = """() => {
    const all = (name) => [...document.querySelectorAll(name)];
    const isCut = (one) =>
        one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1;
    const isBroken = (one) => one.offsetHeight > 1.6 * parseFloat(getComputedStyle(one).fontSize);
    const found = [...all('.ic-cell').filter(isCut), ...all('.ic-piece').filter(isBroken)];
    return found.map((one) => one.textContent);
}"""
