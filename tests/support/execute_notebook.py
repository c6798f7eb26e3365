"""Execution of one notebook, in a kernel of its own: `python -m tests.support.execute_notebook`.

Where a second path is given, cells may fail, and the notebook is stored there with its output.

It runs in a process apart from the tests', in which every warning is an error: Jupyter's client
leaves sockets to the garbage collector. Kernel and client talk over files, because ports that are
free when they are chosen may be taken when the kernel starts.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

_SECONDS = 120  # for each cell


def main(path: Path, stored: Path | None = None) -> None:
    """Run a notebook in its own folder; raises with the cell and its traceback where one fails."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "TMPDIR"):
            os.environ[name] = folder
        kernel = AsyncKernelManager(
            kernel_name="python3", transport="ipc", ip=str(Path(folder) / "kernel")
        )
        NotebookClient(
            notebook,
            timeout=_SECONDS,
            km=kernel,
            allow_errors=stored is not None,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute()
    if stored is not None:
        nbformat.write(notebook, stored)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
