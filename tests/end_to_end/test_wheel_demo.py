"""The wheel by itself: installed, and asked for a demo, without a setting and outside a clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.support.paths import ROOT


def test_demo_runs_from_the_wheel(tmp_path: Path) -> None:
    """`incarts demo` finds its catalog in the package, and makes links, codes and a report."""
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    [packages] = fresh.glob("lib/python*/site-packages")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    # What the project depends on, without the project: paths in a .pth are not searched for more.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    code = "import incarts_pipeline.cli as cli; print(cli.__file__); cli.main()"
    ran = subprocess.run(
        [fresh / "bin" / "python", "-I", "-c", code, "demo"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "INCARTS" not in name},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(packages))
    left = {path.name for path in (tmp_path / "incarts-demo").iterdir()}
    assert {"links.parquet", "codes.html", "report.html", "catalog.csv"} <= left
