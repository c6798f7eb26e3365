"""Credentials in URIs are hidden, and the rest of a URI is not."""

from __future__ import annotations

import pytest

from incarts_pipeline.api.proxy import proxy_for
from incarts_pipeline.errors import IncartsError, SettingsError
from incarts_pipeline.outgoing import has_credentials, keep_credentials, safe, uri_place
from incarts_pipeline.settings import load_settings


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
        ("s3://AKIA:se'cretPW1@bucket/x", "s3://…@bucket/x"),
        ('s3://AKIA:se"cretPW1@bucket/x', "s3://…@bucket/x"),
        ("s3://AKIA:se cretPW1@bucket/x", "s3://…@bucket/x"),
        ("s3://AKIA:se<cr`et@PW1@bucket/x", "s3://…@bucket/x"),
        ("//user:passw0rd1@host/x", "//…@host/x"),
        ("https:\\\\user:passw0rd1@host", "https:\\\\…@host"),
        ("averyveryverylongscheme+x://u:passw0rd1@h/x", "averyveryverylongscheme+x://…@h/x"),
        ("https://h/x#access_token=abc", "https://h/x#access_token=…"),
        ("https://h/x?a=1#b=2&access_token=abc", "https://h/x?a=1#b=2&access_token=…"),
        ("https://h/x?jwt=ey.J&b=1", "https://h/x?jwt=…&b=1"),
        ("https://h/x?code=abc", "https://h/x?code=…"),
        ("https://h/x?sas=abc", "https://h/x?sas=…"),
        ("https://h/x?pass=abc", "https://h/x?pass=…"),
        ("https://h/x?se=1;sig=abc", "https://h/x?se=1;sig=…"),
        ("https://h/x?se=1&amp;sig=abc&amp;b=2", "https://h/x?se=1&amp;sig=…&amp;b=2"),
        ("https://h/x;jsessionid=ABC", "https://h/x;jsessionid=…"),
        ("https://h/x?access_token[]=abc", "https://h/x?access_token[]=…"),
        ("s3://b/x?secret_key=a;bc", "s3://b/x?secret_key=…"),
        ("delta+s3://b/x?access=abc&version=3", "delta+s3://b/x?access=…&version=3"),
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
        "https://shop.example/?promo_code=x#size=2",
        "s3://bucket/dt=1;x=2/y",
        "delta+s3://bucket/links?region=eu&version=3",
        "s3://bucket/v3.metadata.json?snapshot=8123",
        "delta+abfss://container@account.dfs.core.windows.net/links",
        '{"to": "https://a.example:8443/x", "by": "bob@shop.example"}',
        "see https://a.example: ask bob@shop.example",
        "mailto:bob@shop.example",
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
    assert uri_place("delta:///data/links?version=3") == "delta:///data/links"
    assert uri_place("delta+s3://u:p@bucket/x?region=y&version=3") == "delta+s3://bucket/x"


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


def test_a_user_with_a_password_needs_no_scheme() -> None:
    """What was given as a base URL is told without its password, whatever it lacks."""
    assert has_credentials("user:Base-pass1@host:3128")
    with pytest.raises(IncartsError) as caught:
        load_settings(base_url="user:Base-pass1@host:3128", api_key="x" * 20, project_id="p")
    assert "Base-pass1" not in str(caught.value)
