"""Installation: the line that adds an extra fits how the package came here."""

from __future__ import annotations

import pytest

from incarts_pipeline.installation import install_line, wanted_by


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ({}, "'incarts-pipeline[excel]'"),
        (
            {"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}},
            "-e '/home/me/my clone[excel]'",
        ),
        (
            {"url": "file:///home/me/clone", "dir_info": {}},
            "'incarts-pipeline[excel] @ file:///home/me/clone'",
        ),
        (
            {"url": "file:///dist/incarts_pipeline-0.1.0-py3-none-any.whl", "archive_info": {}},
            "'incarts-pipeline[excel] @ file:///dist/incarts_pipeline-0.1.0-py3-none-any.whl'",
        ),
        (
            {"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "'incarts-pipeline[excel] @ git+https://host/x.git@c0ffee'",
        ),
    ],
    ids=["an index", "an editable clone", "a clone", "a wheel", "a repository"],
)
def test_where_it_came_from(origin: dict[str, object], wanted: str) -> None:
    """No index is asked for a package that came from elsewhere."""
    assert wanted_by("excel", origin) == wanted


def test_line_of_this_installation() -> None:
    """The tests run in a clone, which pip knows."""
    assert install_line("excel").startswith("pip install ")
    assert "[excel]" in install_line("excel")
