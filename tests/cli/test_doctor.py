"""`incarts doctor` says what others may read."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.processes import NO_MAPPING
from tests.support.shell import Shell


def test_doctor_tells_the_ledgers_mode(shell: Shell, catalog: str) -> None:
    """A ledger of before is as open as it was; what to type is said."""
    assert shell("apply", catalog, *NO_MAPPING, "-o", "links.parquet")[0] == 0

    def told() -> str:
        _, out, _ = shell("doctor", "--json")
        [line] = [one["message"] for one in json.loads(out)["checks"] if one["check"] == "ledger"]
        return str(line)

    assert "(mode 0600, " in told()
    Path("incarts-ledger.db").chmod(0o644)
    assert "(mode 0644, " in told()
    assert "others may read it: `chmod 600 incarts-ledger.db*`" in told()


def test_doctor_tells_no_argument_of_a_command(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the command that prints the key, the program is told, and no password behind it."""
    code = shlex.quote("print('an-unshaped-' + 'key-17')")
    monkeypatch.delenv("INCARTS_API_KEY")
    monkeypatch.setenv("INCARTS_API_KEY_COMMAND", f"'{sys.executable}' -c {code} --pin tulip-42")
    for arguments in (["doctor"], ["doctor", "--json"]):
        _, out, err = shell(*arguments)
        assert "printed by" in out
        assert not [one for one in ("tulip-42", "--pin") if one in out + err]
