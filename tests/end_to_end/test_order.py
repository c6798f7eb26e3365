"""The order of things: `sent` is in the ledger's file before a request is at the server."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from incarts_pipeline.sandbox import Sandbox
from incarts_pipeline.sandbox.config import Faults
from incarts_pipeline.settings import Settings
from tests.support.runs import Run, products
from tests.support.sqlite_files import opened

_LOOK = """
SELECT operation.state, attempt.sent_at IS NOT NULL, body.body = ?
FROM operation JOIN attempt USING (op_id) JOIN body USING (op_id)
WHERE operation.idempotency_key = ? AND attempt.correlation_id = ?
"""


class Witness(ThreadingHTTPServer):
    """Looks each request's key up in the ledger before it passes it on to the sandbox."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.seen: list[tuple[object, ...] | None] = []

    def look(self, key: str, correlation_id: str, body: bytes) -> None:
        """Remember what the ledger's file says of a request that is here now."""
        with opened("file:ledger.db?mode=ro", uri=True) as ledger:
            self.seen.append(ledger.execute(_LOOK, (body, key, correlation_id)).fetchone())


class _Handler(BaseHTTPRequestHandler):
    server: Witness
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        keys = (self.headers["idempotency-key"], self.headers["x-correlation-id"])
        self.server.look(*keys, body)
        onward = http.client.HTTPConnection(self.server.upstream)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            onward.request("POST", self.path, body, headers)
            reply = onward.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        finally:
            onward.close()
        self.send_response(reply.status)
        self.send_header("content-type", reply.headers.get("content-type", ""))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def witness(box: Sandbox) -> Iterator[Witness]:
    """A witness before a sandbox on which a fifth of the requests fail."""
    faults = Faults.spread(0.2).model_copy(update={"stall": 0.0, "late": 0.0})
    box.reconfigure(faults=faults)
    with Witness(box.base_url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_sent_is_durable_before_the_request_arrives(
    witness: Witness, box: Sandbox, run: Run, settings: Settings
) -> None:
    """For every request, first tries and replays: the key's `sent`, its attempt, and its bytes."""
    url = f"http://127.0.0.1:{witness.server_port}"
    result = run(products(300), base_url=url)
    assert result.exit_code() == 0
    assert len(witness.seen) == result.written.requests > 300
    assert set(witness.seen) == {("sent", 1, 1)}
    assert (box.audit().links, box.audit().duplicates) == (300, 0)
