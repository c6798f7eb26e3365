"""Templates of URLs: each value percent-encoded, so that it is a value wherever it stands.

Source: RFC 3986, sections 2.1 and 2.3: everything but the unreserved characters is encoded, as
UTF-8. So a `#`, `?`, `/` or `%` in a SKU is the SKU's in a path, a query and a fragment alike.
"""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa

from incarts_pipeline.mapping import Template
from incarts_pipeline.prepare.json_columns import data_of, offsets_of

_UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
_KEPT = np.zeros(256, np.bool_)
_KEPT[list(_UNRESERVED)] = True
_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)


def is_encoded(template: Template, place: int) -> bool:
    """Return whether the value of a template's column at a place is encoded.

    One that is `raw` isn't, nor is one before the path: it is the host, or all of the URL up to
    there.
    """
    if place in template.raw:
        return False
    before = "".join(template.literals[: place + 1])
    # A column that the template begins with brings scheme and host itself.
    rest = before.partition("://")[2] if template.literals[0] else before
    return any(mark in rest for mark in "/?#")


def percent_encoded(texts: pa.StringArray) -> pa.StringArray:
    """Return texts of which all but letters, digits, `-`, `.`, `_` and `~` is percent-encoded."""
    data = data_of(texts)
    if not data.tobytes().translate(None, _UNRESERVED):
        return texts
    kept = _KEPT[data]
    ends = np.cumsum(np.where(kept, 1, 3))
    starts = np.concatenate([[0], ends])
    encoded = np.empty(starts[-1], np.uint8)
    places = starts[:-1]
    encoded[places] = np.where(kept, data, ord("%"))
    encoded[places[~kept] + 1] = _HEX[data[~kept] >> 4]
    encoded[places[~kept] + 2] = _HEX[data[~kept] & 15]
    offsets = starts[offsets_of(texts) - offsets_of(texts)[0]].astype(np.int32)
    valid = texts.is_valid().buffers()[1] if texts.null_count else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(encoded)]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers, texts.null_count)
