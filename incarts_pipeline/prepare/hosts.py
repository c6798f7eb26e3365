"""Hosts of URLs: whether everybody can open them, judged once for each distinct one.

Sources: RFC 3986 for the parts, the WHATWG URL Standard for numbers as hosts, RFC 2606, 6761, 6762
and 8375 for names that no public server has, and the registries behind Python's `ipaddress`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from incarts_pipeline.models import ProblemCode, Reason

# Names that lead nowhere outside of somebody's own network. `example` is left out: it is what
# documentation and trials write, on purpose.
_PRIVATE = frozenset([
    "local", "localhost", "localdomain", "internal", "intranet", "private", "corp", "home", "lan",
    "test", "invalid", "home.arpa",
])  # fmt: skip
_AUTHORITY = re.compile(
    r"(?:(?P<user>.*)@)?(?P<host>\[[^\]@]*\]|[^:@\[\]]*)(?::(?P<port>[^:@]*))?", re.DOTALL
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_MOST_PORT = 65_535
_HOST_CHARACTERS = 253


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with a URL's scheme and authority: a code, and what to say after the URL.

    `host` stands between `says` and `then`.
    """

    code: str
    says: str
    host: str = ""
    then: str = ""


_CREDENTIALS = Judgement(
    ProblemCode.CREDENTIALS_IN_URL,
    "has a user's name or password before its host, which everybody who scans the code could "
    "read; remove it.",
)
_NOT_HTTPS = Judgement(
    Reason.NOT_HTTPS,
    "begins with http://, which browsers warn of; write https://, or accept not_https if the shop "
    "has nothing else.",
)


@lru_cache(maxsize=65_536)
def judge(scheme: str, authority: str) -> tuple[Judgement, ...]:
    """Judge the part of a URL before its path, as it stands there; nothing when it is fine.

    Args:
        scheme: `http` or `https`, in any case.
        authority: what stands between `//` and the path.
    """
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return (_wrong("its host can't be read; write https:// and a host's name"),)
    if parts["user"] is not None:
        return (_CREDENTIALS,)
    host = parts["host"].lower().removesuffix(".")
    if host in ("http", "https"):
        return (_wrong("it begins twice; write its scheme once"),)
    if refused := _port(parts["port"]):
        return (_wrong(refused),)
    judged = _judge_address(host) if _is_address(host) else _judge_name(host)
    found = () if judged is None else (judged,)
    # What is wrong with the host is enough; in one's own network there is no https.
    fine = judged is None or judged.code == Reason.NON_ASCII_HOST
    return (*found, _NOT_HTTPS) if fine and scheme.lower() == "http" else found


def _wrong(what: str) -> Judgement:
    return Judgement(ProblemCode.NOT_A_URL, f"is not a URL: {what}.")


def _port(port: str | None) -> str | None:
    if port is None or (port.isascii() and port.isdecimal() and 0 < int(port) <= _MOST_PORT):
        return None
    return f"its port is none from 1 to {_MOST_PORT}; correct it, or leave it out"


def _is_address(host: str) -> bool:
    # Browsers read every host whose last part is a number as an address.
    return host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _judge_address(host: str) -> Judgement | None:
    try:
        address = ipaddress.ip_address(host[1:-1]) if host.startswith("[") else _ipv4(host)
    except ValueError:
        return _wrong("its host is no address; write a host's name")
    return None if address.is_global else _private(host)


def _ipv4(host: str) -> ipaddress.IPv4Address:
    """Read an address as browsers do: 127.1 and 0x7f000001 are 127.0.0.1."""
    *parts, last = [_part(part) for part in host.split(".")]
    if len(parts) > 3 or any(part > 255 for part in parts):
        raise ValueError(host)
    if last >= 256 ** (4 - len(parts)):
        raise ValueError(host)
    return ipaddress.IPv4Address(sum(n << (24 - 8 * at) for at, n in enumerate(parts)) + last)


def _part(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if len(text) > 1 and text[0] == "0" else int(text)


def _judge_name(host: str) -> Judgement | None:
    if not host.isascii():
        return _judge_other_script(host)
    if len(host) > _HOST_CHARACTERS or not all(map(_LABEL.fullmatch, host.split("."))):
        return _wrong("it must name a host, of letters, digits, dashes and dots")
    labels = host.split(".")
    endings = {labels[-1], ".".join(labels[-2:])}
    if len(labels) == 1 or endings & _PRIVATE:
        return _private(host)
    return None


def _judge_other_script(host: str) -> Judgement:
    try:
        encoded = idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return _wrong("its host has characters that no host's name can have")
    return _judge_name(encoded) or Judgement(
        Reason.NON_ASCII_HOST,
        "has a host with letters beyond a to z, which not every program reads alike; write ",
        encoded,
        ", or accept non_ascii_host if it is meant.",
    )


def _private(host: str) -> Judgement:
    return Judgement(
        Reason.PRIVATE_HOST,
        "leads to ",
        host,
        ", which only its own network can open; write the shop's public host, or accept "
        "private_host if it is meant.",
    )
