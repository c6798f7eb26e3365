"""A pgbouncer for tests, of Debian's package: it gives each transaction any of few connections."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import postgres

_FOLDERS = "/usr/sbin:/usr/local/sbin"
_USER = "nobody"  # whom it runs as, where the tests run as root, which it refuses


def program() -> str | None:
    """Return the path of pgbouncer, None where it isn't installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_FOLDERS)


@contextmanager
def pooler(server: postgres.Server, *, connections: int) -> Iterator[int]:
    """Run a pooler in transaction mode before a server while the block lasts; yields its port."""
    found = program()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="incarts-pooler-"))
    port = postgres.free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        "[databases]\n"
        f"* = host=127.0.0.1 port={server.port} user=owner password=pass-word-1\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\n",
        encoding="utf-8",
    )
    command = [found, "-q", str(settings)]
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, "nogroup")
        settings.chmod(0o644)
        command = ["setpriv", f"--reuid={_USER}", "--regid=nogroup", "--clear-groups", *command]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/") as running:
        try:
            before = postgres.Server(programs=server.programs, folder=folder, port=port)
            postgres.wait_for(before.answers)
            yield port
        finally:
            running.terminate()
            shutil.rmtree(folder, ignore_errors=True)
