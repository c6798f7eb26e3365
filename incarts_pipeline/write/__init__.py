"""Writer: carries a plan out; the only stage that calls the API."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
