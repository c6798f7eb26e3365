"""XML feeds: each record a row of texts, whatever namespace and form; nothing else is loaded."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError, UndecidedError

GOOGLE = 'xmlns:g="http://base.google.com/ns/1.0"'


def rows_of(source: object, **options: Any) -> list[dict[str, Any]]:
    catalog = open_catalog(source, **options)
    return [row for batch in catalog.batches() for row in batch.to_pylist()]


def warnings_of(source: object) -> list[str]:
    catalog = open_catalog(source)
    list(catalog.batches())
    return catalog.warnings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feed.xml"


def rss(*items: str) -> str:
    inside = "".join(f"<item>{item}</item>" for item in items)
    return f'<?xml version="1.0"?><rss {GOOGLE}><channel><title>T</title>{inside}</channel></rss>'


def test_google_merchant_rss(file: Path) -> None:
    """Columns have no prefix, ids keep their zeros, and what an item lacks is null."""
    file.write_text(
        rss(
            "<g:id> 0012 </g:id><title><![CDATA[Tea & <b>Co</b>]]></title><g:brand/>"
            "<g:shipping><g:country>US</g:country><g:price>1 USD</g:price></g:shipping>"
            "<g:shipping><g:country>CA</g:country><g:price>2 USD</g:price></g:shipping>",
            "<g:id>0013</g:id><g:additional_image_link>https://x.example/a,b</g:additional_image_link>"
            "<g:additional_image_link>https://x.example/c</g:additional_image_link>",
        )
    )
    first = {"id": "0012", "title": "Tea & <b>Co</b>"}
    first |= {"shipping.country": "US,CA", "shipping.price": "1 USD,2 USD"}
    second = {"id": "0013", "additional_image_link": "https://x.example/a%2Cb,https://x.example/c"}
    empty = dict.fromkeys(first | second)
    assert rows_of(file) == [empty | first, empty | second]
    assert open_catalog(file).chosen == {"records": "rss.channel.item"}


def test_atom(file: Path) -> None:
    """An Atom entry's link is its address, in whatever namespace it is written."""
    file.write_text(
        f'<feed xmlns="http://www.w3.org/2005/Atom" {GOOGLE}><title>T</title><entry><g:id>1</g:id>'
        '<link rel="self" href="https://x.example/self"/><link href="https://x.example/p?a=1&amp;b=2"/>'
        "</entry></feed>"
    )
    [row] = rows_of(file)
    assert (row["id"], row["link"]) == ("1", "https://x.example/p?a=1&b=2")


def test_google_wins_over_the_feeds_own_and_says_so(file: Path) -> None:
    """Where an item has both and they differ, g: is taken, and a warning counts it."""
    file.write_text(
        rss(
            "<title>a</title><g:title>A</g:title>",
            "<title>b</title><g:title>b</g:title>",
            "<title>c</title>",
        )
    )
    assert [row["title"] for row in rows_of(file)] == ["A", "b", "c"]
    assert warnings_of(file) == [
        f"{file}: 1 record with another title in g:title, which was taken."
    ]


def test_other_documents(file: Path) -> None:
    """In a document of its own kind, the elements that repeat are the records."""
    file.write_text(
        '<yml><shop><currencies><c id="EUR"/><c id="USD"/></currencies><offers>'
        '<offer id="07"><name>x</name><price cur="EUR">1</price></offer>'
        '<offer id="08"><name>y</name><price cur="EUR">2</price></offer></offers></shop></yml>'
    )
    expected = [
        {"@id": "07", "name": "x", "price": "1", "price.@cur": "EUR"},
        {"@id": "08", "name": "y", "price": "2", "price.@cur": "EUR"},
    ]
    assert rows_of(file) == rows_of(file, records="offer") == expected
    file.write_text("<products><product><id>1</id></product></products>")
    assert rows_of(file) == [{"id": "1"}]


def test_several_kinds_of_records_are_never_guessed(file: Path) -> None:
    """Of several repeated elements one has to be said; the error has them all."""
    file.write_text("<shop><c><n>1</n></c><c><n>2</n></c><p><id>1</id></p><p><id>2</id></p></shop>")
    with pytest.raises(UndecidedError, match=r"shop\.c \(2\), shop\.p \(2\)") as caught:
        open_catalog(file)
    assert (caught.value.option, caught.value.choices) == ("records", ("shop.c", "shop.p"))
    with pytest.raises(UndecidedError, match="no one element 'q'"):
        open_catalog(file, records="q")
    assert rows_of(file, records="p") == [{"id": "1"}, {"id": "2"}]


def test_bare_ampersands_are_text(file: Path) -> None:
    """An & that begins no reference can only mean itself; it is read so, and counted."""
    file.write_text("\n\n" + rss("<t>Dolce & Gabbana</t><link>https://x.example/?a=1&b=2</link>"))
    assert rows_of(file) == [{"t": "Dolce & Gabbana", "link": "https://x.example/?a=1&b=2"}]
    assert warnings_of(file) == [f"{file}: 2 times & was read as &amp;."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no whole XML document"),
        (rss("<a>1</a>")[:-3], "no whole XML document"),
        (rss("<a>&nbsp;</a>"), "no whole XML document in line 1: Entity 'nbsp' not defined"),
        ('<!DOCTYPE rss SYSTEM "x.dtd">' + rss("<a>&nbsp;</a>")[21:], "has &nbsp; in line 1"),
        (rss(), "is empty"),
        ("<html><body><p>404</p></body></html>", "is a web page"),
        ('<!DOCTYPE r [<!ENTITY e "x">]>' + rss("<a>&e;</a>")[21:], "declares entities"),
        (
            '<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + rss("<a>&e;</a>")[21:],
            "declares entities",
        ),
        ('{"a": 1}', "no whole XML document"),
    ],
)
def test_broken_documents_are_refused(file: Path, content: str, message: str) -> None:
    """What is cut, empty, another document or brings entities of its own is refused in words."""
    file.write_text(content)
    with pytest.raises(CatalogError, match=message):
        rows_of(file)


def test_every_cut_is_noticed(file: Path) -> None:
    """A document that lacks even its last character is refused."""
    whole = rss("<id>1</id>", "<id>2</id>")
    for at in range(len(whole)):
        file.write_text(whole[:at])
        with pytest.raises(CatalogError):
            rows_of(file)


def test_encodings_and_compression(tmp_path: Path, file: Path) -> None:
    """The encoding that a document declares is used, one that is said wins; gz is unpacked."""
    text = "<r><p><t>é</t></p><p><t>ü</t></p></r>"
    rows = [{"t": "é"}, {"t": "ü"}]
    file.write_bytes(f'<?xml version="1.0" encoding="windows-1252"?>{text}'.encode("cp1252"))
    assert rows_of(file) == rows
    file.write_bytes(f'<?xml version="1.0" encoding="utf-16"?>{text}'.encode("utf-16"))
    assert rows_of(file) == rows
    file.write_bytes(text.encode("cp1252"))
    with pytest.raises(CatalogError, match="no whole XML document"):
        rows_of(file)
    assert rows_of(file, encoding="cp1252") == rows
    packed = tmp_path / "feed.xml.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert rows_of(packed) == rows


plain = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1).filter(
    lambda text: text.strip() == text
)


@given(rows=st.lists(st.fixed_dictionaries({"a": plain, "b": plain}), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_round_trips(file: Path, rows: list[dict[str, str]]) -> None:
    """Whatever text is escaped, or in a CDATA section, comes back equal."""
    file.write_text(
        rss(
            *(
                f"<a>{escape(row['a'])}</a><b><![CDATA[{row['b'].replace(']]>', '')}]]></b>"
                for row in rows
            )
        ),
        encoding="utf-8",
    )
    wanted = [row | {"b": row["b"].replace("]]>", "").strip(" \t\r\n") or None} for row in rows]
    if any(row["b"] for row in wanted):
        assert rows_of(file) == wanted
