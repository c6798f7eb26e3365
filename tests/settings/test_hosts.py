"""Hosts: two spellings of one are the same, and what looks like another is another."""

from __future__ import annotations

import pytest

from incarts_pipeline.settings import checked_base_url, host_of, named_host


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://API.Example.com/",
        "https://api.example.com:443/base",
        "HTTPS://api.example.com.",
        "https://api.example.com:0443",
    ],
)
def test_spellings_of_one_host(url: str) -> None:
    """Capitals, the scheme's own port, a path and a last dot don't make another host."""
    assert host_of(checked_base_url(url)) == "https://api.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com:8443",
        "https://api.example.com.evil.example",
        "https://api-example.com",
        "https://xn--pi-6kc.example.com",
        "https://example.com",
        "https://127.0.0.1",
        "http://127.0.0.1",
    ],
)
def test_another_host_is_another(url: str) -> None:
    """Another port, scheme, domain, address or alphabet is another host."""
    known = {host_of(one) for one in ("https://api.example.com", "http://127.0.0.1:8000")}
    assert host_of(checked_base_url(url)) not in known


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://аpi.example.com", "written in ASCII: xn--pi-6kc.example.com"),
        ("https://api。example.com", "written in ASCII: api.example.com"),
        ("https://api.example.com\\@evil.example", "credentials"),
        ("https://evil.example\\.api.example.com", "can't be the name of a host"),
        ("https://api.example.com%2eevil.example", "can't be the name of a host"),
        ("https://api.example.com;evil.example", "can't be the name of a host"),
        ("https://api.example.com@evil.example", "credentials"),
        ("https://*.example.com", "can't be the name of a host"),
        ("https://-x.example", "can't be the name of a host"),
        ("http://localhost.", "use https"),
        ("http://127.1", "use https"),
        ("http://0.0.0.0", "use https"),
    ],
)
def test_what_two_readers_may_take_for_two_hosts(url: str, message: str) -> None:
    """Names with anything but ASCII's letters, digits, dots and dashes are refused."""
    with pytest.raises(ValueError, match=message.replace("(", "\\(")):
        checked_base_url(url)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("api.example.com", "https://api.example.com"),
        ("api.example.com:8443", "https://api.example.com:8443"),
        ("https://api.example.com/base", "https://api.example.com"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
        ("https://localhost:8000", "https://localhost:8000"),
    ],
)
def test_hosts_as_people_write_them(written: str, host: str) -> None:
    """A bare name is https, on this machine http; a URL is itself."""
    assert named_host(written) == host


@pytest.mark.parametrize("written", ["", "*", "*.example.com", "a b", "http://api.example.com"])
def test_what_is_no_host(written: str) -> None:
    """Nothing, a pattern, two words, and what a key may never go to."""
    with pytest.raises(ValueError, match=r"host|URL|https"):
        named_host(written)
