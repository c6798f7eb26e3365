"""Mapping: which column of a table fills which field of a link, and the rules of both."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
