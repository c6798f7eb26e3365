"""Words of headers: which names of columns mean which part of a link, the surest first.

Names are plain words (`profile.plain_word`): lower case, without accents and signs.
"""

from __future__ import annotations

# What a row is: what a shop's own program numbers is surer than what people spell.
KEY = (
    *("sku", "item_sku", "product_sku", "variant_sku", "seller_sku", "item_id", "product_id"),
    *("offer_id", "article_id", "id", "item_number", "item_no", "article_number", "article_no"),
    *("artikelnummer", "artikelnr", "product_code", "item_code", "code", "reference", "ref"),
    *("handle", "url_key", "slug", "asin", "tcin", "us_item_id", "item_group_id", "mpn"),
    *("gtin", "gtin13", "gtin14", "upc", "upc_code", "ean", "ean13", "barcode", "isbn"),
    *("product_number", "referencia", "codigo", "kod", "key"),
)
# Named like a key, and changed by sorting the table anew.
COUNTERS = ("index", "row", "row_id", "row_number", "no", "nr", "position", "rank", "unnamed_0", "")
NAME = (
    *("title", "product_title", "item_title", "name", "product_name", "item_name", "item"),
    *("product", "display_name", "label", "name_en", "title_en", "name_english", "bezeichnung"),
    *("produktname", "artikelname", "nom", "nom_du_produit", "titre", "libelle", "nombre"),
    *("titulo", "nome", "ingredient", "naam"),
)
BRAND = ("brand", "vendor", "manufacturer", "brand_name", "marke", "hersteller", "marque", "marca")
PRICE = (
    *("price", "sale_price", "regular_price", "variant_price", "list_price", "unit_price", "cost"),
    *("price_tax_excluded", "price_tax_excluded_or_price_tax_included", "preis", "prix", "precio"),
)
IMAGE = (
    *("image_link", "image", "image_url", "image_src", "images", "image_urls_x_y_z", "picture"),
    *("product_image_url", "photo", "thumbnail", "img", "bild", "small_image"),
)
PAGE = (
    *("link", "url", "product_url", "product_link", "item_url", "page_url", "canonical_url"),
    *("product_page", "web_url", "landing_page", "destination_url", "deeplink", "permalink"),
    *("canonical_link", "href", "website", "lien", "enlace"),
)
QUANTITY = ("quantity", "qty", "order_quantity", "order_qty", "menge", "quantite", "cantidad")
WALMART_ID = (
    *("walmart_item_id", "walmart_id", "us_item_id", "retailer_product_id", "item_id"),
    *("walmart_product_id", "product_id", "sku", "id"),
)
BACKUPS = ("backup_product_ids", "alternates", "substitutes", "backups")
ZIP_CODE = ("zip_code", "zip", "zipcode", "postal_code")
STORE = ("store_id", "store", "store_number")
UTM = ("source", "medium", "campaign", "term", "content")
FALLBACK = ("fallback_url", "fallback")
PRIORITY = ("priority", "margin")
PINNED = ("pinned", "printed")
