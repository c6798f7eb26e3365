"""The pinned versions cover what the project asks for, and name nothing but versions."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))


def test_every_pin_is_a_name_and_a_version() -> None:
    """No address, path or editable install gets into the pins."""
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+|#.*", line) for line in LINES)
    assert len(PINS) == len({canonicalize_name(name) for name in PINS})


def test_every_direct_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    """Adding or raising a dependency without a new pin fails here, not on someone's machine."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *config["build-system"]["requires"],
        *config["project"]["dependencies"],
        *(one for extra in config["project"]["optional-dependencies"].values() for one in extra),
        *(one for group in config["dependency-groups"].values() for one in group),
    ]
    pins = {canonicalize_name(name): version for name, version in PINS.items()}

    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_dagster_and_its_webserver_have_one_version() -> None:
    """Dagster's parts are released together and only fit each other."""
    assert PINS["dagster"] == PINS["dagster-webserver"] == PINS["dagster-dg-cli"]
