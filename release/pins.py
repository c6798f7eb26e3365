"""Pins: which versions the project is tested with, for developers and for those who use it.

`constraints.txt` has all packages that a developer needs, with the hashes of all files that are
published of them, so that it installs on any Python and system that the project supports.
`constraints-runtime.txt` is for an environment in which other tools live as well: what the project
itself asks for, and no more, since each further pin is one that another tool may not take.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DEVELOPERS = ROOT / "constraints.txt"
USERS = ROOT / "constraints-runtime.txt"

# Both generations of pandas are tested, so whoever has one may keep it, with the NumPy of its time.
_LEFT_TO_USERS = frozenset({"numpy", "pandas"})
# Dagster's parts fit each other only in one version; without pins pip looks for it for minutes.
_TOGETHER = "dagster"
_DEVELOPERS_HEAD = """\
# Versions that the project is tested with, and the hashes of their files; `make setup` installs
# them, `make pins` writes them anew.
"""
_USERS_HEAD = """\
# Versions of what the project itself asks for, for environments that have other tools as well:
# pip install … -c constraints-runtime.txt. Written by `make pins`.
"""
_PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)(?P<marker> ;[^\\\n]+?)?(?: \\)?$")


def resolve(*, upgrade: bool) -> str:
    """Return the pins of all extras and groups with their hashes, as a requirements file.

    Args:
        upgrade: take the newest versions; otherwise those that are pinned, where they still fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "constraints.txt"
        if DEVELOPERS.exists() and not upgrade:
            found.write_text(DEVELOPERS.read_text(encoding="utf-8"), encoding="utf-8")
        subprocess.run(  # noqa: S603 - uv, with arguments of ours
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml"),
                *("--all-extras", "--group", "dev", "--group", "docs"),
                # Of every Python and system, not of this machine.
                *("--universal", "--python-version", "3.11", "--generate-hashes"),
                # No host may get into the file: everybody has an index, or a mirror, of their own.
                *("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
                *("--system-certs", "--output-file", str(found)),
            ],
            cwd=ROOT,
            check=True,
        )
        return _DEVELOPERS_HEAD + found.read_text(encoding="utf-8")


def runtime(developers: str) -> str:
    """Return the pins for users, out of those for developers."""
    wanted = {canonicalize_name(Requirement(one).name) for one in _asked_for()} - _LEFT_TO_USERS
    lines = plain(developers).splitlines(keepends=True)
    names = [canonicalize_name(line.partition("==")[0]) for line in lines]
    return _USERS_HEAD + "".join(
        line
        for name, line in zip(names, lines, strict=True)
        if name in wanted or name.split("-")[0] == _TOGETHER
    )


def plain(developers: str) -> str:
    """Return the pins without hashes, for installs that have no hash for everything."""
    pins = (_PIN.match(line) for line in developers.splitlines())
    return "".join(f"{pin['name']}=={pin['version']}{pin['marker'] or ''}\n" for pin in pins if pin)


def _asked_for() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(one for extra in extras for one in extra)]


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    developers = resolve(upgrade=parser.parse_args().upgrade)
    DEVELOPERS.write_text(developers, encoding="utf-8")
    USERS.write_text(runtime(developers), encoding="utf-8")


if __name__ == "__main__":
    main()
