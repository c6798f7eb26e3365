"""URIs with credentials: a user and a password before the host, or a signature behind the path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit, urlunsplit

from incarts_pipeline.outgoing.secrets import SHORTEST, keep_secret

HIDDEN = "…"

# Of a path that was made of a URI, `s3:/bucket/x`, too. A user and a password may have any
# character when somebody has pasted them as they are, so they reach to the last `@`.
_URI = re.compile(r"\b([a-z][a-z0-9+.-]{1,100}):(/{1,3})([^\s\"'<>`]+)", re.IGNORECASE)
# A password with a quotation mark or a space in it, pasted as it is, ends no URI.
_PASSWORD = re.compile(
    r"(\b[a-z][a-z0-9+.-]{1,100}:[/\\]{1,3}|(?<![:/\w])//)[^\s\"'<>`/\\@:]*:(?!\s|\d{1,5}(?:\W|$))"
    r"[^@\r\n]{1,200}@(?=[\w\[])",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?!(?:mailto|xmpp|acct|sips?):)[^\s/@:]+:(?![/\\])[^\s@]+@[\w.-]+(?::\d+)?(?:/.*)?"
)
_OPTION = re.compile(
    r"(?P<mark>&amp;|[?&#;])(?P<name>[^=&#;?]+)=(?P<value>(?:(?![#;][^=&#;?]+=)[^&])*)"
)
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "wasb", "wasbs", "hdfs"})
_NAMED_BY_USER = frozenset({"abfs", "abfss", "wasb", "wasbs"})  # container@account
_DELTA = "delta://"
# Options that may be shown; whatever else a store's URI has may be a token.
_HARMLESS = frozenset(
    {
        "endpoint_override",
        "scheme",
        "region",
        "retry_limit_seconds",
        "allow_bucket_creation",
        "version",
        "snapshot",
    }
)
_SIGNS = re.compile(
    r"(?:^|[-_])(?:sig|signature|token|secret|password|passwd|pwd|credentials?|key|apikey|auth"
    r"|authorization|jwt|sas|pass|hdnea|jsessionid|sessionid)(?:$|[-_])|signature$|token$|secret$|password$|accesskey|accessid$|apikey$|^code$",
    re.IGNORECASE,
)
_PORT = re.compile(r"[^:/@]*:\d{1,5}(?:/|$)")


def without_credentials(text: str) -> str:
    """Return a text whose URIs have neither user and password nor tokens."""
    if ("@" in text and "/" in text) or "\\" in text:
        text = _PASSWORD.sub(rf"\1{HIDDEN}@", text)
    return _URI.sub(_hidden, text) if ":/" in text else text


def has_credentials(uri: str) -> bool:
    """Say whether a URI carries a user with a password, or a token."""
    return without_credentials(uri) != uri or _BARE.fullmatch(uri) is not None


def uri_place(uri: str) -> str:
    """Return a URI's place alone, without user, password and options; a path as it is."""
    if "://" not in uri:
        return uri
    if uri.startswith(_DELTA):  # a path comes behind it
        return uri.partition("?")[0]
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
    for option in _tokens(scheme, rest):
        keep_secret(option["value"], passing=True)
        keep_secret(unquote(option["value"]), passing=True)
    return uri


def _hidden(found: re.Match[str]) -> str:
    scheme, slashes, rest = found.groups()
    user, is_there = _user_of(scheme, rest)
    shown = f"{HIDDEN}@{rest[len(user) + 1 :]}" if is_there else rest
    parts, end = [f"{scheme}:{slashes}"], 0
    for option in _tokens(scheme, shown):
        parts += [shown[end : option.start("value")], HIDDEN]
        end = option.end()
    return "".join((*parts, shown[end:]))


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
    is_host = "/" in user or _store(scheme) in _NAMED_BY_USER
    return ("", False) if is_host or not user else (user, True)


def _tokens(scheme: str, rest: str) -> Iterator[re.Match[str]]:
    """Yield the options that may be tokens: of the query, of the path, behind the `#`."""
    query = rest.find("?")
    for option in _OPTION.finditer(rest):
        of_store = scheme if 0 <= query <= option.start() else ""
        if option["value"] and _is_secret(of_store, option["name"]):
            yield option


def _is_secret(scheme: str, name: str) -> bool:
    plain = unquote(name).lower().rstrip("[]")
    if _store(scheme) in _STORES:
        return plain not in _HARMLESS
    return _SIGNS.search(plain) is not None


def _store(scheme: str) -> str:
    return scheme.lower().removeprefix("delta+")
