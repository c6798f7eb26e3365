"""Frames in, frames out: `plan_links`, `write_links`, their results and notebook cards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
