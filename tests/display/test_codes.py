"""QR codes: made here, read back by another program."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import pytest
import zxingcpp
from hypothesis import given, settings, strategies as st
from PIL import Image

from incarts_pipeline.display import code_png, code_svg
from incarts_pipeline.display.html.codes import encoded, module_size

URL = "https://in2carts.com/abc123"


def read(png: bytes) -> str:
    """Return what a PNG's one code says."""
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(png)).convert("L"))
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    return code.text


@settings(max_examples=25)
@given(
    st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-._~/?&=%"), max_size=120),
    st.sampled_from("lmqhLMQH"),
)
def test_png_reads_back(path: str, error: str) -> None:
    """At every level of error correction a code says what was put into it."""
    url = f"https://in2carts.com/{path}"
    assert read(code_png(url, error=error, dpi=150)) == url


@pytest.mark.parametrize(("level", "said"), [("l", "L"), ("m", "M"), ("q", "Q"), ("h", "H")])
def test_error_correction_is_at_least_what_was_asked(level: str, said: str) -> None:
    """More is used only where it costs no space."""
    image = Image.open(io.BytesIO(code_png(URL, error=level))).convert("L")
    [code] = zxingcpp.read_barcodes(image)
    assert "LMQH".index(code.ec_level) >= "LMQH".index(said)


@pytest.mark.parametrize("size", [15.0, 30.0, 80.0])
def test_png_prints_at_its_size(size: float) -> None:
    """Its pixels and its resolution make the millimetres asked for."""
    image = Image.open(io.BytesIO(code_png(URL, size=size)))
    dpi = image.info["dpi"][0]
    assert dpi >= 299
    assert image.width / dpi * 25.4 == pytest.approx(size, rel=0.01)


def test_svg_is_a_document_of_its_own() -> None:
    """It is well-formed, in millimetres, and its dark modules are those of the matrix."""
    root = ET.fromstring(code_svg(URL, size=25))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("25mm", "25mm")
    assert root.findtext("{http://www.w3.org/2000/svg}title") == f"QR code of {URL}"
    side = int(root.attrib["viewBox"].split()[2])
    assert module_size(URL, error="m", size=side) == pytest.approx(1.0)


def test_what_a_row_encodes() -> None:
    """What Incarts named wins; its short link stands in; what is no URL is never printed."""
    row = {"qr_encoded_url": f"{URL}?qr=1", "short_link": URL}
    assert encoded(row) == (f"{URL}?qr=1", False)
    assert encoded(row | {"qr_encoded_url": None}) == (URL, True)
    assert encoded(row | {"qr_encoded_url": "javascript:alert(1)"}) == (URL, True)
    assert encoded({"qr_encoded_url": None, "short_link": None}) == (None, False)


def test_unknown_level_is_refused() -> None:
    """The four levels are named."""
    with pytest.raises(ValueError, match="l, m, q and h"):
        code_svg(URL, error="x")
