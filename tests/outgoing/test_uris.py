"""Credentials in URIs are hidden, and the rest of a URI is not."""

from __future__ import annotations

import pytest

from incarts_pipeline.api.proxy import proxy_for
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.outgoing import has_credentials, keep_credentials, safe, uri_place


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        ("s3://AKIA:sec/ret+x@bucket/p/x.parquet", "s3://…@bucket/p/x.parquet"),
        ("s3:/AKIA:s@bucket/x", "s3:/…@bucket/x"),
        ("s3://b/x?secret_key=abc&region=x", "s3://b/x?secret_key=…&region=x"),
        ("http://u:p@ss:w@proxy:99999x", "http://…@proxy:99999x"),
        ("abfs://c@account/x?sig=abc", "abfs://c@account/x?sig=…"),
        ("https://a.blob/x?sv=1&sig=abc%3D", "https://a.blob/x?sv=1&sig=…"),
        ("https://a/x?X-Amz-Signature=1&page=2", "https://a/x?X-Amz-Signature=…&page=2"),
        ("postgresql://u:p?w@h/db", "postgresql://…@h/db"),
        ("https://token@github.com/x", "https://…@github.com/x"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, seen: str) -> None:
    """Users with passwords, tokens and signatures give way, also where the URI is malformed."""
    assert safe(f'at "{uri}", today') == f'at "{seen}", today'
    assert has_credentials(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://host:8443/a@b",
        "https://shop.example/?utm_source=x&color=red",
        "s3://bucket/a@b/x?region=eu&endpoint_override=localhost",
        "file:///tmp/x.csv",
        "catalog.csv",
    ],
)
def test_other_uris_stay_as_they_are(uri: str) -> None:
    """Ports, paths and harmless options are no secrets."""
    assert safe(uri) == uri
    assert not has_credentials(uri)


def test_a_place_has_neither_credentials_nor_options() -> None:
    """What names a file is the same however it is signed."""
    assert uri_place("s3://u:p/w@bucket/x?region=y") == "s3://bucket/x"
    assert uri_place("data/x.csv?") == "data/x.csv?"


def test_kept_credentials_are_hidden_alone() -> None:
    """A client that quotes a password, or a token, without its URI shows neither."""
    keep_credentials("s3://AKIDEXAMPLE:pa%2Fssword-9@bucket/x?session_token=Tok-9-en-Zz")
    told = safe("AKIDEXAMPLE, pa/ssword-9, pa%2Fssword-9, Tok-9-en-Zz")
    assert told == "[secret], [secret], [secret], [secret]"


@pytest.mark.parametrize(
    "proxy", ["socks5://user:Pr0xy-pass@h:1", "user:Pr0xy-pass@h:port", "//user:Pr0xy-pass@h"]
)
def test_a_proxys_password_is_hidden_however_it_is_written(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A malformed proxy, or one of another kind, is told without its password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    try:
        told = str(proxy_for("https://api.example.com"))
    except SettingsError as error:
        told = str(error)
    assert "Pr0xy-pass" not in safe(f"{told} Pr0xy-pass")
