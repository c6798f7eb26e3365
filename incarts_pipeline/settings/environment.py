"""Environment: files and folders that the system's own variables name, checked before their use.

The system's errors about them name no variable, and some no file.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.outgoing import SecretText

# The first that is set counts. The last is what `requests` reads, and mostly what people set.
AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_temporary_folder() -> None:
    """Make sure that TMPDIR, if it is set, can be written to; Python would pass it over.

    Raises:
        SettingsError: it can't; names it.
    """
    named = os.environ.get("TMPDIR")
    if not named:
        return
    problem = None
    if not Path(named).is_dir():
        problem = "is no folder" if Path(named).exists() else "doesn't exist"
    elif not os.access(named, os.W_OK | os.X_OK):
        problem = "may not be written to"
    if problem:
        raise _wrong(
            "TMPDIR", named, problem, "Create it, let it name another folder, or unset it."
        )


def check_authorities() -> None:
    """Make sure that the certificate authorities that were named are there.

    Raises:
        SettingsError: they aren't, or may not be read; names the variable.
    """
    name, named = _authorities()
    if not named:
        return
    path, folder = Path(named), name == "SSL_CERT_DIR"
    problem = None
    if not path.exists():
        problem = "doesn't exist"
    elif folder and not path.is_dir():
        problem = "is no folder"
    elif name == "SSL_CERT_FILE" and path.is_dir():
        problem = "is a folder"
    elif not os.access(named, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        problem = "may not be read"
    if problem:
        raise _unusable(name, named, problem)


def tls_context() -> ssl.SSLContext:
    """Return what verifies certificates: by the authorities that were named, or by certifi's.

    Raises:
        SettingsError: there are none, or no certificates; names the variable.
    """
    check_authorities()
    name, named = _authorities()
    if not named:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    is_folder = Path(named).is_dir()
    try:
        return ssl.create_default_context(
            cafile=None if is_folder else named, capath=named if is_folder else None
        )
    except OSError as error:  # ssl.SSLError is one
        raise _unusable(name, named, f"holds no certificates ({error.strerror})") from error


def check_proxy(proxy: SecretText, host: str) -> SecretText:
    """Return a proxy's URL once it can be one.

    Raises:
        SettingsError: it is not an http or https proxy, or has no host or no right port.
    """
    url = SecretText(proxy if "://" in proxy else f"http://{proxy}")
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        problem = f"is of a kind that can't be used: {scheme}"
    else:
        problem = _place_problem(url)
    if problem:
        name = next((one for one in _PROXIES if os.environ.get(one) == proxy), "HTTPS_PROXY")
        raise SettingsError(
            f"The proxy for {host} {problem}; {name} names it. Nothing was sent.",
            fix=f"Let {name} be like http://proxy.example:3128, or put the host into NO_PROXY.",
        )
    return url


def _place_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is read only now
    except ValueError:  # its text may have the proxy's password
        return "has a host or a port that can't be one"
    return "" if parts.hostname else "has no host"


def _authorities() -> tuple[str, str]:
    found = ((name, os.environ.get(name, "")) for name in AUTHORITIES)
    return next((one for one in found if one[1]), ("", ""))


def _unusable(name: str, named: str, problem: str) -> SettingsError:
    what = "folder of hashed certificates" if name == "SSL_CERT_DIR" else "file of certificates"
    return _wrong(name, named, problem, f"Let it name a {what} that you may read, or unset it.")


def _wrong(name: str, named: str, problem: str, fix: str) -> SettingsError:
    return SettingsError(f"{name} names {named}, which {problem}. Nothing was sent.", fix=fix)
