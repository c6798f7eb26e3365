"""Environment of child processes: what they need to run, and nothing that is anybody's secret."""

from __future__ import annotations

import os

_NEEDED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP"),
        *("TMPDIR", "TZ", "TZDIR", "VIRTUAL_ENV"),
    }
)
# Where agents and keyrings are, for what asks them: addresses, and no secrets.
_AGENTS = frozenset(
    {
        *("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "GNUPGHOME", "GPG_TTY", "LOGNAME"),
        *("SSH_AUTH_SOCK", "USER", "WAYLAND_DISPLAY"),
        *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
    }
)
_KINDS = ("COV_CORE_", "COVERAGE_", "DYLD_", "LC_", "PYTHON")


def environment_of_child() -> dict[str, str]:
    """Return this process's environment, as far as a program of ours needs it."""
    return _only(_NEEDED)


def environment_of_helper() -> dict[str, str]:
    """Return the same for a program of the person's that asks an agent or a keyring for the key."""
    return _only(_NEEDED | _AGENTS)


def _only(names: frozenset[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in names or name.startswith(_KINDS)
    }
