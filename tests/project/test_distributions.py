"""What is published: the same bytes whoever builds it, and nothing but what is meant."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from release.dist import (
    DistributionError,
    build,
    check_contents,
    check_same,
    copy_tracked,
    names_in,
    tracked_files,
    write_checksums,
)
from tests.support.paths import ROOT

EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A wheel and an sdist of the working copy."""
    folder = tmp_path_factory.mktemp("one")
    copy_tracked(folder / "source")
    return build(folder / "source", folder / "dist", epoch=EPOCH)


def test_another_build_has_the_same_bytes(
    built: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, time zone and language, with other dates, rights and a stray file."""
    source = tmp_path / "a folder"
    copy_tracked(source)
    (source / "incarts_pipeline" / "prepare" / ".cache").mkdir()
    for at, path in enumerate(sorted(source.rglob("*"))):
        os.utime(path, (time.time() - at, time.time() - at))
        path.chmod(0o700 if path.is_dir() else 0o600)
    (source / "sample_data" / "README.md").write_text("stray")
    for name, value in {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}.items():
        monkeypatch.setenv(name, value)
    check_same(built, build(source, tmp_path / "dist", epoch=EPOCH))


def test_distributions_have_the_library_and_nothing_else(built: list[Path]) -> None:
    """What is tracked of it, and beside it the four files that belong to an sdist."""
    check_contents(built, tracked_files())
    sdist, wheel = sorted(built, key=lambda path: path.suffix)
    assert names_in(sdist) - names_in(wheel) == {
        *("CHANGELOG.md", "LICENSE", "README.md"),
        *(".gitignore", "PKG-INFO", "pyproject.toml"),
    }
    with zipfile.ZipFile(wheel) as archive:
        files = {Path(name).name for name in archive.namelist() if ".dist-info/" in name}
        [metadata] = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert files == {"METADATA", "WHEEL", "entry_points.txt", "LICENSE", "RECORD"}
    assert "Requires-Dist: pyarrow>=26" in text
    assert "py.typed" in {Path(name).name for name in names_in(wheel)}


def test_what_differs_is_refused(built: list[Path], tmp_path: Path) -> None:
    """Two builds with other bytes, and one with a file too many or too few."""
    other = []
    for path in built:
        other.append(tmp_path / path.name)
        other[-1].write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DistributionError, match=r"differ in .*\.whl, .*\.tar\.gz"):
        check_same(built, other)
    tracked = tracked_files()
    with pytest.raises(DistributionError, match=r"incarts_pipeline/text\.py.* too many"):
        check_contents(built, [name for name in tracked if not name.endswith("/text.py")])
    with pytest.raises(DistributionError, match=r"lacks .*gone"):
        check_contents(built, [*tracked, "incarts_pipeline/gone.py"])


def test_an_index_would_take_them(built: list[Path]) -> None:
    """Twine finds nothing wrong with their metadata, nor with the README as a page."""
    told = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout


def test_checksums_name_each_file(tmp_path: Path) -> None:
    """In the form of `sha256sum`, without themselves."""
    (tmp_path / "a.whl").write_bytes(b"a")
    for _ in range(2):
        write_checksums(tmp_path)
    [line] = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert line == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a.whl"


def test_security_md_says_how_to_report() -> None:
    """It is where platforms look for it, and leads to what is promised."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "docs/security.md" in text
    assert "issue" in text
