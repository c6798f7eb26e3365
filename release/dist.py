"""Distributions: wheel, sdist, bill of materials and checksums, built twice and compared.

Only tracked files get in, so that nothing that lies around in a working copy is published. Whoever
builds the same commit gets the same bytes.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

from release.pins import DEVELOPERS, ROOT, plain

DIST = ROOT / "dist"
# What hatchling writes itself, beside what is tracked.
_WRITTEN = frozenset({"PKG-INFO", ".gitignore", "pyproject.toml"})
_BESIDE = frozenset({"CHANGELOG.md", "LICENSE", "README.md"})


class DistributionError(Exception):
    """A distribution is not what it should be."""


def tracked_files(root: Path = ROOT) -> list[str]:
    """Return the tracked files that exist, as paths from the root with slashes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - git of the path, as everybody's
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def build(source: Path, into: Path, *, epoch: int) -> list[Path]:
    """Build sdist and wheel of a folder; returns their paths.

    Args:
        source: the folder with pyproject.toml.
        into: where they are written to.
        epoch: the date of all files in them, in seconds since 1970.
    """
    subprocess.run(  # noqa: S603 - this Python, with arguments of ours
        [sys.executable, "-m", "hatchling", "build", "-d", str(into)],
        cwd=source,
        check=True,
        capture_output=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)},
    )
    return sorted(into.iterdir())


def copy_tracked(into: Path, root: Path = ROOT) -> None:
    """Copy what is tracked, as it is in the working copy."""
    for name in tracked_files(root):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, into / name)


def check_same(first: list[Path], second: list[Path]) -> None:
    """Refuse two builds that differ.

    Raises:
        DistributionError: names the files that differ.
    """
    different = [
        one.name
        for one, other in zip(first, second, strict=True)
        if one.name != other.name or not filecmp.cmp(one, other, shallow=False)
    ]
    if different:
        raise DistributionError(f"Two builds differ in {', '.join(different)}.")


def check_contents(built: list[Path], tracked: list[str]) -> None:
    """Refuse distributions with a file too many, or without one of the library's.

    Raises:
        DistributionError: names the files.
    """
    library = {name for name in tracked if name.startswith("incarts_pipeline/")}
    for path in built:
        found = names_in(path)
        wanted = library | _BESIDE | _WRITTEN if path.suffix == ".gz" else library
        if found != wanted:
            raise DistributionError(
                f"{path.name} has {sorted(found - wanted) or 'nothing'} too many, "
                f"and lacks {sorted(wanted - found) or 'nothing'}."
            )


def names_in(path: Path) -> set[str]:
    """Return the files in a distribution, from its root and without a wheel's metadata."""
    if path.suffix == ".gz":
        with tarfile.open(path) as archive:
            return {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def write_bill(wheel: Path, into: Path) -> None:
    """Write a wheel's bill of materials, CycloneDX in JSON: what it installs with all extras.

    It is taken from an environment in which nothing else is, with the pinned versions.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        venv.create(home, with_pip=False)
        python = home / "bin" / "python"
        pins = Path(folder) / "pins.txt"
        pins.write_text(plain(DEVELOPERS.read_text(encoding="utf-8")), encoding="utf-8")
        _run("-m", "pip", "--python", str(python), "install", "--quiet", "-c", str(pins),
             f"{wheel}[{','.join(_extras())}]")  # fmt: skip
        _run("-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml"),
             "--output-reproducible", "--output-format", "JSON", "--output-file", str(into),
             str(python))  # fmt: skip
    components = json.loads(into.read_text(encoding="utf-8"))["components"]
    if not any(one["name"] == "pyarrow" for one in components):
        raise DistributionError(f"{into.name} lacks what the wheel needs.")


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum -c` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["optional-dependencies"]]


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True)  # noqa: S603 - arguments of ours


def _commit_time() -> int:
    told = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],  # noqa: S607 - git of the path, as everybody's
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(told.stdout)


def main() -> None:
    """Build, compare, check, and write it all into dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    epoch, builds = _commit_time(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one", "another"):
            source, out = Path(folder) / name, Path(folder) / f"{name}-built"
            copy_tracked(source)
            builds.append(build(source, out, epoch=epoch))
        check_same(*builds)
        check_contents(builds[0], tracked_files())
        shutil.copytree(builds[0][0].parent, DIST)
    built = sorted(DIST.iterdir())
    _run("-m", "twine", "check", "--strict", *map(str, built))
    [wheel] = DIST.glob("*.whl")
    write_bill(wheel, DIST / f"{wheel.name.partition('-py3')[0]}.cdx.json")
    write_checksums(DIST)


if __name__ == "__main__":
    main()
