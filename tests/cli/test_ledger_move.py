"""`incarts ledger move`: what it says, and what every command says of the old ledger then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from incarts_pipeline.ledger import relocation
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace
from tests.support.processes import NO_MAPPING
from tests.support.shell import Shell

OLD = "incarts-ledger.db"


def test_it_is_moved(shell: Shell, catalog: str, box: Sandbox, database: DatabasePlace) -> None:
    """It says where the ledger is now, and each command on the old one does, too."""
    assert shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)[0] == 0
    code, out, _ = shell("ledger", "move", OLD, database.uri)
    assert (code, out.startswith("12 links \u2192 postgresql://")) == (0, True)
    for arguments in (
        ("plan", catalog, *NO_MAPPING),
        ("apply", catalog, "-o", "links.parquet", *NO_MAPPING),
        ("status",),
        ("watch",),
        ("stop",),
        ("doctor",),
        ("show", "sku=000001"),
        ("verify",),
        ("import", "links.parquet"),
        ("review", "list"),
        ("ledger", "check"),
        ("ledger", "backup", "backup.db"),
    ):
        code, out, err = shell(*arguments)
        assert code == 1, arguments
        assert "was moved to postgresql://" in out + err
        assert "pass-word-1" not in out + err
    code, out, err = shell(
        "apply", catalog, "-o", "links.parquet", *NO_MAPPING, "--ledger", database.uri
    )
    assert code == 0, err
    assert box.audit().links == 12
    code, out, _ = shell("status", "--ledger", database.uri)
    assert "the file is intact" not in out
    assert "damage to its pages" in out


def test_answers(shell: Shell, catalog: str) -> None:
    """With --json it says where the ledger is and what is in it; a refusal is an error."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)
    code, out, _ = shell("ledger", "move", OLD, "new.db", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["ledger"], told["rows"]["link"]) == (str(Path("new.db").absolute()), 12)
    code, out, _ = shell("ledger", "move", OLD, "other.db", "--json")
    assert code == 1
    assert "was moved" in json.loads(out)["error"]
    code, out, _ = shell("ledger", "move", OLD, "new.db", "--cancel", "--json")
    assert (code, json.loads(out)["guard"]) == (1, "move_ended")


def test_it_is_given_up(shell: Shell, catalog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that was killed can be, and then the ledger is what it was."""
    shell("apply", catalog, "-o", "links.parquet", *NO_MAPPING)

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(relocation, "fill", dies)
        patch.setattr(relocation, "_taken_back", lambda *_, **__: None)
        with pytest.raises(Killed):
            relocation.relocate(Path(OLD), Path("new.db"))
    code, _, err = shell("status")
    assert code == 1
    assert "--cancel" in err
    code, out, _ = shell("ledger", "move", OLD, "new.db", "--cancel")
    assert (code, "the move was given up" in out) == (0, True)
    assert shell("status")[0] == 0
