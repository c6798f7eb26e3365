"""Installation: the line that adds an extra, told by where this package came from."""

from __future__ import annotations

import json
import shlex
from typing import Any

_NAME = "incarts-pipeline"


def install_line(extra: str) -> str:
    """Return the command that adds an extra to the Python that runs this.

    The package may be on no index: a clone, a wheel or a repository is named as pip was given it.
    """
    return f"pip install {wanted_by(extra, _origin())}"


def wanted_by(extra: str, origin: dict[str, Any]) -> str:
    """Return what pip takes for the package with an extra.

    Args:
        extra: its name in pyproject.toml.
        origin: what `direct_url.json` says of the package
            (https://packaging.python.org/specifications/direct-url); empty for one of an index.
    """
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    url = str(origin.get("url", ""))
    if not url:
        return shlex.quote(f"{_NAME}[{extra}]")
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {shlex.quote(f'{url2pathname(urlsplit(url).path)}[{extra}]')}"
    if vcs := origin.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return shlex.quote(f"{_NAME}[{extra}] @ {url}")


def _origin() -> dict[str, Any]:
    # Nobody waits for these but who lacks a package.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        said = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:  # its folder alone is on the path
        said = None
    return dict(json.loads(said)) if said else {}
