"""Publication: what the ledger says of each row → Parquet tables, replaced atomically."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
