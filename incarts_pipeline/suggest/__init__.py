"""Suggest: what a table most likely means, as a mapping with a comment on each guess."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
