"""Hosts of base URLs: which can be one, what of them counts, and how people may write them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_VERSION = re.compile(r"/v1(?:/links)?/*$")  # the end of a path that belongs to the calls
# Whatever else stands there, two readers of URLs may take it for two hosts.
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\.?", re.ASCII)


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by its name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Say whether a URL's host is this machine."""
    return is_loopback(urlsplit(url).hostname or "")


def checked_base_url(url: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        ValueError: it is not https (http is fine for loopback), has a query or credentials, a host
            that isn't one in ASCII, or ends with the /v1 that each call begins with.
    """
    url = url.strip()
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.query or parts.fragment or "@" in (parts.netloc or url):
        raise ValueError("a base URL has no query, fragment or credentials")
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", url):
        raise ValueError(f"{url!r} is not an http(s) URL")
    _check_name(parts)
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http would show the API key to the network; use https")
    if parts.port == 0:  # reading it checks that it is a number up to 65535
        raise ValueError("a server can't have the port 0")
    url = url.rstrip("/")
    if found := _VERSION.search(parts.path):
        bare = url.removesuffix(found[0].rstrip("/"))
        raise ValueError(f"/v1 is added to a base URL; leave it out: {bare}")
    return url


def host_of(base_url: str) -> str:
    """Return what of a checked base URL a key is given to: scheme, host, and a port of its own.

    Two spellings of one host are the same: capitals, a dot behind the name, the scheme's own port.
    Another port or scheme is another host.
    """
    parts = urlsplit(base_url)
    name = (parts.hostname or "").rstrip(".")
    name = f"[{ipaddress.ip_address(name)}]" if ":" in name else name
    own = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}{'' if parts.port in (None, own) else f':{parts.port}'}"


def named_host(text: str) -> str:
    """Return the host that a person wrote, as `host_of` does: a name, with a port, or a URL.

    Without a scheme it is https, on this machine http.

    Raises:
        ValueError: it is none.
    """
    if "*" in text:
        raise ValueError(f"{text!r} stands for more than one host; name each")
    if "://" not in text:
        name = urlsplit(f"//{text}").hostname or ""
        text = f"{'http' if is_loopback(name) else 'https'}://{text}"
    return host_of(checked_base_url(text))


def _check_name(parts: SplitResult) -> None:
    """Refuse a host's name in which another reader of URLs, or a person, may see another one."""
    host = parts.hostname or ""
    if not host.isascii():
        raise ValueError(f"the host of a base URL is written in ASCII: {_in_ascii(host)}")
    if parts.netloc.startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no address") from None
    elif not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} can't be the name of a host")


def _in_ascii(host: str) -> str:
    import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return "xn--…"
