"""Forms of files on an object store: read as they are on a disk, and watched for changes."""

from __future__ import annotations

import gzip
import io

import openpyxl
import pytest
from pyarrow import fs

from incarts_pipeline.catalog import open_catalog
from incarts_pipeline.errors import CatalogError

ROW = {"sku": "0012"}


def workbook() -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["sku"])
    book.active.append(["0012"])
    book.save(content)
    return content.getvalue()


FORMS = {
    "a.xlsx": workbook,
    "a.json": lambda: b'{"shop": {"products": [{"sku": "0012"}]}}',
    "a.xml": lambda: b"<rss><channel><item><sku>0012</sku></item></channel></rss>",
    "a.json.gz": lambda: gzip.compress(b'[{"sku": "0012"}]'),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_on_a_store(bucket: str, name: str) -> None:
    """Each gives its rows, and a file that is written to is another catalog."""
    content = FORMS[name]()
    store, _ = fs.FileSystem.from_uri(f"s3://shop/x{bucket}")
    with store.open_output_stream(f"shop/{name}", compression=None) as out:
        out.write(content)
    catalog = open_catalog(f"s3://shop/{name}{bucket}")
    assert [row for batch in catalog.batches() for row in batch.to_pylist()] == [ROW]
    with store.open_output_stream(f"shop/{name}", compression=None) as out:
        out.write(content + b" ")
    with pytest.raises(CatalogError, match="changed after its reading began"):
        list(catalog.batches())
