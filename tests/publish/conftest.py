"""An object store for what is published, which keeps what it was asked for."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.stores import Store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 server on this machine with the bucket `links`."""
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # All servers of a process share what they keep.
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"))
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="links")
    made = Store(client, f"endpoint_override={host}:{port}&scheme=http&region=us-east-1")
    assert server._server is not None
    server._server.app = made.listening(server._server.app)  # type: ignore[attr-defined]
    yield made
    client.close()
    server.stop()


@pytest.fixture
def bucket(store: Store) -> str:
    """An S3 bucket on this machine, as the options of a URI."""
    return store.options
