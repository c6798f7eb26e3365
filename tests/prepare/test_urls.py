"""URLs: filled in, encoded, and open to everybody."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
from hypothesis import example, given, settings, strategies as st

from incarts_pipeline.errors import MappingError
from incarts_pipeline.mapping import load_mapping
from incarts_pipeline.models import Limits
from incarts_pipeline.prepare.literals import check_constants
from incarts_pipeline.prepare.problems import Findings
from incarts_pipeline.prepare.urls import check_url
from tests.support.link_requests import prepared, simple


def codes(*urls: str | None) -> list[list[str]]:
    """Return the codes that each URL gets, checked together."""
    return [[one["code"] for one in row] for row in problems(*urls)]


def problems(*urls: str | None) -> list[list[dict[str, str]]]:
    """Return the problems of each URL, checked together."""
    findings = Findings(len(urls))
    check_url(pa.array(urls, pa.string()), "custom_url", findings, Limits())
    found: list[list[dict[str, str]]] = findings.lists().to_pylist()
    return found


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://localhost/prestashop/p/1", "private_host"),
        ("https://LOCALHOST:8080/", "private_host"),
        ("https://shop/p", "private_host"),
        ("https://127.0.0.1/", "private_host"),
        ("https://127.1", "private_host"),
        ("https://0x7f000001/", "private_host"),
        ("https://2130706433/", "private_host"),
        ("https://0.0.0.0/", "private_host"),
        ("https://10.1.2.3/p", "private_host"),
        ("https://172.16.0.1/p", "private_host"),
        ("https://192.168.178.20/p", "private_host"),
        ("https://169.254.169.254/", "private_host"),
        ("https://100.64.1.1/", "private_host"),
        ("https://[::1]:443/", "private_host"),
        ("https://[fe80::1]/", "private_host"),
        ("https://[fd00::1]/", "private_host"),
        ("https://shop.local/", "private_host"),
        ("https://shop.internal./", "private_host"),
        ("https://shop.test/p", "private_host"),
        ("https://nas.home.arpa/", "private_host"),
        ("http://shop.com/p", "not_https"),
        ("HTTP://SHOP.COM", "not_https"),
        ("https://müller.de/p", "non_ascii_host"),
        ("https://shop.com/products/{handle}", "placeholder_in_url"),
        ("https://shop.com/products/{{ handle }}", "not_a_url"),
        ("https://shop.com/products/{{handle}}", "placeholder_in_url"),
        ("https://shop.com/p/${sku}", "placeholder_in_url"),
        ("https://shop.com/products/%7Bhandle%7D", "placeholder_in_url"),
        ("https://shop.com/products/%7b%7bhandle%7d%7d?a=1", "placeholder_in_url"),
        ("https://shop.com/p/[SKU]", "placeholder_in_url"),
        ("https://shop.com/?sku=[SKU]&b=1", "placeholder_in_url"),
        ("https://shop.com/<sku>", "placeholder_in_url"),
        ("https://shop.com/%3Csku%3E", "placeholder_in_url"),
        ("https://shop.com/p/:handle/x", "placeholder_in_url"),
        ("https://shop.com/p/%s", "placeholder_in_url"),
        ("https://shop.com/p/%%SKU%%", "placeholder_in_url"),
        ("https://shop.com/p/undefined", "placeholder_in_url"),
        ("https://shop.com/null/p", "placeholder_in_url"),
        ("https://shop.com/p/None?x=1", "placeholder_in_url"),
        ("https://shop.com/p?sku=nan#top", "placeholder_in_url"),
        ("https://shop.com/p/#N/A", "placeholder_in_url"),
        ("https://shop.com?sku=NULL", "placeholder_in_url"),
        ("https://shop.com/p?a=1&amp;b=2", "html_in_url"),
        ("https://shop.com/p?q=&quot;x&quot;", "html_in_url"),
        ("https://user:secret@shop.com/p", "credentials_in_url"),
        ("https://user@shop.com/p", "credentials_in_url"),
        ("https://shop.com@evil.com/p", "credentials_in_url"),
        ("https://shop.com:99999/", "not_a_url"),
        ("https://shop.com:0/", "not_a_url"),
        ("https://shop.com:80a/", "not_a_url"),
        ("https://https://shop.com/", "not_a_url"),
        ("https://http//shop.com/", "not_a_url"),
        ("https:shop.com", "not_a_url"),
        ("https:/shop.com", "not_a_url"),
        ("//shop.com/p", "not_a_url"),
        ("shop.com/p", "not_a_url"),
        (r"https:\\shop.com\p", "not_a_url"),
        (r"https://shop.com\p", "not_a_url"),
        ("https://shop .com/", "not_a_url"),
        ("https://shop.com/a b", "not_a_url"),
        ("https://shop.com/a\u00a0b", "not_a_url"),
        ("https://shop..com/", "not_a_url"),
        ("https://-shop.com/", "not_a_url"),
        ("https://shop%2Fp.com/", "not_a_url"),
        ("https://{shop}.com/", "not_a_url"),
        ("https://999.1.1.1/", "not_a_url"),
        ("https://1.2.3.4.5/", "not_a_url"),
        ("https://[shop.com]/", "not_a_url"),
        ("https://☃\u200b.com", "not_a_url"),
        ("mailto:a@shop.com", "not_a_url"),
        ("javascript:alert(1)", "not_a_url"),
    ],
)
def test_dead_and_dangerous_urls(url: str, code: str) -> None:
    """One cause is one problem, alone and among others; the message quotes the URL."""
    fine = "https://www.walmart.com/ip/1"
    assert codes(url) == [[code]]
    assert codes(fine, url, None, fine, url) == [[], [code], [], [], [code]]
    shown = url.partition("@")[2] if code == "credentials_in_url" else url
    assert (
        shown.replace("\u00a0", "<U+00A0>").replace("\u200b", "<U+200B>")
        in problems(url)[0][0]["message"]
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://www.walmart.com/ip/123?athbdg=L1600",
        "HTTPS://Shop.com/A",
        "https://shop.com",
        "https://shop.com?q=1",
        "https://shop.com#top",
        "https://shop.com./p",
        "https://a_b.shop.com:8443/p",
        "https://xn--mller-kva.de/p",
        "https://8.8.8.8/p",
        "https://[2606:4700::1111]/p",
        "https://shop.example/p/1",
        "https://example.com/p/1",
        "https://shop.com/p/nullable/undefined-behaviour/nonempty/banana",
        "https://shop.com/?filter[color]=red&sort[]=a",
        "https://shop.com/?j=%7B%22a%22%3A1%7D",
        "https://shop.com/none/na/n",
        "https://shop.com/p/a:b/c",
        "https://shop.com/100%25",
        "https://web.archive.org/web/2024/https://shop.com/",
        "https://shop.com/?next=https://shop.com/p",
        "https://shop.com/p?a=1&b=2;c=3",
        "https://shop.com/ü",
        "https://shop.com/@user",
        "https://shop.com/p?mail=a@b.com",
        "https://localhost.com/",
        "https://192.168.shop.com/",
    ],
)
def test_urls_that_are_fine(url: str) -> None:
    """Other ports, scripts in paths, and words that only begin alike."""
    assert codes(url, "https://shop.com/x") == [[], []]


def test_a_password_is_never_repeated() -> None:
    """Not in the message of its own problem, nor in any other one's."""
    for url in (
        "https://u:s3cret@shop.com/{x}",
        "https://u:s3cret@shop.com/a b",
        "http://u:s3cret@",
    ):
        assert "s3cret" not in str(problems("https://shop.com/", url))


def test_hosts_are_told_by_row() -> None:
    """As many hosts as rows, each with its own name in the message."""
    urls = [f"https://shop{n}.local/p" if n % 2 else f"https://shop{n}.com/p" for n in range(400)]
    found = problems(*urls)
    assert [bool(one) for one in found] == [bool(n % 2) for n in range(400)]
    assert all(f"leads to shop{n}.local," in found[n][0]["message"] for n in range(1, 400, 2))


HOSTS = st.sampled_from(["shop.com", "shop.local", "a.b", "u:p@a.b", "x", "shop.com:1", "é.de", ""])
SCHEMES = st.sampled_from(["https", "http", "HTTPS", "ftp", ""])
TAILS = st.sampled_from(["", "/", "/p", "/{x}", "/ a", "?a=null", "/null", "#x", "\\p", "/%7Bx%7D"])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SCHEMES, HOSTS, TAILS) | st.none(), max_size=12))
def test_urls_are_judged_alike_whatever_stands_beside_them(
    parts: list[tuple[str, str, str] | None],
) -> None:
    """The quick look at a column of one host finds what the expressions find."""
    urls = [None if one is None else f"{one[0]}://{one[1]}{one[2]}" for one in parts]
    assert codes(*urls) == [codes(url)[0] for url in urls]
    assert codes(*urls, None) == [*codes(*urls), []]


@pytest.mark.parametrize(
    "constant", ["http://localhost/p", "https://shop.com/{{handle}}", "http://a.b"]
)
def test_a_suspicious_constant_is_refused_at_once(constant: str) -> None:
    """It would hold all rows; accepting it lets it through."""
    mapping = simple(custom_url=constant)
    with pytest.raises(MappingError, match="--accept") as refused:
        check_constants(load_mapping(mapping), Limits())
    assert refused.value.path == "link.custom_url"
    accept = ["private_host", "placeholder_in_url", "not_https"]
    check_constants(load_mapping(mapping | {"accept": accept}), Limits())


def sent(template: str, **cells: str) -> tuple[str | None, set[str]]:
    """Return the URL that a template makes of one row, and the codes of the row."""
    table = pa.table(
        {"name": ["n"], "key": ["1"], **{name: [cell] for name, cell in cells.items()}}
    )
    mapping = simple(custom_url=template) | {"unique_key": ["key"]}
    [row] = prepared(table, mapping)
    body = row["body"]
    found = None if body is None else body.partition('"customUrl":"')[2].partition('","')[0]
    return found, {one["code"] for one in row["problems"]}


@pytest.mark.parametrize(
    ("template", "cell", "url"),
    [
        ("https://shop.example/p/{x}?ref=qr", "A#1", "https://shop.example/p/A%231?ref=qr"),
        ("https://shop.example/p/{x}?ref=qr", "A?b=1", "https://shop.example/p/A%3Fb%3D1?ref=qr"),
        ("https://shop.example/p/{x}?ref=qr", "100%", "https://shop.example/p/100%25?ref=qr"),
        ("https://shop.example/p/{x}?ref=qr", "a/b", "https://shop.example/p/a%2Fb?ref=qr"),
        ("https://shop.example/p/{x}?ref=qr", "é 1", "https://shop.example/p/%C3%A9%201?ref=qr"),
        ("https://shop.example/?q={x}&a=1", "b&c=d+e", "https://shop.example/?q=b%26c%3Dd%2Be&a=1"),
        ("https://shop.example/#{x}", "a b", "https://shop.example/#a%20b"),
        ("https://shop.example/{x:raw}?a=1", "p/1", "https://shop.example/p/1?a=1"),
        ("https://shop.example/p/{x}", "A-1_b.c~d", "https://shop.example/p/A-1_b.c~d"),
        ("{x}", "https://shop.example/p/1?a=b#c", "https://shop.example/p/1?a=b#c"),
        ("{x}?ref=qr", "https://shop.example/p/1", "https://shop.example/p/1?ref=qr"),
        ("https://{x}/p", "shop.example", "https://shop.example/p"),
        ("https://shop.example{x}", "/p/1", "https://shop.example/p/1"),
    ],
)
def test_template_values_are_encoded_for_where_they_stand(
    template: str, cell: str, url: str
) -> None:
    """Only what is a value of a path, a query or a fragment; what is the URL itself stays."""
    assert sent(template, x=cell) == (url, set())


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=2, max_size=8))
@example("a/../b")
def test_a_value_comes_back_from_where_it_stood(value: str) -> None:
    """As a server reads the URL: one segment of the path, one value of the query."""
    found, told = sent("https://shop.example/p/{x}?q={x}&z=1#{x}", x=value)
    if found is None:
        assert told
        return
    parts = urlsplit(found)
    assert unquote(parts.path) == f"/p/{value}"
    assert parts.path.count("/") == 2
    assert parse_qs(parts.query) == {"q": [value], "z": ["1"]}
    assert unquote(parts.fragment) == value


def test_columns_are_taken_as_they_are() -> None:
    """A column that is the whole URL is encoded by whoever made it."""
    table = pa.table({"sku": ["1"], "name": ["n"], "x": ["https://shop.example/a%20b?c=d#e"]})
    [row] = prepared(table, simple(custom_url={"column": "x"}))
    assert '"customUrl":"https://shop.example/a%20b?c=d#e"' in row["body"]


@pytest.mark.parametrize("cell", ["#N/A", "nan", "..", "-", "a\u200bb", "'550"])
def test_debris_in_a_template_is_no_part_of_a_url(cell: str) -> None:
    """Encoded, it would be a page that nobody has."""
    found, told = sent("https://shop.example/p/{x}", x=cell)
    assert found is None
    assert told & {"spreadsheet_error", "no_value", "invisible_character", "spreadsheet_text"}
