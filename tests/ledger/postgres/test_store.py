"""A ledger's database: how it is named, who may do what in it, and what isn't safe in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from incarts_pipeline.clock import Clock
from incarts_pipeline.errors import LedgerError, RefusedError, SettingsError
from incarts_pipeline.ledger import keep_word, tables
from incarts_pipeline.ledger.attempts import Outcome, write_outcomes
from incarts_pipeline.ledger.claims import Claim
from incarts_pipeline.ledger.database import (
    clock_of,
    health_of,
    is_there,
    once,
    prepare_file,
)
from incarts_pipeline.ledger.integrity import counts_of, damage
from incarts_pipeline.ledger.postgres.bulk_write import waves
from incarts_pipeline.ledger.postgres.schema import GRANTS
from incarts_pipeline.ledger.queries import ensure_sets, known_keys
from incarts_pipeline.ledger.tables import SCHEMA_VERSION
from incarts_pipeline.maintenance.ledger_files import backup_ledger, check_ledger
from incarts_pipeline.models import Answer, AnswerKind, State
from incarts_pipeline.settings import DatabasePlace, as_place, load_settings
from incarts_pipeline.settings.trusted_hosts import is_in_ledger, trusted_host
from tests.support import postgres
from tests.support.clocks import LaterClock
from tests.support.ledgers import HOST, NOW, call, claim, ours, said, send, settle
from tests.support.pages import blocks_of


def test_password_is_shown_nowhere() -> None:
    """Neither the place nor the settings show it, nor what an error says."""
    uri = "postgresql://me:hush-hush-1@127.0.0.1:1/db?sslmode=prefer&ledger=staging"
    settings = load_settings(ledger=uri)
    assert str(settings.ledger) == "postgresql://me@127.0.0.1:1/db?ledger=staging"
    with pytest.raises(LedgerError) as raised:
        is_there(settings.ledger)
    assert "hush-hush-1" not in f"{settings!r} {settings.ledger!r} {raised.value} {raised.value!r}"


# What takes a ledger back to the version that is the key from the one after it.
_TAKING_BACK = {
    9: (
        *(
            f'DROP TRIGGER published_{table.name}_{event} ON "{table.name}"'
            for table in tables.PUBLISHED
            for event in ("insert", "update", "delete")
        ),
        *(
            f"CREATE TRIGGER published_{table.name} AFTER INSERT OR UPDATE OR DELETE "
            f'ON "{table.name}" FOR EACH STATEMENT EXECUTE FUNCTION forget_published()'
            for table in tables.PUBLISHED
        ),
        """CREATE OR REPLACE FUNCTION forget_published() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN DELETE FROM published; RETURN NULL; END'""",
    ),
    8: (
        "DROP INDEX operation_enqueued",
        "ALTER TABLE operation DROP COLUMN turn, DROP COLUMN enqueued_by, DROP COLUMN for_history",
        'ALTER TABLE run DROP COLUMN task, DROP COLUMN "partition", DROP COLUMN made, '
        "DROP COLUMN remaining",
    ),
}


@pytest.mark.parametrize("version", sorted(_TAKING_BACK))
def test_older_schema_is_lifted(place: DatabasePlace, version: int) -> None:
    """A ledger of an older version gets this one's columns, indexes and triggers."""
    prepare_file(place, HOST).dispose()
    wanted = _schema(place)
    for before in range(SCHEMA_VERSION - 1, version - 1, -1):
        for statement in _TAKING_BACK[before]:
            with once(place) as connection:
                connection.exec_driver_sql(statement)
    said(place, f"UPDATE meta SET value = '{version}' WHERE name = 'schema_version'")
    assert _schema(place) != wanted
    prepare_file(place, HOST).dispose()
    assert _schema(place) == wanted
    [[lifted]] = said(place, "SELECT value FROM meta WHERE name = 'schema_version'")
    assert lifted == str(SCHEMA_VERSION)


def _schema(place: DatabasePlace) -> list[tuple[object, ...]]:
    """Return a ledger's columns with their types, its indexes, triggers and functions."""
    columns = (
        "SELECT table_name, column_name, data_type, collation_name, is_nullable "
        "FROM information_schema.columns WHERE table_schema = 'incarts' ORDER BY 1, 2"
    )
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'incarts' ORDER BY 1"
    triggers = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    functions = (
        "SELECT proname, prosrc FROM pg_proc "
        "WHERE pronamespace = CAST('incarts' AS regnamespace) ORDER BY 1"
    )
    queries = (columns, indexes, triggers, functions)
    return [row for query in queries for row in said(place, query)]


@pytest.mark.parametrize("name", ["", "X", "1", 'a"b', "a" * 41])
def test_name_that_is_none_is_refused(name: str) -> None:
    """A ledger's name becomes the name of a schema."""
    with pytest.raises(SettingsError, match="ledger"):
        load_settings(ledger=f"postgresql://db.example/x?ledger={name}")


def test_path_made_of_a_uri_is_refused() -> None:
    """`Path` takes one of the two slashes away; the file would be a new ledger."""
    with pytest.raises(SettingsError, match="as a text"):
        load_settings(ledger=Path("postgresql://db.example/x"))


def test_a_path_stays_one() -> None:
    """Whatever is no URI of a database is a file."""
    assert load_settings(ledger="a.db").ledger == Path("a.db")


def test_two_ledgers_in_one_database(engine: sa.Engine, place: DatabasePlace) -> None:
    """Each has a schema and locks of its own; a claim in one is none in the other."""
    other = DatabasePlace(uri=place.uri, name="staging")
    with closing_engine(prepare_file(other, "https://staging.example")) as second:
        with second.begin() as connection:
            ensure_sets(connection, "demo", ["s"], ["sku"])
        with engine.begin() as holding:
            assert holding is not None
            assert claim(second, call())[0] is Claim.OURS
        assert said(other, "SELECT count(*) FROM operation") == [(1,)]
    assert said(place, "SELECT count(*) FROM operation") == [(0,)]


@contextmanager
def closing_engine(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Dispose of an engine at the end of the block."""
    try:
        yield engine
    finally:
        engine.dispose()


def test_least_rights(engine: sa.Engine, place: DatabasePlace) -> None:
    """With what the page grants a role can work, and make or drop nothing."""
    granted = "".join(statement + ";\n" for statement in GRANTS)
    [told] = [one.text for one in blocks_of("postgresql.md") if one.language == "sql"]
    assert told.strip() == granted.format(schema="incarts", role="incarts_worker").strip()
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS incarts_worker")
        connection.execute("CREATE ROLE incarts_worker LOGIN PASSWORD 'pass-word-1'")
        connection.execute(told.encode())
    worker = DatabasePlace(uri=place.uri.replace("owner:", "incarts_worker:"))
    with closing_engine(prepare_file(worker, HOST)) as own:
        operation = ours(own, call())
        assert send(own, operation)
        settle(own, operation, State.DONE, "lnk_1")
        with pytest.raises(sa.exc.ProgrammingError, match="must be owner"), own.begin() as broken:
            broken.exec_driver_sql("DROP TABLE operation")
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute("DROP OWNED BY incarts_worker")
        connection.execute("DROP ROLE incarts_worker")


def test_server_that_syncs_nothing_is_refused(database: DatabasePlace) -> None:
    """The tests' own server has fsync off."""
    with pytest.raises(LedgerError, match="fsync = off"):
        health_of(database)


@pytest.mark.slow
def test_health_of_a_server(tmp_path: Path) -> None:
    """A role whose commits aren't synchronous is refused; an asynchronous standby is told of."""
    with postgres.server(fsync="on") as one, postgres.standby_of(one) as standby:
        place = DatabasePlace(uri=one.uri())
        heard = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'"
        postgres.wait_for(lambda: postgres.ask(one, heard) == (True,))
        version, standbys = health_of(place)
        assert version.startswith("PostgreSQL ")
        assert standbys.startswith("1 standby asynchronous")
        assert standby.answers()
        postgres.ask(one, "ALTER ROLE owner SET synchronous_commit = off")
        with pytest.raises(LedgerError, match="synchronous_commit = off"):
            health_of(place)
        with closing_engine(prepare_file(place, HOST)) as engine, engine.begin() as connection:
            shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
        assert shown == "on"


def test_clock_is_the_database_s(place: DatabasePlace) -> None:
    """A host whose clock is twenty minutes off tells the database's time, within its error."""
    for own in (Clock(), LaterClock(1_200, boot=0), LaterClock(-1_200, boot=0)):
        clock = clock_of(place, own)
        before = database_time(place)
        told = clock.now().wall
        after = database_time(place)
        assert before - clock.error <= told <= after + clock.error
        assert clock.monotonic() <= clock.monotonic()


def database_time(place: DatabasePlace) -> float:
    """Return what the database's clock says."""
    with closing(psycopg.connect(place.uri)) as connection:
        query = "SELECT extract(epoch FROM clock_timestamp())::float8"
        [now] = connection.execute(query).fetchone() or (0.0,)
    return float(now)


def test_nul_in_a_message_is_recorded(engine: sa.Engine, place: DatabasePlace) -> None:
    """PostgreSQL's texts have no NUL; a server's answer that has one is no reason to fail."""
    operation = ours(engine, call())
    send(engine, operation)
    answer = Answer(kind=AnswerKind.REFUSED, correlation_id="c", status=422, error_message="a\0b")
    told = Outcome(operation=operation, state=State.REJECTED, at=NOW, number=1, answer=answer)
    with engine.begin() as connection:
        write_outcomes(connection, "r1", [told])
    assert said(place, "SELECT error_message FROM operation") == [("a\ufffdb",)]


def test_two_answers_of_one_operation_in_one_group(engine: sa.Engine, place: DatabasePlace) -> None:
    """They are recorded one after the other, so that the later one counts."""
    operation = ours(engine, call())
    send(engine, operation)
    first = Outcome(operation=operation, state=State.IN_DOUBT, at=NOW, number=1, answer=None)
    last = Outcome(operation=operation, state=State.NEEDS_REVIEW, at=NOW, error_code="too_old")
    with engine.begin() as connection:
        write_outcomes(connection, "r1", [first, last])
    assert said(place, "SELECT state, error_code FROM operation") == [("needs_review", "too_old")]


def test_waves_have_no_key_twice() -> None:
    """Rows of one key come in their order, each in another wave."""
    rows = [{"id": one, "n": n} for n, one in enumerate("abacab")]
    parts = [list(part) for part in waves(rows, ["id"])]
    assert [[row["n"] for row in part] for part in parts] == [[0, 1, 3], [2, 5], [4]]


def test_keys_are_sorted_by_their_bytes(engine: sa.Engine, place: DatabasePlace) -> None:
    """As SQLite sorts them, whatever the database's language."""
    keys = ["b", "B", "a", "é", "Z", "_", "10", "9", "\U0010ffff", "z"]
    for key in keys:
        claim(engine, call(key))
    found = said(place, "SELECT row_key FROM operation ORDER BY row_key")
    assert [key for (key,) in found] == sorted(keys, key=lambda key: key.encode())


def test_known_keys_and_counts(engine: sa.Engine, place: DatabasePlace) -> None:
    """Lists of keys are looked up as one parameter; an intact ledger has no damage."""
    operation = ours(engine, call())
    with once(place, read_only=True) as connection:
        wanted = [operation.idempotency_key, "not known"]
        assert known_keys(connection, wanted) == {operation.idempotency_key}
        assert counts_of(connection)["operation"] == 1
        assert list(damage(connection)) == []


def test_a_file_s_backup_is_not_a_database_s(engine: sa.Engine, place: DatabasePlace) -> None:
    """`incarts ledger backup` says what does it; `check` looks at what it can."""
    settings = load_settings(ledger=place, base_url=HOST)
    with pytest.raises(RefusedError, match="pg_dump"):
        backup_ledger("copy.db", settings)
    assert check_ledger(settings) == []


def test_the_ledger_speaks_for_a_host(engine: sa.Engine, place: DatabasePlace) -> None:
    """Where nothing else remembers for which host a key is, a database does as a file does."""
    wanted = trusted_host(SecretStr("ic_sandbox_a_key_of_its_own"), "api.incarts.example")
    assert not is_in_ledger(wanted, place)
    with once(place) as connection:
        keep_word(connection, wanted)
    assert is_in_ledger(wanted, place)


def test_missing_database_says_so(postgres_server: postgres.Server) -> None:
    """No ledger is made in a database that isn't there."""
    place = as_place(postgres_server.uri("nowhere"))
    assert isinstance(place, DatabasePlace)
    with pytest.raises(LedgerError, match="does not exist"):
        prepare_file(place, HOST)


def test_fewer_round_trips_than_records(engine: sa.Engine, place: DatabasePlace) -> None:
    """A group has the same few statements, however many it records."""
    told: list[str] = []
    sa.event.listens_for(engine, "before_cursor_execute")(
        lambda _c, _k, text, *_: told.append(text)
    )
    counts = []
    for n in (1, 50):
        operations = [ours(engine, call(f"{n}-{i}")) for i in range(n)]
        for operation in operations:
            send(engine, operation)
        told.clear()
        with engine.begin() as connection:
            answer = Answer(kind=AnswerKind.UNKNOWN, correlation_id="c", status=500)
            write_outcomes(
                connection,
                "r1",
                [
                    Outcome(operation=one, state=State.IN_DOUBT, at=NOW, number=1, answer=answer)
                    for one in operations
                ],
            )
        counts.append(len(told))
    assert counts[0] == counts[1]
