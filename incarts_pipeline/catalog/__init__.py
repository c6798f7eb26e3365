"""The catalog: any table as a stream of Arrow record batches, in bounded memory.

Every kind of source is turned into batches once, at this door, and the caller's own table is never
changed. All columns of a CSV are text, so that ids keep their zeros.
"""

from incarts_pipeline.catalog.opening import open_catalog
from incarts_pipeline.catalog.stream import Catalog

__all__ = ["Catalog", "open_catalog"]
