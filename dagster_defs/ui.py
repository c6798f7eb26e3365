"""Dagster's UI on this code location, with a local Incarts beside it: `make ui`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from incarts_pipeline.sandbox import Sandbox

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDER = ROOT / "demo"
HOME = FOLDER / "dagster"


def main() -> None:
    """Run `dg dev` until Ctrl-C; its history and the ledger are in `demo`, and are kept."""
    if not HOME.exists():  # what `make demo` left is another Incarts'
        shutil.rmtree(FOLDER, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "dagster.yaml", HOME)
    with Sandbox(state=FOLDER / "sandbox.db", port=_known_port()) as box:
        (HOME / "sandbox-port").write_text(box.base_url.rpartition(":")[2])
        environment = os.environ | {
            "INCARTS_API_BASE_URL": box.base_url,
            "INCARTS_API_KEY": box.api_key,
            "INCARTS_PROJECT_ID": box.project_id,
            "INCARTS_LEDGER": str(FOLDER / "incarts-ledger.db"),
            "DAGSTER_HOME": str(HOME),
            "VIRTUAL_ENV": sys.prefix,
        }
        port = free_port()
        dg = [str(Path(sys.executable).with_name("dg"))]
        # A new DAGSTER_HOME is made once, before several processes race to do it.
        instance = [str(Path(sys.executable).with_name("dagster")), "instance", "info"]
        subprocess.run(instance, env=environment, cwd=ROOT, check=True, capture_output=True)
        process = subprocess.Popen(
            [*dg, "dev", "--port", str(port)],
            env=environment,
            cwd=ROOT,
            # Started from a script in the background, it would be deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        incarts = f"Incarts: {box.base_url}, its controls' token: {box.token}"
        print(f"Dagster: http://127.0.0.1:{port}  ({incarts})", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _known_port() -> int:
    """Return the sandbox's port of last time, which its ledger is bound to; 0 for any."""
    file = HOME / "sandbox-port"
    port = int(file.read_text()) if file.exists() else 0
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise SystemExit(
                f"Port {port}, which demo/incarts-ledger.db knows Incarts by, is taken ({error}). "
                "Free it, or begin anew with `make clean`."
            ) from error
    return port


if __name__ == "__main__":
    main()
