"""Display of plans, results, links, QR codes and runs: pure functions from data to text.

Everything is self-contained: no script, no font, no image from anywhere else, and every text from a
catalog or the API is escaped by the one builder that all of it is made with.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
