"""Two hosts with a network, process ids and clocks of their own, whose workers share a ledger."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Limit, LimitKind
from incarts_pipeline.settings import DatabasePlace
from tests.end_to_end.host_rounds import Round, two_hosts
from tests.support import hosts

ROWS, WORKERS = 240, 4
LIMIT = Limit(kind=LimitKind.BUCKET, requests=40, seconds=1.0)


def test_one_worker_is_killed_and_one_stopped_past_its_lease(
    box: Sandbox, database: DatabasePlace, tmp_path: Path
) -> None:
    """With clocks forty minutes apart, and a limit for all: nothing twice, lost, or in doubt."""
    if not hosts.can_be_made():
        pytest.skip("this system lets nobody make network and PID namespaces")
    box.reconfigure(limits=(LIMIT,), latency=0.03)
    with two_hosts(box, database, tmp_path) as on:
        night = Round(box, database, on, "night", ROWS)
        came = night.play(WORKERS, partial(night.trouble, ends_leases=True))
    assert came.wrong == []
    assert len(came.accepted) == WORKERS - 2  # how fair they are `make soak` measures
