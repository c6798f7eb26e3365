"""In a real Jupyter kernel: progress, the interrupt button, and the same call again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from incarts_pipeline.sandbox import Sandbox
from tests.support.paths import SAMPLES
from tests.support.processes import wait_for_links

WAIT = 300.0
SETUP = """
import warnings
warnings.simplefilter("error")
import incarts_pipeline.pandas
from incarts_pipeline import awrite_links, write_links
from tests.support.runs import products
frame = products(100).to_pandas()
key = {"link_set": "test", "unique_key": "sku"}
"""


class Notebook:
    """A kernel that runs cells."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT)

    def start(self, cell: str) -> str:
        """Send a cell and return the id of its message."""
        return str(self.client.execute(cell))

    def end(self, cell_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return a cell's reply and its outputs, once it is done."""
        outputs, until = [], time.monotonic() + WAIT
        while time.monotonic() < until:
            message = self.client.get_iopub_msg(timeout=WAIT)
            if message["parent_header"].get("msg_id") != cell_id:
                continue
            if message["content"].get("execution_state") == "idle":
                break
            outputs.append({"type": message["msg_type"], **message["content"]})
        while (reply := self.client.get_shell_msg(timeout=WAIT))["parent_header"][
            "msg_id"
        ] != cell_id:
            pass
        return reply["content"], outputs

    def run(self, cell: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return self.end(self.start(cell))


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One sandbox, as the kernel's environment names it."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def notebook(shared: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A kernel in a folder of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    environment = os.environ | {
        "INCARTS_API_BASE_URL": shared.base_url,
        "INCARTS_API_KEY": shared.api_key,
        "INCARTS_PROJECT_ID": shared.project_id,
        "INCARTS_RATE": "fixed:none",
        "INCARTS_MAX_IN_FLIGHT": "2",
        "IPYTHONDIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(SAMPLES.parent), os.environ.get("PYTHONPATH", "")]),
    }
    manager = KernelManager()
    manager.start_kernel(env=environment, cwd=str(folder))
    kernel = Notebook(manager)
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def printed(outputs: list[dict[str, Any]], name: str) -> str:
    return "".join(
        one["text"] for one in outputs if one["type"] == "stream" and one["name"] == name
    )


@pytest.mark.slow
def test_interrupt_then_the_same_cell_again(notebook: Notebook, shared: Sandbox) -> None:
    """The interrupt button publishes and returns the result; running the cell again goes on."""
    assert notebook.run(SETUP)[0]["status"] == "ok"
    shared.reconfigure(latency=0.1)
    cell = notebook.start("result = frame.incarts.write(**key); print(result)")
    wait_for_links(shared, 10)
    notebook.manager.interrupt_kernel()
    reply, outputs = notebook.end(cell)
    assert reply["status"] == "ok", reply
    assert "Run the same cell or script again" in printed(outputs, "stderr")
    assert "pending    the run was stopped" in printed(outputs, "stdout")
    shown = [one["data"] for one in outputs if one["type"] == "update_display_data"]
    assert "<progress" in shown[-1]["text/html"]
    assert shown[-1]["text/plain"].startswith("links ")
    assert "/100" in shown[-1]["text/plain"]
    shared.reconfigure(latency=0.0)
    reply, outputs = notebook.run("result = await awrite_links(frame, **key); print(result.counts)")
    assert reply["status"] == "ok", reply
    assert "pending" not in printed(outputs, "stdout")
    assert printed(outputs, "stderr") == ""
    assert (shared.audit().links, shared.audit().duplicates) == (100, 0)


@pytest.mark.slow
def test_interrupting_an_awaited_cell(notebook: Notebook, shared: Sandbox) -> None:
    """An awaited cell that is interrupted stops cleanly as well, and says how to go on."""
    assert notebook.run(SETUP)[0]["status"] == "ok"
    shared.reconfigure(latency=0.1)
    before = shared.audit().links
    cell = notebook.start("key['link_set'] = 'awaited'; await awrite_links(frame, **key)")
    wait_for_links(shared, before + 10)
    notebook.manager.interrupt_kernel()
    reply, outputs = notebook.end(cell)
    assert reply["status"] == "error"
    assert "Run the same cell or script again" in printed(outputs, "stderr")
    shared.reconfigure(latency=0.0)
    reply, outputs = notebook.run("print((await awrite_links(frame, **key)).counts)")
    assert "pending" not in printed(outputs, "stdout")
    assert (shared.audit().links - before, shared.audit().duplicates) == (100, 0)
