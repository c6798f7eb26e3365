"""`incarts doctor` says what others may read."""

from __future__ import annotations

import json
from pathlib import Path

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
