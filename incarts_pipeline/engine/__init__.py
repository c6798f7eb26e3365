"""Engine: pure work on parts of a catalog, from Arrow to Arrow, wherever it is carried out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
