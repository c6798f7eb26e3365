"""Retailers: whose a page is by its host, and where the item's id stands in its address."""

from __future__ import annotations

from dataclasses import dataclass

from incarts_pipeline.models import Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Retailer:
    """One retailer's pages.

    Attributes:
        name: what `retailer` is, or what its pages are called where no intent of its own exists.
        host: a pattern (RE2) of its hosts.
        item: a pattern with one group, the item's id in an address.
        intent: what its items are linked with; None where only an address will do.
    """

    name: str
    host: str
    item: str
    intent: Intent | None = None

    @property
    def address(self) -> str:
        """Return a pattern of its addresses."""
        return rf"(?i)^\s*https?://(?:[\w-]+\.)*(?:{self.host})(?:[:/?#]|$)"


# Walmart Canada and Mexico have items of their own, which walmart.com doesn't know.
RETAILERS = (
    Retailer(
        name="walmart",
        host=r"walmart\.com",
        item=r"/ip/(?:[^/?#]+/)*(\d+)(?:[/?#]|$)",
        intent=Intent.ADD_TO_CART,
    ),
    Retailer(
        name="target",
        host=r"target\.com",
        item=r"/A-(\d+)",
        intent=Intent.PRODUCT_DETAIL,
    ),
    Retailer(name="instacart", host=r"instacart\.c(?:om|a)", item=r"/products/(\d+)"),
    Retailer(
        name="amazon",
        host=r"amazon\.(?:com|ca|co\.uk|de|fr|it|es|com\.mx|com\.au|co\.jp|in|nl|se|pl|ae)",
        item=r"/(?:dp|gp/product|gp/aw/d)/([A-Z0-9]{10})(?:[/?#]|$)",
    ),
    Retailer(name="walmart_ca", host=r"walmart\.ca", item=r"/ip/(?:[^/?#]+/)*(\w+)(?:[/?#]|$)"),
    Retailer(name="kroger", host=r"kroger\.com", item=r"/p/(?:[^/?#]+/)?(\d+)(?:[/?#]|$)"),
    Retailer(name="ebay", host=r"ebay\.(?:com|co\.uk|de)", item=r"/itm/(?:[^/?#]+/)?(\d+)"),
    Retailer(name="etsy", host=r"etsy\.com", item=r"/listing/(\d+)"),
    Retailer(name="costco", host=r"costco\.com", item=r"\.product\.(\d+)\.html"),
)
