"""Preparation: batches of a table → link requests with key, body, hash and problems. Pure."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
