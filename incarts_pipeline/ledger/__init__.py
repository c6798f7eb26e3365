"""Ledger: the memory of what was sent, one SQLite file, its states, and its one writer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
