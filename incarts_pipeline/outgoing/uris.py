"""URIs with credentials: a user and a password before the host, or a signature behind the path."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from incarts_pipeline.outgoing.secrets import SHORTEST, keep_secret

HIDDEN = "…"

# Of a path that was made of a URI, `s3:/bucket/x`, too. A user and a password may have any
# character when somebody has pasted them as they are, so they reach to the last `@`.
_URI = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}):(/{1,3})([^\s\"'<>`]+)", re.IGNORECASE)
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "wasb", "wasbs", "hdfs"})
_NAMED_BY_USER = frozenset({"abfs", "abfss", "wasb", "wasbs"})  # container@account
# Options that may be shown; whatever else a store's URI has may be a token.
_HARMLESS = frozenset(
    {"endpoint_override", "scheme", "region", "retry_limit_seconds", "allow_bucket_creation"}
)
_SIGNS = re.compile(
    r"(?:^|[-_])(?:sig|signature|token|secret|password|passwd|pwd|credentials?|key|apikey|auth"
    r"|authorization)(?:$|[-_])|signature$|token$|secret$|password$|accesskey|accessid$|apikey$",
    re.IGNORECASE,
)
_PORT = re.compile(r"[^:/@]*:\d{1,5}(?:/|$)")


def without_credentials(text: str) -> str:
    """Return a text whose URIs have neither user and password nor tokens."""
    return _URI.sub(_hidden, text) if ":/" in text else text


def has_credentials(uri: str) -> bool:
    """Say whether a URI carries a user with a password, or a token."""
    return without_credentials(uri) != uri


def uri_place(uri: str) -> str:
    """Return a URI's place alone, without user, password and options; a path as it is."""
    if "://" not in uri:
        return uri
    scheme, _, rest = uri.partition("://")
    user, host = _user_of(scheme, rest)
    parts = urlsplit(f"{scheme}://{rest[len(user) + 1 :] if host else rest}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def keep_credentials(uri: str) -> str:
    """Let the credentials in a URI be seen nowhere from now on, and return the URI."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        scheme, rest = "", uri  # as many write a proxy
    user, _ = _user_of(scheme, rest)
    name, _, password = user.partition(":")
    for secret in (password, name if len(name) >= SHORTEST else ""):
        keep_secret(secret, passing=True)
        keep_secret(unquote(secret), passing=True)
    for name, value in _options(rest.partition("?")[2]):
        if _is_secret(scheme, name):
            keep_secret(value, passing=True)
            keep_secret(unquote(value), passing=True)
    return uri


def _hidden(found: re.Match[str]) -> str:
    scheme, slashes, rest = found.groups()
    user, is_there = _user_of(scheme, rest)
    shown = f"{HIDDEN}@{rest[len(user) + 1 :]}" if is_there else rest
    path, mark, query = shown.partition("?")
    if mark and any(_is_secret(scheme, name) and value for name, value in _options(query)):
        query = "&".join(
            f"{name}={HIDDEN}" if _is_secret(scheme, name) and value else part
            for part, (name, value) in zip(query.split("&"), _options(query), strict=True)
        )
    return f"{scheme}:{slashes}{path}{mark}{query}"


def _user_of(scheme: str, rest: str) -> tuple[str, bool]:
    """Return what stands before a URI's host, and whether there is anything."""
    if _PORT.match(rest) or "@" not in rest:
        return "", False
    user = rest.partition("?")[0].rpartition("@")[0]
    whole = rest.rpartition("@")[0]
    # A password with a question mark in it, pasted as it is.
    if ":" not in user and ":" in whole.partition("?")[0] and "=" not in whole:
        user = whole
    if ":" in user:
        return user, True
    is_host = "/" in user or scheme.lower() in _NAMED_BY_USER
    return ("", False) if is_host or not user else (user, True)


def _options(query: str) -> list[tuple[str, str]]:
    return [part.partition("=")[::2] for part in query.split("&")] if query else []


def _is_secret(scheme: str, name: str) -> bool:
    plain = unquote(name).lower()
    if scheme.lower() in _STORES:
        return plain not in _HARMLESS
    return _SIGNS.search(plain) is not None
