"""A ledger that is moved: all of it arrives, the old one is refused, and nobody is at both."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings as hypothesis_settings

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerForeignError,
    LedgerLockedError,
    LedgerMovedError,
    RefusedError,
)
from incarts_pipeline.identity import key_digest
from incarts_pipeline.ledger import relocation, relocation_steps, tables
from incarts_pipeline.ledger.database import is_there, once, open_engine, prepare_file, read_facts
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.ledger.relocation import give_up, relocate
from incarts_pipeline.ledger.relocation_marks import MOVED
from incarts_pipeline.ledger.runs import Process, end_run, start_run
from incarts_pipeline.ledger.sqlite.witness import last_mark, sent_digests
from incarts_pipeline.ledger.stores import store_at
from incarts_pipeline.models import State
from incarts_pipeline.settings import DatabasePlace, LedgerPlace
from tests.support import postgres
from tests.support.clocks import LaterClock
from tests.support.ledgers import HOST, NOW, call, claim, ours, said, send, settle
from tests.support.moves import content_of, contents, used, write_content
from tests.support.sqlite_files import opened

_names = itertools.count()


@pytest.fixture
def database(postgres_server: postgres.Server) -> DatabasePlace:
    """A ledger's place in the one database of all: to make another one takes longer than a test."""
    return DatabasePlace(uri=postgres_server.uri(), name=f"own{next(_names)}")


@pytest.fixture
def new_place(request: pytest.FixtureRequest, place: LedgerPlace, tmp_path: Path) -> LedgerPlace:
    """Another place of the other kind, where nothing is."""
    if isinstance(place, Path):
        found: LedgerPlace = request.getfixturevalue("database")
        return found
    return tmp_path / "moved.db"


def elsewhere(place: LedgerPlace) -> LedgerPlace:
    """Return another place of the same kind."""
    name = f"other{next(_names)}"
    if isinstance(place, Path):
        return place.with_name(f"{name}.db")
    return DatabasePlace(uri=place.uri, name=name)


def test_all_of_it_arrives(engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace) -> None:
    """Each row to the bit, with the ledger's id, its counts, and its notes of what is published."""
    used(engine)
    engine.dispose()
    before = content_of(place)
    rows = relocate(place, new_place)
    assert content_of(new_place) == before
    assert rows["operation"] == 4
    assert (rows["link"], rows["published"], rows["lost_key"]) == (1, 1, 1)
    view = LedgerReader(new_place, base_url=HOST)
    assert view.known_links(["lnk_1"]) == {"lnk_1"}


def test_it_goes_on_where_it_is(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """New ids come behind those that are there, and a link that another row has is noticed."""
    used(engine)
    engine.dispose()
    relocate(place, new_place)
    moved = prepare_file(new_place, HOST)
    try:
        assert said(new_place, "SELECT max(op_id) FROM operation") == [(4,)]
        operation = ours(moved, call("new"))
        assert operation.op_id > 4
        with moved.begin() as connection:
            assert store_at(new_place).reserve_links(connection, ["lnk_1"])
            assert not store_at(new_place).reserve_links(connection, ["lnk_2"])
    finally:
        moved.dispose()


def test_there_and_back(engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace) -> None:
    """The way back leads over the old one; what was done meanwhile comes along."""
    used(engine)
    engine.dispose()
    relocate(place, new_place)
    moved = prepare_file(new_place, HOST)
    settle_one(moved, "meanwhile", "lnk_2")
    moved.dispose()
    before = content_of(new_place)
    relocate(new_place, place)
    assert content_of(place) == before
    assert LedgerReader(place).known_links(["lnk_2"]) == {"lnk_2"}
    with pytest.raises(LedgerMovedError):
        LedgerReader(new_place)
    relocate(place, new_place)  # and there again
    assert content_of(new_place) == before


def settle_one(engine: sa.Engine, key: str, link: str) -> None:
    """Make one more link."""
    operation = ours(engine, call(key))
    assert send(engine, operation)
    settle(engine, operation, State.DONE, link)


def test_within_one_kind(engine: sa.Engine, place: LedgerPlace) -> None:
    """To another name in the same database, and to another file."""
    used(engine)
    engine.dispose()
    before, other = content_of(place), elsewhere(place)
    relocate(place, other)
    assert content_of(other) == before


def test_in_a_circle(engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace) -> None:
    """A ledger knows each place that it has left, not only the last."""
    used(engine)
    engine.dispose()
    third, before = elsewhere(place), content_of(place)
    for source, target in ((place, new_place), (new_place, third), (third, place)):
        relocate(source, target)
        with pytest.raises(LedgerMovedError):
            prepare_file(source, HOST)
    prepare_file(place, HOST).dispose()
    assert content_of(place) == before


def test_the_old_one_is_refused(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """By all that opens a ledger, and by its database where it was open before."""
    engine.dispose()
    relocate(place, new_place)
    told = str(new_place).rpartition("@")[2]
    for way in (lambda: prepare_file(place, HOST), lambda: LedgerReader(place)):
        with pytest.raises(LedgerMovedError, match="was moved to") as raised:
            way()
        assert told in raised.value.message
        assert "pass-word-1" not in str(raised.value)
        assert str(raised.value.place).endswith(told)
    with pytest.raises(LedgerMovedError, match="takes no changes"), once(place) as connection:
        start_run(connection, "r2", ["s"], Process.current(), NOW)
    for table in tables.metadata.sorted_tables:
        if table is not tables.meta:
            with pytest.raises(LedgerMovedError, match="takes no changes"), once(place) as writing:
                writing.execute(sa.insert(table), dummy(table))


def dummy(table: sa.Table) -> dict[str, Any]:
    """Return a row of the right types, whatever it says."""
    return {
        c.name: b"x"
        if isinstance(c.type, sa.LargeBinary)
        else "x"
        if isinstance(c.type, sa.Text)
        else 1
        for c in table.c
        if not isinstance(c.type, sa.Boolean)
    }


def test_older_versions_refuse_it(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """They know no mark, but that a schema may be newer than theirs."""
    engine.dispose()
    relocate(place, new_place)
    with once(place, read_only=True) as connection:
        facts = read_facts(connection)
    assert int(facts["schema_version"]) > 100 * tables.SCHEMA_VERSION
    assert read_back(new_place)["schema_version"] == str(tables.SCHEMA_VERSION)


def read_back(place: LedgerPlace) -> dict[str, str]:
    """Return a ledger's facts."""
    with once(place, read_only=True) as connection:
        return read_facts(connection)


def test_a_run_at_work_is_in_the_way(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """Nothing is marked then; once it has ended, the ledger can be moved."""
    now = store_at(place).clock(Clock()).now()
    with engine.begin() as connection:
        start_run(connection, "r1", ["s"], Process.current(), now)
    with pytest.raises(RefusedError) as raised:
        relocate(place, new_place)
    assert raised.value.guard == "running"
    assert MOVED not in read_back(place)
    with engine.begin() as connection:
        end_run(connection, "r1", "finished", now)
    relocate(place, new_place)


def test_a_run_that_begins_just_before_the_mark(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for again in the transaction that sets the mark."""
    kept = relocation._check_movable

    def too_late(source: LedgerPlace, target: LedgerPlace) -> None:
        kept(source, target)
        now = store_at(place).clock(Clock()).now()
        with engine.begin() as connection:
            start_run(connection, "r1", ["s"], Process.current(), now)

    monkeypatch.setattr(relocation, "_check_movable", too_late)
    with pytest.raises(RefusedError, match="at work"):
        relocate(place, new_place)
    assert MOVED not in read_back(place)
    assert not is_there(new_place)
    assert claim(engine, call())  # nothing is sealed


def test_another_ledger_is_in_the_way(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """What is at the new place is never written over."""
    engine.dispose()
    prepare_file(new_place, HOST).dispose()
    before = content_of(new_place)
    with pytest.raises(RefusedError) as raised:
        relocate(place, new_place)
    assert raised.value.guard == "target_not_empty"
    assert content_of(new_place) == before
    prepare_file(place, HOST).dispose()


def test_itself_is_no_new_place(engine: sa.Engine, place: LedgerPlace) -> None:
    """A ledger can't be moved to where it is."""
    engine.dispose()
    with pytest.raises(RefusedError, match="already"):
        relocate(place, place)
    prepare_file(place, HOST).dispose()


def test_no_ledger(place: LedgerPlace, new_place: LedgerPlace) -> None:
    """There must be one."""
    with pytest.raises(LedgerError, match="no ledger"):
        relocate(place, new_place)


def test_moved_away_meanwhile(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace
) -> None:
    """One that was moved can't be moved to a third place; the same again is done already."""
    engine.dispose()
    rows = relocate(place, new_place)
    with pytest.raises(LedgerMovedError):
        relocate(place, elsewhere(place))
    assert relocate(place, new_place) == rows
    with pytest.raises(RefusedError) as raised:
        give_up(place, new_place)
    assert raised.value.guard == "move_ended"


STEPS = ("reserve", "fill", "copy_rows", "compare_rows", "held")


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_leaves_it_where_it_was(
    engine: sa.Engine,
    place: LedgerPlace,
    new_place: LedgerPlace,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails before all is there, the ledger can be used, and be moved later."""
    used(engine)
    before = content_of(place)
    with monkeypatch.context() as patch:
        broken = relocation if step in ("reserve", "fill") else relocation_steps
        kept = relocation_steps.held

        def fails(*given: Any, **named: Any) -> Any:
            patch.setattr(relocation_steps, "held", kept)
            raise LedgerError("No room.", fix="Make some.")

        patch.setattr(broken, step, fails)
        with pytest.raises(LedgerError, match=r"^No room\. Make some\.$"):
            relocate(place, new_place)
    assert content_of(place) == before
    settle_one(engine, "meanwhile", "lnk_2")
    engine.dispose()
    relocate(place, new_place)
    assert LedgerReader(new_place).known_links(["lnk_2"]) == {"lnk_2"}


class Killed(BaseException):
    """What a process that is killed does: nothing more."""


def break_off(
    place: LedgerPlace, new_place: LedgerPlace, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin a move that ends at a step as if it was killed: nothing is taken back."""

    def dies(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(relocation, "_taken_back", lambda *_, **__: None)
        patch.setattr(relocation if hasattr(relocation, step) else relocation_steps, step, dies)
        with pytest.raises(Killed):
            relocate(place, new_place)


@pytest.mark.parametrize("step", STEPS)
def test_while_it_moves_both_are_refused(
    engine: sa.Engine,
    place: LedgerPlace,
    new_place: LedgerPlace,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can begin a run on either; the error says how to go on, and it does."""
    used(engine)
    engine.dispose()
    before = content_of(place)
    break_off(place, new_place, step, monkeypatch)
    both = (place,) if step == "reserve" else (place, new_place)
    for one in both:
        with pytest.raises(LedgerMovedError, match="has not ended"):
            prepare_file(one, HOST)
        with pytest.raises(LedgerMovedError, match="--cancel"):
            LedgerReader(one)
    with pytest.raises(LedgerMovedError, match="goes to"):
        relocate(place, elsewhere(place))
    relocate(place, new_place)
    assert content_of(new_place) == before
    with pytest.raises(LedgerMovedError, match="was moved"):
        LedgerReader(place)


@pytest.mark.parametrize("step", STEPS)
def test_a_move_is_given_up(
    engine: sa.Engine,
    place: LedgerPlace,
    new_place: LedgerPlace,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger is where it was, and the new place is as empty as before."""
    used(engine)
    engine.dispose()
    before = content_of(place)
    break_off(place, new_place, step, monkeypatch)
    with pytest.raises(LedgerMovedError, match="goes to"):
        give_up(place, elsewhere(place))
    give_up(place, new_place)
    assert content_of(place) == before
    assert LedgerReader(new_place).path is None
    with pytest.raises(RefusedError) as raised:
        give_up(place, new_place)
    assert raised.value.guard == "not_moving"
    prepare_file(new_place, HOST).dispose()


def test_all_is_there_but_the_end(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again, it only ends; what has been done at the new place stays."""
    used(engine)
    engine.dispose()
    break_off_behind_the_commit(place, new_place, monkeypatch)
    with pytest.raises(LedgerMovedError, match="has not ended"):
        LedgerReader(place)
    moved = prepare_file(new_place, HOST)
    settle_one(moved, "meanwhile", "lnk_2")
    moved.dispose()
    with pytest.raises(RefusedError) as raised:
        give_up(place, new_place)
    assert raised.value.guard == "move_ended"
    relocate(place, new_place)
    assert LedgerReader(new_place).known_links(["lnk_2"]) == {"lnk_2"}
    with pytest.raises(LedgerMovedError, match="was moved"):
        LedgerReader(place)


def break_off_behind_the_commit(
    place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin a move that ends once all is at the new place."""
    kept = relocation_steps.replace

    def dies(mark: Any, **changes: Any) -> Any:
        if "ended" in changes:
            raise Killed
        return kept(mark, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(relocation_steps, "replace", dies)
        with pytest.raises(Killed):
            relocate(place, new_place)


def test_two_at_one_move(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stood still while another one took its move on brings nothing to an end."""
    used(engine)
    engine.dispose()
    before = content_of(place)
    kept = relocation.fill
    overtaken: list[bool] = []

    def stands_still(*given: Any) -> Any:
        if not overtaken:
            overtaken.append(True)
            relocate(place, new_place)
        return kept(*given)

    monkeypatch.setattr(relocation, "fill", stands_still)
    with pytest.raises(LedgerError, match="Another process"):
        relocate(place, new_place)
    assert content_of(new_place) == before
    with pytest.raises(LedgerMovedError, match="was moved"):
        LedgerReader(place)


def test_given_up_while_another_one_copies(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied comes to nothing, and the ledger is where it was."""
    used(engine)
    before = content_of(place)
    kept = relocation_steps.held
    asked: list[bool] = []

    def given_up(*given: Any) -> Any:
        if not asked:
            asked.append(True)
            mark = relocation_steps.begin(place, new_place)
            relocation_steps.unmark(place, mark)
        return kept(*given)

    monkeypatch.setattr(relocation_steps, "held", given_up)
    with pytest.raises(LedgerError, match="given it up"):
        relocate(place, new_place)
    assert content_of(place) == before
    assert claim(engine, call("more"))


def test_copy_that_differs(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that arrives otherwise is named, and nothing is moved."""
    used(engine)
    kept = relocation_steps.copy_rows

    def flips(source: Any, target: Any) -> Any:
        counts = kept(source, target)
        statement = sa.update(tables.operation).values(epoch=7)
        target.connection.execute(statement.where(tables.operation.c.row_key == "doubt"))
        return counts

    monkeypatch.setattr(relocation_steps, "copy_rows", flips)
    with pytest.raises(LedgerDamagedError, match="operation differs at op_id 2, row_key 'doubt'"):
        relocate(place, new_place)
    assert claim(engine, call("more"))


def test_missing_row_is_a_difference(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last one of a table."""
    used(engine)
    kept = relocation_steps.copy_rows

    def drops(source: Any, target: Any) -> Any:
        counts = kept(source, target)
        target.connection.execute(sa.delete(tables.lost_key))
        return counts

    monkeypatch.setattr(relocation_steps, "copy_rows", drops)
    with pytest.raises(LedgerDamagedError, match="lost_key differs at digest 6c6c"):
        relocate(place, new_place)


@hypothesis_settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=contents())
def test_any_ledger_there_and_back(
    content: dict[str, list[dict[str, Any]]], tmp_path: Path, database: DatabasePlace
) -> None:
    """Whatever a ledger holds, both ways bring all of it, to the bit."""
    number = next(_names)
    first, last = tmp_path / f"first{number}.db", tmp_path / f"last{number}.db"
    between = DatabasePlace(uri=database.uri, name=f"any{number}")
    write_content(first, content)
    before = content_of(first)
    relocate(first, between)
    assert content_of(between) == before
    relocate(between, last)
    assert content_of(last) == before


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE operation SET error_message = 'a' || char(0) || 'b'", "a NUL in it"),
        ("UPDATE operation SET error_code = CAST(x'eda080' AS TEXT)", "no valid UTF-8"),
        ("UPDATE operation SET attempts = 4294967296", "4294967296, which is not"),
        ("UPDATE operation SET content_hash = 'text'", "'text', which is not"),
    ],
)
def test_value_that_postgres_cannot_keep(
    tmp_path: Path, database: DatabasePlace, statement: str, what: str
) -> None:
    """It is refused before anything is marked, and the row is named."""
    file = tmp_path / "ledger.db"
    write_content(file, {})
    engine = open_engine(file)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.link_set),
            [{"set_id": 1, "project_id": "demo", "name": "s", "kind": "links"}],
        )
    used(engine)
    engine.dispose()
    with opened(file) as raw:
        raw.execute(f"{statement} WHERE row_key = 'no'")
    with pytest.raises(RefusedError, match=f"op_id 3, row_key 'no' is .*{what}") as raised:
        relocate(file, database)
    assert raised.value.guard == "unmovable_value"
    assert MOVED not in read_back(file)
    assert not is_there(database)


def test_a_file_keeps_nul(tmp_path: Path) -> None:
    """From file to file nothing is in the way of one."""
    file = tmp_path / "ledger.db"
    content = {"rate": [{"api_key_fingerprint": "a\0b", "learned": "\0", "learned_at": 1}]}
    write_content(file, content)
    before = content_of(file)
    relocate(file, tmp_path / "other.db")
    assert content_of(tmp_path / "other.db") == before


def test_clocks_apart(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With doubts, a ledger isn't moved to where another clock would tell their age."""
    monkeypatch.setattr(relocation, "Clock", lambda: LaterClock(1_200, boot=0))
    relocate(place, new_place)  # there are none
    relocate(new_place, place)
    used(engine)
    with pytest.raises(RefusedError) as raised:
        relocate(place, new_place)
    assert raised.value.guard == "clocks_apart"
    assert "1,200 s" in raised.value.message
    assert "1 row" in raised.value.message


def test_witness_goes_along(tmp_path: Path, database: DatabasePlace) -> None:
    """On the way back a file's witness knows what was sent meanwhile, and its count never falls."""
    file = tmp_path / "ledger.db"
    engine = prepare_file(file, HOST)
    said(file, "INSERT INTO link_set (project_id, name, kind) VALUES ('demo', 's', 'links')")
    used(engine)
    engine.dispose()
    left = last_mark(file)
    assert left is not None
    relocate(file, database)
    moved = prepare_file(database, HOST)
    operation = ours(moved, call("meanwhile"))
    send(moved, operation)
    send(moved, operation, number=2)
    moved.dispose()
    relocate(database, file)
    mark = last_mark(file)
    assert mark is not None
    assert (mark.ledger_id, mark.commits > left.commits) == (left.ledger_id, True)
    sent = list(sent_digests(file))
    keys = said(file, "SELECT idempotency_key, attempts FROM operation")
    for key, attempts in keys:
        assert sent.count(key_digest(key)) == attempts
    assert b"l" * 20 in sent
    prepare_file(file, HOST).dispose()


def test_file_of_another_ledger_was_there(
    engine: sa.Engine, place: LedgerPlace, tmp_path: Path
) -> None:
    """Where a witness knows of another ledger, none is put."""
    engine.dispose()
    file = tmp_path / "lost.db"
    prepare_file(file, HOST).dispose()
    file.unlink()
    with pytest.raises(RefusedError) as raised:
        relocate(place, file)
    assert raised.value.guard == "rolled_back"


def test_damaged_ledger_is_not_moved(tmp_path: Path) -> None:
    """What SQLite finds wrong is found before anything is marked."""
    file = tmp_path / "ledger.db"
    prepare_file(file, HOST).dispose()
    with opened(file) as raw:
        raw.execute("PRAGMA writable_schema = 1")
        raw.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'UNIQUE', '') WHERE name = 'operation'"
        )
    with pytest.raises(LedgerDamagedError):
        relocate(file, tmp_path / "other.db")


def test_move_of_another_version(
    engine: sa.Engine, place: LedgerPlace, new_place: LedgerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an older version began isn't gone on with; it can be given up, and begun anew."""
    engine.dispose()
    break_off(place, new_place, "fill", monkeypatch)
    monkeypatch.setattr(tables, "SCHEMA_VERSION", tables.SCHEMA_VERSION + 1)
    with pytest.raises(LedgerForeignError, match="another version"):
        relocate(place, new_place)
    give_up(place, new_place)
    assert read_back(place)["schema_version"] == str(tables.SCHEMA_VERSION - 1)


def test_locked_new_place(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: LedgerPlace
) -> None:
    """Somebody who holds it is named, and the ledger stays where it was."""
    engine.dispose()
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    file = tmp_path / "new.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerLockedError):
            relocate(place, file)
    prepare_file(place, HOST).dispose()
    relocate(place, file)
