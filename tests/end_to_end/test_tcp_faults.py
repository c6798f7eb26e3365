"""Connections that break in the middle: every row ends with its one link all the same."""

from __future__ import annotations

import contextlib
import gc
import socket

import pytest

from incarts_pipeline.sandbox import Sandbox
from tests.support.fault_proxy import Blow, Break, FaultProxy, mixture
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

ROWS = 20
# In the status line, in the headers, in the body, and before the last byte.
BLOWS = [
    *(Blow(kind) for kind in Break if kind not in (Break.NONE, Break.CUT_ANSWER)),
    *(Blow(Break.CUT_ANSWER, at) for at in (0, 9, 60, 300, -1)),
    *(Blow(Break.CUT_REQUEST, at) for at in (20, 200, -1)),
]


def states() -> dict[str, int]:
    """Return how many operations the ledger has in each state."""
    with opened("ledger.db") as connection:
        return dict(connection.execute("SELECT state, COUNT(*) FROM operation GROUP BY state"))


@pytest.mark.parametrize("blow", BLOWS, ids=lambda blow: f"{blow.kind}-{blow.at}")
def test_one_kind_of_break(run: Run, box: Sandbox, blow: Blow) -> None:
    """It strikes every third request until each of its kind was felt; nothing is made twice."""
    blows = [blow, Blow(Break.NONE), Blow(Break.NONE)] * 5
    with FaultProxy(box.base_url, blows) as proxy:
        keywords = {"base_url": proxy.base_url, "read_timeout": 0.5}
        run(products(ROWS), **keywords)
        assert run(products(ROWS), **keywords).exit_code() == 0
    assert proxy.struck[blow.kind] == 5
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (ROWS, 0, 0)
    assert states() == {"done": ROWS}


@pytest.mark.parametrize("seed", [1, 2])
def test_mixture(run: Run, box: Sandbox, seed: int) -> None:
    """Three of ten requests break, anywhere."""
    with FaultProxy(box.base_url, mixture(seed, 0.3)) as proxy:
        for _ in range(4):
            result = run(products(150), base_url=proxy.base_url, read_timeout=0.5)
            if result.exit_code() == 0:
                break
    assert result.exit_code() == 0
    assert len(proxy.struck) == len(Break)
    audit = box.audit()
    assert (audit.links, audit.duplicates, audit.second_bodies) == (150, 0, 0)
    assert states() == {"done": 150}


def test_proxy_ends_what_was_accepted_just_now() -> None:
    """A connection that has yet to begin is closed or reset, and none is left to the collector."""
    with FaultProxy("http://127.0.0.1:9", []) as proxy:
        port = int(proxy.base_url.rpartition(":")[2])
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    for client in clients:
        with client, contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    gc.collect()  # warns of each that is
