"""An object store with a catalog."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server with a bucket; returns the query that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        query = f"?endpoint_override={host}:{port}&scheme=http"
        store, _ = fs.FileSystem.from_uri(f"s3://shop/x{query}&allow_bucket_creation=true")
        store.create_dir("shop")
        for number in ("0045", "0046"):
            with store.open_output_stream(f"shop/cat/store={number}/a.parquet") as out:
                pq.write_table(pa.table({"sku": ["01"]}), out)
        with store.open_output_stream("shop/a.csv") as out:
            out.write(b"sku,n\n01,2\n")
        yield query
    server.stop()
