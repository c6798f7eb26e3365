"""Proxy: the one that the environment names, with its user and password apart from its URL.

Libraries keep a proxy's URL in frames and errors of theirs. So it has no credentials by then: they
go as the header that is for them, hidden as the key is.
"""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from incarts_pipeline.outgoing import SecretText, keep_credentials
from incarts_pipeline.settings import check_proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy; `headers` are what it is sent beside the request to connect."""

    url: str
    headers: dict[str, str] = field(repr=False)


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that the environment names for a URL: HTTPS_PROXY or ALL_PROXY, NO_PROXY.

    Plain http goes directly, as only loopback may use it and a proxy would see the key.

    Raises:
        SettingsError: it is not an http or https proxy, or has no host or no right port.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or urllib.request.proxy_bypass(host):
        return None
    named = _named()
    return _apart(check_proxy(named, host)) if named else None


def _named() -> SecretText:
    known = urllib.request.getproxies()
    return SecretText(keep_credentials(known.get("https") or known.get("all") or ""))


def _apart(url: SecretText) -> Proxy:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    headers: dict[str, str] = {}
    if user:
        name, _, password = user.partition(":")
        code = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode())
        headers["Proxy-Authorization"] = SecretText(f"Basic {code.decode()}")
    return Proxy(url=urlunsplit(parts._replace(netloc=place)), headers=headers)
