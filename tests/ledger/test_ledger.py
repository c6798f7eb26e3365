"""The ledger on real SQLite: claims, attempts, outcomes, and its one writer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from incarts_pipeline.clock import Clock, Stamp
from incarts_pipeline.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerForeignError,
    LedgerLockedError,
    RefusedError,
)
from incarts_pipeline.ledger.attempts import Outcome, Sent, write_outcomes, write_sent
from incarts_pipeline.ledger.claims import Call, Claim, Operation, claim_calls, claim_doubts
from incarts_pipeline.ledger.current_links import busy_elsewhere
from incarts_pipeline.ledger.database import prepare_file
from incarts_pipeline.ledger.journal import Journal
from incarts_pipeline.ledger.overview import overview
from incarts_pipeline.ledger.queries import ensure_sets
from incarts_pipeline.ledger.reader import LedgerReader
from incarts_pipeline.ledger.review import cases
from incarts_pipeline.ledger.runs import Process, end_run, living_runs, start_run
from incarts_pipeline.ledger.state_machine import ReplayRule
from incarts_pipeline.ledger.tables import SCHEMA_VERSION
from incarts_pipeline.models import Action, Answer, AnswerKind, Kind, Link, State

HOST = "https://api.incarts.example"
NOW = Clock().now()
FILE = Path("ledger.db")


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A fresh ledger with one link set."""
    engine = prepare_file(FILE, HOST)
    with engine.begin() as connection:
        assert ensure_sets(connection, "demo", ["s"], ["sku"]) == {"s": 1}
    yield engine
    engine.dispose()


def call(key: str = "1", content: str = "a", expected: int | None = None) -> Call:
    """Return a call for a row with some content."""
    body = json.dumps({"customUrl": content}).encode()
    return Call(
        project_id="demo",
        link_set="s",
        set_id=1,
        row_key=key,
        action=Action.CREATE,
        retailer="walmart",
        intent="add_to_cart",
        content_hash=hashlib.sha256(body).digest(),
        groups=(b"d" * 32, b"t" * 32, b"l" * 32),
        body=body,
        expected_op_id=expected,
    )


def claim(
    engine: sa.Engine, one: Call, run: str = "r1", living: tuple[str, ...] = (), retry: bool = False
) -> tuple[Claim, Operation | None]:
    """Claim one call for a run."""
    with engine.begin() as connection:
        [answer] = claim_calls(connection, [one], run, living, NOW, retry_rejected=retry)
    return answer


def ours(engine: sa.Engine, one: Call, run: str = "r1") -> Operation:
    """Claim a call that must be ours."""
    claimed, operation = claim(engine, one, run)
    assert claimed is Claim.OURS
    assert operation is not None
    return operation


def send(engine: sa.Engine, operation: Operation, run: str = "r1", number: int = 1) -> bool:
    """Record an attempt."""
    sent = Sent(
        operation=operation,
        number=number,
        correlation_id=f"corr-{run}-{number}",
        api_key_fingerprint="fp",
        at=NOW,
    )
    with engine.begin() as connection:
        [mine] = write_sent(connection, run, [sent])
    return mine


def settle(
    engine: sa.Engine, operation: Operation, state: State, link: str | None = None, number: int = 1
) -> None:
    """Record an answer."""
    kind = AnswerKind.LINK if link else AnswerKind.UNKNOWN
    answer = Answer(kind=kind, correlation_id="c", status=201, link=Link(id=link) if link else None)
    outcome = Outcome(operation=operation, state=state, at=NOW, number=number, answer=answer)
    with engine.begin() as connection:
        write_outcomes(connection, "r1", [outcome])


def row(engine: sa.Engine, query: str) -> tuple[object, ...]:
    """Return one row of a query."""
    with engine.begin() as connection:
        return tuple(connection.exec_driver_sql(query).one())


def test_file_is_durable(engine: sa.Engine) -> None:
    """The ledger is in WAL mode with synchronous=FULL, and knows its host."""
    assert row(engine, "PRAGMA journal_mode") == ("wal",)
    assert row(engine, "PRAGMA synchronous") == (2,)
    assert row(engine, "SELECT value FROM meta WHERE name = 'base_url'") == (HOST,)


def test_another_host_is_refused(engine: sa.Engine) -> None:
    """A ledger is bound to one base URL."""
    with pytest.raises(LedgerForeignError, match="belongs to"):
        prepare_file(FILE, "http://127.0.0.1:1")


def test_newer_version_is_refused(engine: sa.Engine) -> None:
    """A ledger of a newer schema is left alone."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(LedgerForeignError, match="newer"):
        prepare_file(FILE, HOST)


_VERSION_5 = """
DROP INDEX one_open_operation_per_row;
CREATE UNIQUE INDEX one_open_operation_per_row ON operation (set_id, row_key)
    WHERE state IN ('intended', 'sent', 'in_doubt', 'needs_review');
DROP INDEX operation_closed;
CREATE INDEX operation_closed ON operation (set_id, row_key)
    WHERE state IN ('rejected', 'abandoned');
UPDATE meta SET value = '5' WHERE name = 'schema_version';
"""
_WATCHED = ("operation", "body", "link", "row", "member")
_VERSION_1 = (
    _VERSION_5
    + "".join(
        f"DROP TRIGGER published_{table}_{event};"
        for table in _WATCHED
        for event in ("update", "delete")
    )
    + """
DROP INDEX operation_closed;
DROP TABLE published;
DROP TABLE rate;
DROP TABLE member;
DROP TABLE link;
CREATE TABLE link (
    link_id TEXT NOT NULL, op_id INTEGER NOT NULL, short_link TEXT, short_id TEXT, target_url TEXT,
    qr_code_id TEXT, qr_image_url TEXT, encoded_url TEXT, created_at INTEGER,
    received_at INTEGER NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (link_id),
    FOREIGN KEY(op_id) REFERENCES operation (op_id)
);
CREATE INDEX ix_link_op_id ON link (op_id);
ALTER TABLE operation DROP COLUMN for_link_id;
CREATE TABLE old_link_set (
    set_id INTEGER NOT NULL, project_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (set_id),
    UNIQUE (project_id, name)
);
INSERT INTO old_link_set SELECT set_id, project_id, name FROM link_set;
DROP TABLE link_set;
ALTER TABLE old_link_set RENAME TO link_set;
UPDATE meta SET value = '1' WHERE name = 'schema_version';
INSERT INTO link (link_id, op_id, received_at, run_id) VALUES ('lnk_old', 1, 5, 'r1');
"""
)


def schema_of(file: Path) -> list[tuple[object, ...]]:
    """Return a ledger's tables and columns, references, indexes, partial ones, and triggers."""
    with sqlite3.connect(file) as connection:
        found = [
            connection.execute(
                f"SELECT m.name, {columns} FROM sqlite_master AS m, pragma_{what}(m.name) AS c "
                f"{more} WHERE m.type = 'table' ORDER BY 1, 2, 3, 4"
            ).fetchall()
            for what, columns, more in (
                ("table_info", 'c.name, c.type, c.pk, c."notnull"', ""),
                ("foreign_key_list", 'c."table", c."from", c."to"', ""),
                ("index_list", 'c."unique", c.origin, i.name', ", pragma_index_info(c.name) AS i"),
            )
        ]
        for those in ("type = 'trigger'", "type = 'index' AND sql LIKE '%WHERE%'"):
            query = f"SELECT name, tbl_name, sql FROM sqlite_master WHERE {those} ORDER BY 1"
            found += [
                [(name, table, " ".join(sql.split()))]
                for name, table, sql in connection.execute(query)
            ]
    connection.close()
    return [one for rows in found for one in rows]


@pytest.mark.parametrize("version", [_VERSION_1, _VERSION_5], ids=["1", "5"])
@pytest.mark.parametrize("opened", ["for writing", "for reading"])
def test_older_schema_is_lifted(engine: sa.Engine, opened: str, version: str) -> None:
    """A ledger of an older version gets this version's schema, once, and keeps its rows."""
    wanted = schema_of(FILE)
    made = ours(engine, call())
    if version is _VERSION_5:
        assert send(engine, made)
        settle(engine, made, State.DONE, "lnk_old")
    engine.dispose()
    with sqlite3.connect(FILE) as connection:
        connection.executescript(version)
    connection.close()
    for _ in range(2):
        if opened == "for reading":
            view = LedgerReader(FILE)
            assert view.known_links(["lnk_old"]) == {"lnk_old"}
            assert view.facts["schema_version"] == str(SCHEMA_VERSION)
        else:
            prepare_file(FILE, HOST).dispose()
    assert schema_of(FILE) == wanted
    assert row(engine, "SELECT op_id, link_id FROM link") == (1, "lnk_old")
    columns = '["sku"]' if version is _VERSION_5 else None
    assert row(engine, "SELECT name, key_columns, kind FROM link_set") == ("s", columns, "links")
    assert row(engine, "SELECT value FROM meta WHERE name = 'schema_version'") == (
        str(SCHEMA_VERSION),
    )


def test_codes_of_a_set_stand_apart_from_its_links(engine: sa.Engine) -> None:
    """A link set's QR codes have a set of their own under the same name."""
    with engine.begin() as connection:
        codes = ensure_sets(connection, "demo", ["s"], [], Kind.QR_CODES)
        assert ensure_sets(connection, "demo", ["s"], []) == {"s": 1}
    assert codes != {"s": 1}
    assert LedgerReader(FILE).set_ids("demo", ["s"]) == {"s": 1}
    assert LedgerReader(FILE).set_ids("demo", ["s"], Kind.QR_CODES) == codes


def test_damaged_file_is_named() -> None:
    """A file that is no database is called damaged."""
    FILE.write_bytes(b"not a database at all, however long one looks at it" * 50)
    with pytest.raises(LedgerDamagedError):
        prepare_file(FILE, HOST)


def test_locked_file_is_named(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another connection's write lock is recognized."""
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(LedgerLockedError):
            prepare_file(FILE, HOST)
    finally:
        other.close()


def test_intent_carries_the_exact_bytes(engine: sa.Engine) -> None:
    """What was claimed is on disk with its body before anything is sent."""
    operation = ours(engine, call())
    assert row(engine, "SELECT state, run_id FROM operation") == ("intended", "r1")
    assert row(engine, "SELECT body FROM body") == (call().body,)
    assert operation.idempotency_key.startswith("incarts1-")


def looks_at(engine: sa.Engine, work: Callable[[sa.Connection], object]) -> list[str]:
    """Return how SQLite finds the operations that some work asks for."""
    asked: list[tuple[str, Any]] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    with engine.connect() as connection:
        work(connection)
        return [
            step[3]
            for text, values in [one for one in asked if one[0].startswith("SELECT")]
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            if " operation " in f"{step[3]} "
        ]


@pytest.mark.parametrize(
    "work",
    [
        lambda c: claim_doubts(c, [1], "r2", ["r1"]),
        lambda c: busy_elsewhere(c, [1], ["r1"]),
        lambda c: cases(c, ReplayRule(window=86_400.0, api_key_fingerprint=None), NOW),
        lambda c: overview(c, {}, NOW, {}),
    ],
)
def test_what_is_open_is_found_without_looking_at_all_that_is_done(
    engine: sa.Engine, work: Callable[[sa.Connection], object]
) -> None:
    """Each night asks, and a ledger may hold ten million links."""
    steps = looks_at(engine, work)
    assert steps
    for step in steps:
        assert "INDEX one_open_operation_per_row" in step or "INDEX operation_closed" in step


def test_living_run_keeps_its_claim(engine: sa.Engine) -> None:
    """A row that a living run has claimed is busy; a dead run's is taken over with a new epoch."""
    first = ours(engine, call(), "r1")
    assert claim(engine, call(), "r2", living=("r1",))[0] is Claim.BUSY
    second = ours(engine, call(), "r2")
    assert second.op_id == first.op_id
    assert second.epoch == first.epoch + 1
    assert send(engine, second, "r2")
    assert not send(engine, first, "r1", number=2)


def test_unsent_intent_of_older_content_is_dropped(engine: sa.Engine) -> None:
    """An intent that provably never left makes way for newer content."""
    ours(engine, call(content="a"))
    ours(engine, call(content="b"), "r2")
    assert row(engine, "SELECT COUNT(*) FROM operation") == (1,)


def test_doubt_stands_in_the_way(engine: sa.Engine) -> None:
    """Nothing new is made for a row while an older operation is in doubt."""
    operation = ours(engine, call(content="a"))
    send(engine, operation)
    assert claim(engine, call(content="b"), "r2")[0] is Claim.DOUBT


def test_doubt_is_taken_over_with_its_bytes_and_age(engine: sa.Engine) -> None:
    """A crash leaves `sent`; the next run gets the same key, bytes and first time."""
    operation = ours(engine, call())
    send(engine, operation)
    with engine.begin() as connection:
        [found] = claim_doubts(connection, [1], "r2", [])
        assert claim_doubts(connection, [1], "r2", []) == []
    assert found.idempotency_key == operation.idempotency_key
    assert found.body == operation.body
    assert found.operation_state.first_sent == Stamp(
        wall=NOW.micros / 1e6, boot=NOW.boot, boot_id=NOW.boot_id
    )


def test_proof_of_no_effect_clears_the_age(engine: sa.Engine) -> None:
    """After a 429 nothing is in doubt, and the next attempt starts the clock anew."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.INTENDED)
    assert row(engine, "SELECT state, first_sent_at FROM operation") == ("intended", None)


def test_link_is_recorded_and_used(engine: sa.Engine) -> None:
    """A link id settles the operation and becomes the row's link."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    assert row(engine, "SELECT state FROM operation") == ("done",)
    assert row(engine, "SELECT link_id, op_id FROM row") == ("lnk_1", operation.op_id)
    assert claim(engine, call())[0] is Claim.MOVED
    assert claim(engine, call(expected=operation.op_id))[0] is Claim.MOVED


def test_done_is_never_undone(engine: sa.Engine) -> None:
    """A late answer of another attempt can't take a link away."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    settle(engine, operation, State.IN_DOUBT)
    assert row(engine, "SELECT state FROM operation") == ("done",)


def test_link_is_accepted_from_any_epoch(engine: sa.Engine) -> None:
    """An owner that lost its claim still brings a link home; its other answers count no more."""
    stale = ours(engine, call(), "r1")
    send(engine, stale)
    with engine.begin() as connection:
        claim_doubts(connection, [1], "r2", [])
    settle(engine, stale, State.REJECTED)
    assert row(engine, "SELECT state FROM operation") == ("in_doubt",)
    settle(engine, stale, State.DONE, "lnk_1")
    assert row(engine, "SELECT state FROM operation") == ("done",)


def test_two_ids_for_one_key_raise_an_alarm(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Both links are kept, the first stays in use, and the log says so loudly."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.DONE, "lnk_1")
    settle(engine, operation, State.DONE, "lnk_2", number=2)
    assert row(engine, "SELECT COUNT(*) FROM link") == (2,)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_1",)
    assert "two links under one idempotency key" in caplog.text


def test_alarm_is_raised_whoever_comes_second(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The first attempt's link is noticed though the replay's link came before it."""
    stale = ours(engine, call(), "r1")
    send(engine, stale)
    with engine.begin() as connection:
        [taken] = claim_doubts(connection, [1], "r2", [])
    send(engine, taken, "r2", number=2)
    settle(engine, taken, State.DONE, "lnk_2", number=2)
    assert "two links" not in caplog.text
    settle(engine, stale, State.DONE, "lnk_1", number=1)
    assert "two links under one idempotency key" in caplog.text


def test_one_id_for_two_rows_gives_both_their_link(engine: sa.Engine) -> None:
    """Should Incarts answer two keys with one link, each row has it."""
    for key in ("1", "2"):
        operation = ours(engine, call(key))
        send(engine, operation)
        settle(engine, operation, State.DONE, "lnk_1")
    assert row(engine, "SELECT COUNT(*) FROM link JOIN row USING (op_id, link_id)") == (2,)


def test_link_for_the_history_leaves_the_row_alone(engine: sa.Engine) -> None:
    """Older content that was in doubt gets its link into the history, not into use."""
    first = ours(engine, call(content="a"))
    send(engine, first)
    settle(engine, first, State.DONE, "lnk_a")
    second = ours(engine, call(content="b", expected=first.op_id))
    send(engine, second)
    settle(engine, replace(second, for_history=True), State.DONE, "lnk_b")
    assert row(engine, "SELECT link_id FROM row") == ("lnk_a",)
    assert row(engine, "SELECT COUNT(*) FROM link") == (2,)


def test_refused_content_is_parked(engine: sa.Engine) -> None:
    """What the API refused is not sent again, unless asked for, or until its content changes."""
    operation = ours(engine, call())
    send(engine, operation)
    settle(engine, operation, State.REJECTED)
    assert claim(engine, call())[0] is Claim.MOVED
    again = claim(engine, call(), retry=True)[1]
    assert again is not None
    assert again.idempotency_key != operation.idempotency_key
    assert claim(engine, call(content="b"), "r2")[0] is Claim.OURS


def test_liveness(engine: sa.Engine) -> None:
    """A run lives while its lease holds and its process does; a dead local process is seen."""
    me = Process.current()
    gone = Process(
        host=me.host,
        pid=2**22 - 1,
        pid_namespace=me.pid_namespace,
        started="1",
        boot_id=me.boot_id,
    )
    elsewhere = Process(host="far", pid=7, pid_namespace="x", started="1", boot_id="other")
    later = Stamp(wall=NOW.wall + 31, boot=NOW.boot + 31, boot_id=NOW.boot_id)
    with engine.begin() as connection:
        start_run(connection, "mine", ["s"], me, NOW)
        start_run(connection, "killed", ["s"], gone, NOW)
        start_run(connection, "far", ["s"], elsewhere, NOW)
        assert set(living_runs(connection, me, NOW)) == {"mine", "far"}
        assert living_runs(connection, me, later) == {}
        end_run(connection, "mine", "finished", NOW)
        assert set(living_runs(connection, me, NOW)) == {"far"}


def test_taken_operation_follows_the_link_in_use(engine: sa.Engine) -> None:
    """An intent that is taken up later replaces the link that its row uses by then."""
    first = ours(engine, call(content="a"))
    send(engine, first)
    settle(engine, first, State.DONE, "lnk_1")
    ours(engine, call(content="b", expected=first.op_id))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE operation SET follows_op_id = 99 WHERE op_id = 2")
    ours(engine, call(content="b", expected=first.op_id), run="r2")
    assert row(engine, "SELECT follows_op_id FROM operation WHERE op_id = 2") == (first.op_id,)


def test_runs_name_link_sets_with_spaces(engine: sa.Engine) -> None:
    """A link set's name may have a space; the rows of earlier versions are still read."""
    me = Process.current()
    with engine.begin() as connection:
        start_run(connection, "new", ["summer sale", "s"], me, NOW)
        start_run(connection, "old", [], me, NOW)
        connection.exec_driver_sql("UPDATE run SET link_sets = 'a b' WHERE run_id = 'old'")
        living = living_runs(connection, me, NOW)
    assert living["new"].link_sets == {"summer sale", "s"}
    assert living["old"].link_sets == {"a", "b"}


def journaled(engine: sa.Engine, work: Callable[[Journal], object]) -> None:
    """Run an asynchronous piece of work with a journal."""

    async def run() -> None:
        async with Journal(engine, FILE, "r1") as journal:
            await work(journal)  # type: ignore[misc]

    asyncio.run(run())


def test_journal_is_durable_before_it_answers(engine: sa.Engine) -> None:
    """`mark_sent` returns only once another connection sees `sent`."""
    operations = [ours(engine, call(str(i))) for i in range(50)]

    async def work(journal: Journal) -> None:
        async def one(operation: Operation) -> None:
            sent = Sent(
                operation=operation,
                number=1,
                correlation_id="c",
                api_key_fingerprint="fp",
                at=NOW,
            )
            assert await journal.mark_sent(sent)
            with sqlite3.connect(f"file:{FILE}?mode=ro", uri=True) as reader:
                [state] = reader.execute(
                    "SELECT state FROM operation WHERE op_id = ?", (operation.op_id,)
                ).fetchone()
            reader.close()
            assert state == "sent"

        await asyncio.gather(*(one(operation) for operation in operations))

    journaled(engine, work)


def test_journal_records_what_waits_when_it_closes(engine: sa.Engine) -> None:
    """Answers recorded without waiting are on disk after the journal has closed."""
    operation = ours(engine, call())
    send(engine, operation)

    async def work(journal: Journal) -> None:
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", link=Link(id="lnk_9"))
        journal.record(
            Outcome(operation=operation, state=State.DONE, at=NOW, number=1, answer=answer)
        )

    journaled(engine, work)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_9",)


def test_one_jobs_error_is_its_own(engine: sa.Engine) -> None:
    """A piece of work that fails is undone; what is recorded beside it is on disk."""
    first, second = ours(engine, call("1")), ours(engine, call("2"))
    send(engine, first)
    gathered = threading.Event()

    def fails(connection: sa.Connection) -> None:
        start_run(connection, "refused", ["s"], Process.current(), NOW)
        raise RefusedError("Another run is at work.", guard="running")

    async def work(journal: Journal) -> None:
        sent = Sent(
            operation=second, number=1, correlation_id="c", api_key_fingerprint="fp", at=NOW
        )
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", link=Link(id="lnk_1"))
        waiting = [asyncio.create_task(journal.run(lambda _: gathered.wait(30)))]
        await asyncio.sleep(0)
        journal.record(Outcome(operation=first, state=State.DONE, at=NOW, number=1, answer=answer))
        waiting += [
            asyncio.create_task(journal.run(fails)),
            asyncio.create_task(journal.mark_sent(sent)),
        ]
        await asyncio.sleep(0)
        gathered.set()  # what was asked meanwhile is one group
        _, refused, marked = await asyncio.gather(*waiting, return_exceptions=True)
        assert (type(refused), marked) == (RefusedError, True)
        assert (journal.broken, list(journal.unrecorded)) == (None, [])

    journaled(engine, work)
    assert row(engine, "SELECT link_id FROM row") == ("lnk_1",)
    assert row(engine, "SELECT state FROM operation WHERE row_key = '2'") == ("sent",)
    assert row(engine, "SELECT COUNT(*) FROM run") == (0,)


def test_journal_says_when_it_can_not_record(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked ledger fails the mark, keeps the answers, and records them once it can."""
    engine.dispose()
    monkeypatch.setattr("incarts_pipeline.sqlite.BUSY_SECONDS", 0.05)
    quick = prepare_file(FILE, HOST)
    first, second = ours(quick, call("1")), ours(quick, call("2"))
    send(quick, first)
    other = sqlite3.connect(FILE, isolation_level=None, check_same_thread=False)

    async def work(journal: Journal) -> None:
        other.execute("BEGIN IMMEDIATE")
        answer = Answer(kind=AnswerKind.LINK, correlation_id="c", link=Link(id="lnk_1"))
        journal.record(Outcome(operation=first, state=State.DONE, at=NOW, number=1, answer=answer))
        sent = Sent(
            operation=second, number=1, correlation_id="c", api_key_fingerprint="fp", at=NOW
        )
        with pytest.raises(LedgerError, match="locked"):
            await journal.mark_sent(sent)
        assert [o.operation.op_id for o in journal.unrecorded] == [first.op_id]
        other.execute("ROLLBACK")
        await journal.flush()
        assert list(journal.unrecorded) == []

    journaled(quick, work)
    other.close()
    assert row(quick, "SELECT link_id FROM row") == ("lnk_1",)
    quick.dispose()
