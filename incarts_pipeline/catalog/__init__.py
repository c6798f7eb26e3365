"""Catalog: any table as a stream of Arrow record batches, in bounded memory.

Every kind of source is turned into batches once, here, and the caller's own table is never
changed. All columns of a CSV are text, so that ids keep their zeros.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
