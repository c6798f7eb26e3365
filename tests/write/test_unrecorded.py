"""Answers that the ledger could not record: whoever ends the run says what they were."""

from __future__ import annotations

import errno
import importlib
import re

import pytest

from incarts_pipeline.errors import IncartsError, LedgerError, MachineError, PublishError
from incarts_pipeline.ledger import journal
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.write.run import Writer
from tests.support.runs import Run, products


@pytest.fixture(autouse=True)
def _ledger_is_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first answer on, nothing more is recorded."""

    def fails(*_: object) -> None:
        raise LedgerError("The disk has an error.", fix="Mend it.")

    monkeypatch.setattr(journal, "record", fails)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (LedgerError("It is ill.", fix="Mend it."), LedgerError),
        (PublishError("There is no room.", fix="Make some."), PublishError),
        (OSError(errno.EIO, "Input/output error"), MachineError),
    ],
    ids=["ledger", "output", "system"],
)
@pytest.mark.parametrize("where", ["publishing", "writing"])
def test_whatever_ends_the_run_tells_of_them(
    run: Run,
    box: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[IncartsError],
    where: str,
) -> None:
    """Their link ids are in the error, beside what it says itself."""

    def fails(*_: object, **__: object) -> None:
        raise error

    async def sends_and_fails(self: Writer) -> None:
        await works(self)
        raise error

    works = Writer._work
    if where == "publishing":
        publish = importlib.import_module("incarts_pipeline.publish.publish")
        monkeypatch.setattr(publish, "reading", fails)
    else:
        monkeypatch.setattr(Writer, "_work", sends_and_fails)
    with pytest.raises(raised) as caught:
        run(products(1))
    [made] = [one.link_id for one in box.requests()]
    own = str(error.args[-1])
    assert re.search(rf"{re.escape(own)}.*incarts1-\w+ → {made}\.", str(caught.value))
    assert str(caught.value).endswith("run again: they are settled under their own keys.")


def test_a_fault_of_ours_tells_of_them_too(
    run: Run, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no error of the library's has them as a note."""

    def fails(*_: object, **__: object) -> None:
        raise KeyError("op_id")

    publish = importlib.import_module("incarts_pipeline.publish.publish")
    monkeypatch.setattr(publish, "reading", fails)
    with pytest.raises(KeyError) as caught:
        run(products(1))
    [made] = [one.link_id for one in box.requests()]
    assert f" → {made}." in "".join(caught.value.__notes__)
