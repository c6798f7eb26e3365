"""Plan: link requests against the ledger → an action for each row, guards and a digest."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
