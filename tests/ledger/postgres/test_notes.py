"""Notes of published files in PostgreSQL: what changes something deletes them, and nothing else."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from incarts_pipeline.ledger import publications, tables
from incarts_pipeline.ledger.enqueued import withdraw
from incarts_pipeline.models import State
from tests.support.ledgers import call, ours, send, settle

WATCHED = pytest.mark.parametrize("table", tables.PUBLISHED, ids=lambda table: table.name)
_MEMBER = {"set_id": 1, "row_key": "1", "partition": "south"}


@pytest.fixture
def noted(engine: sa.Engine) -> sa.Engine:
    """A ledger with a row in all that is published, and a note of a file."""
    operation = ours(engine, call())
    assert send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.member), [_MEMBER])
        publications.note(connection, ["links.parquet"])
    return engine


def notes_after(engine: sa.Engine, statement: sa.Executable) -> tuple[int, int]:
    """Return how many rows a statement changes, and how many notes it leaves; undo it."""
    with engine.connect() as connection:
        kept = {"preserve_rowcount": True}
        changed = connection.execute(statement, execution_options=kept).rowcount
        count = sa.select(sa.func.count()).select_from(tables.published)
        left = connection.scalar(count) or 0
        connection.rollback()
    return changed, left


@WATCHED
def test_every_change_is_noticed(noted: sa.Engine, table: sa.Table) -> None:
    """Whoever writes any column of what is published, inserts or deletes: no note is left."""
    with noted.begin() as connection:  # of which others may refer to what is deleted
        found = "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f'"
        for owner, name in connection.exec_driver_sql(found).all():
            connection.exec_driver_sql(f'ALTER TABLE {owner} DROP CONSTRAINT "{name}"')
    for column in table.c:
        assert notes_after(noted, sa.update(table).values({column.name: column})) == (1, 0)
    assert notes_after(noted, sa.delete(table)) == (1, 0)
    copy = sa.insert(table).from_select([c.name for c in table.c], _another(table))
    assert notes_after(noted, copy) == (1, 0)


def _another(table: sa.Table) -> sa.Select[object]:
    """Return a row as the one that is there, under other keys."""
    others = {"op_id": 99, "row_key": "99", "idempotency_key": "99", "link_id": "99"}
    return sa.select(
        *(sa.literal(others[c.name], c.type) if c.name in others else c for c in table.c)
    )


@WATCHED
def test_statement_that_finds_nothing_is_no_change(noted: sa.Engine, table: sa.Table) -> None:
    """Nobody has to look beforehand whether there is something to change."""
    first = next(iter(table.c))
    names = [c.name for c in table.c]
    nothing = (
        sa.update(table).where(sa.false()).values({first.name: first}),
        sa.delete(table).where(sa.false()),
        sa.insert(table).from_select(names, sa.select(table).where(sa.false())),
        postgresql.insert(table).from_select(names, sa.select(table)).on_conflict_do_nothing(),
    )
    for statement in nothing:
        assert notes_after(noted, statement) == (0, 1), str(statement)


def test_withdrawal_of_nothing_leaves_notes(noted: sa.Engine) -> None:
    """A plan of what nobody has enqueued leaves published tables as they are."""
    with noted.begin() as connection:
        assert withdraw(connection, {"s": 1}, {}) == 0
    assert notes_after(noted, sa.select(tables.meta.c.name).limit(1))[1] == 1
