"""A ledger behind pgbouncer in transaction mode: nothing is left in a connection for the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.relocation import relocate
from incarts_pipeline.models import State, Status
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import DatabasePlace
from tests.support import postgres
from tests.support.ledgers import HOST, call, ours, said, send, settle
from tests.support.moves import content_of
from tests.support.pooler import pooler, program
from tests.support.runs import Run, products

_FEW = 3  # connections to the server, fewer than there are to the pooler


@pytest.fixture(scope="module")
def port(postgres_server: postgres.Server) -> Iterator[int]:
    """A pooler before the tests' server; without its package they are skipped."""
    if program() is None:
        pytest.skip("pgbouncer isn't installed")
    with pooler(postgres_server, connections=_FEW) as found:
        yield found


@pytest.fixture
def pooled(port: int, database: DatabasePlace, postgres_server: postgres.Server) -> DatabasePlace:
    """A ledger's place behind the pooler, where nothing is yet."""
    return replace(database, uri=database.uri.replace(f":{postgres_server.port}/", f":{port}/"))


def test_a_run_through_it(
    run: Run, box: Sandbox, pooled: DatabasePlace, database: DatabasePlace
) -> None:
    """Planned, claimed, sent, paced and published as without one; the next run sends nothing."""
    first = run(products(40), ledger=pooled, rate="adaptive")
    assert first.published.by_status[Status.CREATED] == 40
    assert run(products(40), ledger=pooled).published.by_status[Status.UNCHANGED] == 40
    assert box.audit().requests == 40
    assert said(database, "SELECT count(*) FROM row") == [(40,)]


def test_two_ledgers_over_the_same_connections(pooled: DatabasePlace) -> None:
    """Each transaction finds its own ledger's tables, whichever one used the connection before."""
    places = [pooled, replace(pooled, name="other")]
    engines: list[sa.Engine] = []
    try:
        for place in places:
            engines.append(prepare_file(place, HOST))
            with engines[-1].begin() as connection:
                ensure_sets(connection, "demo", ["s"], ["sku"])
        for number in range(5):
            for name, engine in zip("ab", engines, strict=True):
                operation = ours(engine, call(f"{name}{number}"))
                assert send(engine, operation)
                settle(engine, operation, State.DONE, f"lnk_{name}{number}")
        for name, place in zip("ab", places, strict=True):
            found = said(place, "SELECT link_id FROM link ORDER BY link_id")
            assert found == [(f"lnk_{name}{number}",) for number in range(5)]
    finally:
        for engine in engines:
            engine.dispose()


def test_a_move_through_it(pooled: DatabasePlace, database: DatabasePlace) -> None:
    """It takes as many connections as there are here."""
    prepare_file(pooled, HOST).dispose()
    before = content_of(pooled)
    target = replace(pooled, name="moved")
    relocate(pooled, target)
    assert content_of(replace(database, name="moved")) == before
