"""Environment of child processes: what they need to run, and nothing that is anybody's secret."""

from __future__ import annotations

import os

_NEEDED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP"),
        *("TMPDIR", "TZ", "TZDIR", "VIRTUAL_ENV"),
    }
)
_KINDS = ("COV_CORE_", "COVERAGE_", "DYLD_", "LC_", "PYTHON")


def environment_of_child() -> dict[str, str]:
    """Return this process's environment, as far as a program of ours needs it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _NEEDED or name.startswith(_KINDS)
    }
