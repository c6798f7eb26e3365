"""A PostgreSQL server for tests, of Debian's package: in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")
_USER = "nobody"  # whom the server runs as, where the tests run as root, which it refuses
_SECONDS = 60.0


def programs() -> Path | None:
    """Return the folder of the server's programs, None where it isn't installed."""
    found = [
        path
        for pattern in _PROGRAMS
        for path in sorted(Path("/").glob(pattern[1:]), reverse=True)
        if (path / "initdb").exists()
    ]
    on_path = shutil.which("initdb")
    return found[0] if found else Path(on_path).parent if on_path else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server: `folder` has its data, `port` its socket in it."""

    programs: Path
    folder: Path
    port: int

    def uri(self, database: str = "postgres", user: str = "owner") -> str:
        """Return how libpq finds a database of it."""
        return f"postgresql://{user}:pass-word-1@127.0.0.1:{self.port}/{database}"

    def control(self, *arguments: str) -> None:
        """Run pg_ctl with the server's data."""
        run([str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), *arguments])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.control("-w", "-t", "60", "-l", str(self.folder / "log"), "start")

    def answers(self) -> bool:
        """Say whether it takes connections."""
        import psycopg

        try:
            psycopg.connect(self.uri()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is what a crash is like."""
        self.control("-w", "-m", mode, "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby(Server):
    """A server that hears of all that another one does, a moment later."""

    def has_all_of(self, primary: Server) -> bool:
        """Say whether it has replayed what the other one has written."""
        [at] = ask(primary, "SELECT pg_current_wal_lsn()")
        [is_there] = ask(self, "SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false)", at)
        return bool(is_there)

    def stop_hearing(self) -> None:
        """Hear of nothing more, as one that is far behind."""
        ask(self, "ALTER SYSTEM SET primary_conninfo = ''")
        ask(self, "SELECT pg_reload_conf()")
        receives = "SELECT count(*) FROM pg_stat_wal_receiver"
        wait_for(lambda: ask(self, receives) == (0,))

    def promote(self) -> None:
        """Let it take over."""
        self.control("-w", "promote")


def ask(one: Server, query: str, *values: object) -> tuple[object, ...]:
    """Return the first row that a query finds on a server."""
    import psycopg

    with psycopg.connect(one.uri(), autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values or None)
        return (cursor.fetchone() or ()) if cursor.description else ()


@contextmanager
def standby_of(primary: Server) -> Iterator[Standby]:
    """Run an asynchronous standby of a server while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="incarts-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, "nogroup")
        one = Standby(programs=primary.programs, folder=folder, port=free_port())
        program = str(one.programs / "pg_basebackup")
        run([program, "-d", primary.uri(), "-D", str(folder / "data"), "-R", "-c", "fast"])
        configure(one, {})
        one.start()
        try:
            yield one
        finally:
            with suppress(AssertionError):
                one.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str]) -> str:
    """Run a program of the server's as somebody who may run it; return what it printed."""
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={_USER}", "--regid=nogroup", "--clear-groups", *command]
    # Not a pipe: the server that pg_ctl starts would keep it open.
    with tempfile.TemporaryFile() as told:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd="/")
        told.seek(0)
        said = told.read().decode(errors="replace")
    assert done.returncode == 0, f"{command}: {said}"
    return said


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def server(
    *, within: Path | None = None, log: Path | None = None, **settings: str
) -> Iterator[Server]:
    """Run a server while the block lasts; unless said otherwise it syncs nothing to the disk.

    Its data is in a new folder `within` another one, its write-ahead log in `log`, in small files.
    """
    found = programs()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="incarts-pg-", dir=within))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, "nogroup")
        one = Server(programs=found, folder=folder, port=free_port())
        apart = () if log is None else ("--waldir", str(log), "--wal-segsize", "1")  # megabyte
        make(one, {"fsync": "off", **settings}, *apart)
        one.start()
        try:
            yield one
        finally:
            with suppress(AssertionError):  # a test may have stopped it
                one.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(one: Server, settings: Mapping[str, str], *options: str) -> None:
    """Make a server's data with options of initdb, and the role `owner`, who may do all."""
    password = one.folder / "password"
    password.write_text("pass-word-1")
    password.chmod(0o644)
    run(
        [
            *(str(one.programs / "initdb"), "-D", str(one.folder / "data"), "-U", "owner"),
            *("--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8"),
            *("--no-sync", *options),
        ]
    )
    configure(one, settings)


def configure(one: Server, settings: Mapping[str, str]) -> None:
    """Append settings to a server's configuration."""
    lines = {
        "listen_addresses": "127.0.0.1",
        "port": str(one.port),
        "unix_socket_directories": str(one.folder),
        "shared_buffers": "16MB",
        "max_connections": "60",
        **settings,
    }
    text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
    file = one.folder / "data" / "postgresql.conf"
    with file.open("a", encoding="utf-8") as opened:
        opened.write(text)


def wait_for(what: object, seconds: float = _SECONDS) -> None:
    """Wait until a function says yes."""
    until = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
