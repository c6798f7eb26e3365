"""Outgoing texts: what may be seen of them, wherever they go."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
