"""Every place that writes a file does it in the one way, with the right mode."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_state_path
from pydantic import SecretStr

from incarts_pipeline import file_writer
from incarts_pipeline.cli.review import evidence
from incarts_pipeline.dataframes import LinksResult, plan_links, write_links
from incarts_pipeline.errors import PublishError
from incarts_pipeline.ledger import copy_database, once, prepare_file
from incarts_pipeline.maintenance import backup_ledger, restore_ledger, verify_links
from incarts_pipeline.rate_limit import memory
from incarts_pipeline.rate_limit.limit import Learned, LimitKind
from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.settings import Settings
from incarts_pipeline.settings.trusted_hosts import keep_trusted, trusted_host
from incarts_pipeline.suggest import suggestion_of
from tests.support.paths import ROOT
from tests.support.runs import Run, products
from tests.test_file_writer import mode, umask

LIBRARY = ROOT / "incarts_pipeline"
GIVEN: dict[str, Any] = {"link_set": "test", "unique_key": "sku", "progress": False}
Write = Callable[["World", Path], object]


class World:
    """A run that was made, and what it was made with."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self._runs = settings, 0
        self.result = self.run(Path("made.parquet"))

    def run(self, path: Path) -> LinksResult:
        """Make links that differ from those before, so that there is something to write."""
        self._runs += 1
        rows = products(2, name=[f"{self._runs}", f"{self._runs} more"])
        return write_links(rows, settings=self.settings, output=path, **GIVEN)

    def save_plan(self, path: Path) -> None:
        """Save a plan, with its frame beside it."""
        del (given := dict(GIVEN))["progress"]
        with plan_links(products(2), settings=self.settings, **given) as plan:
            plan.save(path)

    def suggest(self, path: Path) -> None:
        """Write the mapping that a table most likely means."""
        suggestion_of(products(2), {}, None).save(path)


@pytest.fixture
def world(box: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    """A finished run in the folder."""
    for name in ("api_key", "base_url", "project_id"):
        monkeypatch.setenv(f"INCARTS_{name.upper()}", getattr(box, name))
    monkeypatch.setenv("INCARTS_LEDGER", str(settings.ledger))
    return World(settings)


# By the module whose call writes: what leads there, the file, and whether it is private.
WRITERS: dict[str, tuple[Write, str, bool]] = {
    "publish/files.py": (lambda w, p: w.run(p), "links.parquet", False),
    "maintenance/verify.py": (
        lambda w, p: verify_links(w.result.output, w.settings, output=p),
        "verified.parquet",
        False,
    ),
    "display/reporting.py": (
        lambda w, p: write_links(products(2), settings=w.settings, report=p, **GIVEN),
        "run.html",
        False,
    ),
    "dataframes/result.py": (lambda w, p: w.result.qr_sheet(p), "sheet.html", False),
    "dataframes/link.py": (lambda w, p: w.result.link(0).save(p), "code.svg", False),
    "dataframes/plan.py": (
        lambda w, p: w.save_plan(p.with_name("night.incarts")),
        "night.catalog.parquet",
        True,
    ),
    "plan/plan_file.py": (World.save_plan, "night.incarts", True),
    "suggest/suggestion.py": (World.suggest, "mapping.yaml", False),
}
# Those that have no place of the caller's: tested below, or by the module that is named.
OTHERS = {
    "cli/review.py": "test_evidence",
    "cli/demo_run.py": "tests/cli/test_demo.py: into a new folder of its own",
    "plan/signature.py": "tests/plan/test_signature.py",
    "publish/publish.py": "calls write_table",
    "publish/history_parts.py": "calls write_table",
    "dagster/component.py": "tests/end_to_end/dagster: the scaffold of a new project",
    "maintenance/destinations.py": "write_table, as verify",
    "settings/trusted_hosts.py": "test_what_the_program_keeps_for_itself",
    "rate_limit/memory.py": "test_what_the_program_keeps_for_itself",
    "rate_limit/shared_file.py": "test_what_the_program_keeps_for_itself",
    "ledger/sqlite/ledger_file.py": "test_what_the_program_keeps_for_itself",
    "ledger/sqlite/witness.py": "test_what_the_program_keeps_for_itself",
    "ledger/sqlite/relocation.py": "tests/ledger/test_relocation.py: test_witness_goes_along",
    "ledger/sqlite/moved.py": "test_backups_and_what_is_put_back",
    "maintenance/ledger_files.py": "test_backups_and_what_is_put_back",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_modes_links_and_ends(world: World, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    """New: as the umask says, or private. Again: its mode is kept. Broken off: the old one stays.

    A symbolic link: refused.
    """
    write, name, private = WRITERS[writer]
    place = Path(name)
    for mask, shared in ((0, 0o666), (0o077, 0o600)):
        place.unlink(missing_ok=True)
        with umask(mask):
            write(world, place)
        assert mode(place) == (0o600 if private else shared)
    for kept in (0o640, 0o600):
        place.chmod(kept)
        with umask(0):
            write(world, place)
        assert mode(place) == kept
    assert ended_whole(lambda: write(world, place), place, monkeypatch)
    place.rename("victim")
    place.symlink_to("victim")
    before = Path("victim").read_bytes()
    with pytest.raises(PublishError, match="is a symbolic link to victim"):
        write(world, place)
    assert (place.is_symlink(), Path("victim").read_bytes()) == (True, before)


def ended_whole(write: Callable[[], object], place: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Break a write off before the new file gets its name; say whether the old one is whole."""
    before = place.read_bytes()

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(file_writer, "_rename", ended)
        with suppress(KeyboardInterrupt, PublishError):
            write()
    return place.read_bytes() == before and not list(place.parent.glob(".incarts-*"))


def test_evidence(world: World, box: Sandbox, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """It has bodies and keys: for its owner alone, whole or not at all, and through no link."""
    box.fail_next("lost_after", times=100)
    run(products(3), until=1)
    place = Path("evidence.json")
    with umask(0):
        evidence(output=place)
    assert mode(place) == 0o600
    place.chmod(0o640)
    evidence(output=place)
    assert mode(place) == 0o640
    assert ended_whole(lambda: evidence(output=place), place, monkeypatch)
    place.rename("victim")
    place.symlink_to("victim")
    before = Path("victim").read_bytes()
    with pytest.raises(PublishError, match="symbolic link"):
        evidence(output=place)
    assert Path("victim").read_bytes() == before


def test_what_the_program_keeps_for_itself(world: World) -> None:
    """A new ledger and all beside it are the owner's alone; where it is open, they are as open."""
    learned = Learned(kind=LimitKind.OPEN, rate=10.0)
    with umask(0):
        memory.remember("https://api.example.com", "0" * 16, learned)
        keep_trusted(trusted_host(SecretStr("ic_live_of_a_test"), "api.example.com"))
        for ledger, wanted in ((Path("new.db"), 0o600), (Path("open.db"), 0o660)):
            if wanted != 0o600:
                ledger.touch()
                ledger.chmod(wanted)
            settings = world.settings.model_copy(
                update={"ledger": ledger.absolute(), "rate": "adaptive"}
            )
            write_links(products(2), settings=settings, output=f"{ledger}.parquet", **GIVEN)
            found = {
                one.name: mode(one) for one in Path().glob(f"{ledger}*") if one.suffix != ".parquet"
            }
            assert {f"{ledger}{end}" for end in ("", ".witness", ".sent", "-pace")} <= set(found)
            assert set(found.values()) == {wanted}, found
    assert mode(memory.memory_path("https://api.example.com", "0" * 16)) == 0o600
    [kept] = [
        file
        for file in user_state_path("incarts").glob("hosts/*.json")
        if "example" in file.read_text()
    ]
    assert mode(kept) == 0o600


def test_the_ledgers_log(settings: Settings) -> None:
    """SQLite's own files are as open as the ledger, while somebody has it open."""
    with umask(0):
        engine = prepare_file(settings.ledger, settings.base_url)
        with once(settings.ledger, read_only=True) as connection:
            found = {one.name: mode(one) for one in Path().glob("ledger.db*")}
            copy_database(connection, Path("ledger.db.rescued-run"))
        engine.dispose()
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm"} <= set(found)
    assert set(found.values()) == {0o600}
    assert mode(Path("ledger.db.rescued-run")) == 0o600


def test_backups_and_what_is_put_back(world: World) -> None:
    """A backup is the owner's alone; one that is put back is as open as the ledger was."""
    ledger = Path(world.settings.ledger)
    Path("link.db").symlink_to("victim.db")
    with umask(0):
        backup_ledger("backup.db", world.settings)
        with pytest.raises(PublishError, match="symbolic link"):
            backup_ledger("link.db", world.settings)
        ledger.chmod(0o640)
        restored = restore_ledger("backup.db", world.settings)
    assert (mode(Path("backup.db")), mode(ledger)) == (0o600, 0o640)
    assert restored.moved_aside is not None
    assert mode(restored.moved_aside) == 0o640
    assert not Path("victim.db").exists()


# What writes by itself, and why it may: file and function.
ALLOWED = {
    ("file_writer.py", "*"): "the one place",
    ("system.py", "open_file"): "it makes none; the witness appends to what make_empty made",
    ("system.py", "_synced"): "nothing is written, it is only brought to the disk",
    ("ledger/sqlite/moved.py", "_take_log_away"): "a log gets another name",
    ("ledger/sqlite/moved.py", "copy_database"): "a copy of SQLite's into a file of make_empty",
    ("ledger/sqlite/engine.py", "connect"): "SQLite, on a file of make_empty",
    ("ledger/sqlite/bulk_read.py", "_here"): "reads",
    ("settings/trusted_hosts.py", "_in_file"): "reads",
    ("ledger/sqlite/bulk_read.py", "_elsewhere"): "reads",
    ("dataframes/plan.py", "save"): "Parquet, to the writer's open file",
    ("maintenance/ledger_files.py", "_moved_aside"): "a ledger gets another name",
    ("rate_limit/shared_file.py", "_connect"): "SQLite, on a file of make_empty",
    ("rate_limit/shared_file.py", "waiting_now"): "reads",
    ("catalog/files.py", "_standard_input"): "a file without a name",
    ("engine/records.py", "__init__"): "a file without a name",
    ("engine/spool.py", "__init__"): "a file without a name",
    ("publish/state_files.py", "write"): "Parquet, into memory; put in place by `put`",
}
NAMED = {
    *("write_text", "write_bytes", "touch", "mkstemp", "NamedTemporaryFile", "TemporaryFile"),
    *("copyfile", "copy2", "move", "rename", "renames", "symlink_to", "hardlink_to", "write_table"),
}
READING = {"", "r", "rb"}


def writes(call: ast.Call) -> bool:
    """Say whether a call may write a file by itself."""
    func = call.func
    owner = (
        func.value.id
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)
        else ""
    )
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    first = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else ""
    if name == "open" and owner == "os":
        return True
    if name == "open":
        mode = call.args[1].value if len(call.args) > 1 and isinstance(func, ast.Name) else first
        modes = {str(mode)} | {str(k.value.value) for k in call.keywords if k.arg == "mode"}
        return any(set(one) & set("wax+") and len(one) <= 3 for one in modes - READING)
    if name == "replace" and owner != "dataclasses" and isinstance(func, ast.Attribute):
        return len(call.args) == 1 and not call.keywords
    if name == "connect":
        return owner == "sqlite3"
    return name in NAMED and owner != "self" and not (name == "write_table" and not owner)


def found_in(file: Path) -> Iterator[tuple[str, str, int]]:
    """Yield file, function and line of each call that writes by itself."""
    name = str(file.relative_to(LIBRARY))

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = (
                child.name
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                else function
            )
            if isinstance(child, ast.Call) and writes(child):
                yield name, function, child.lineno
            yield from walk(child, inner)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")), "")


def test_nothing_else_writes_files() -> None:
    """Whoever writes a file calls the writer; the exceptions are listed with their reason."""
    found = {
        (name, function, line)
        for file in LIBRARY.rglob("*.py")
        if "sandbox" not in file.relative_to(LIBRARY).parts  # which shares nothing with the flow
        for name, function, line in found_in(file)
    }
    unknown = {one for one in found if not {one[:2], (one[0], "*")} & set(ALLOWED)}
    assert unknown == set()
    places = {one[:2] for one in found} | {(name, "*") for name, _, _ in found}
    assert set(ALLOWED) - places == set()  # an exception goes when what it is for does


CALLED = {"write_file", "new_file", "write_table", "make_empty", "put_in_place"}


def test_each_writer_is_tried() -> None:
    """A module that calls the writer is in one of the tables above."""
    found = set()
    for file in LIBRARY.rglob("*.py"):
        calls = (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call))
        if any(getattr(call.func, "id", "") in CALLED for call in calls):
            found.add(str(file.relative_to(LIBRARY)))
    assert found - {"file_writer.py"} == set(WRITERS) | set(OTHERS)


@pytest.mark.parametrize(
    "code",
    [
        "open(p, 'w')",
        "p.open('wb')",
        "os.open(p, f)",
        "p.write_text(x)",
        "part.replace(p)",
        "open(p, mode='a')",
        "pq.write_table(t, p)",
        "sqlite3.connect(p)",
    ],
)
def test_the_search_finds_writers(code: str) -> None:
    """And leaves readers and texts alone."""
    assert writes(ast.parse(code).body[0].value)
    for reads in ("open(p)", "p.open('rb')", "text.replace('a', 'b')", "duckdb.connect(p)"):
        assert not writes(ast.parse(reads).body[0].value)
