"""Dataframe functions, frames in and out: `plan_links`, `write_links`, results and cards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
