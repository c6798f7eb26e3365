"""Shapes of tables that people have: exports and feeds, each with a few invented rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A file, and what a mapping of it must say.

    Attributes:
        file: its name.
        text: what is in it.
        key: the columns that say what a row is.
        name: the column of names.
        links: how many links it asks for, once the address of its shop is known.
        page: the page of its first link's product; None where its products have none.
        shop: what a person has to say of where its products are, if the file doesn't.
    """

    file: str
    text: str
    key: tuple[str, ...]
    name: str
    links: int
    page: str | None = None
    shop: str | None = None

    def write(self) -> str:
        """Write the file into the working directory, and return its name."""
        Path(self.file).write_text(self.text, encoding="utf-8")
        return self.file


def _table(*rows: str) -> str:
    return "\n".join(rows) + "\n"


SHOPIFY = Shape(
    file="products_export.csv",
    text=_table(
        "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,"
        "Variant SKU,Variant Inventory Qty,Variant Price,Image Src,Image Position,Status",
        "clay-mug,Clay Mug,<p>Holds tea.</p>,Oakhollow,Mugs,clay,true,Color,Red,MUG-R,4,12.50,"
        "https://cdn.shopify.com/s/files/1/mug-red.jpg,1,active",
        "clay-mug,,,,,,,,Blue,MUG-B,0,12.50,https://cdn.shopify.com/s/files/1/mug-blue.jpg,2,",
        "clay-mug,,,,,,,,,,,,https://cdn.shopify.com/s/files/1/mug-both.jpg,3,",
        "pine-tray,Pine Tray,<p>Carries mugs.</p>,Oakhollow,Trays,pine,true,Title,Default Title,"
        "TRAY,9,30,https://cdn.shopify.com/s/files/1/tray.jpg,1,active",
        "old-jug,Old Jug,<p>Gone.</p>,Oakhollow,Jugs,clay,false,Title,Default Title,JUG,0,20,"
        "https://cdn.shopify.com/s/files/1/jug.jpg,1,draft",
    ),
    key=("Handle",),
    name="Title",
    links=2,
    page="https://www.oakhollow.example/products/clay-mug",
    shop="https://www.oakhollow.example",
)
SHOPIFY_2025 = Shape(
    file="products_export_2.csv",
    text=_table(
        "Title,URL handle,Description,Vendor,Published on online store,Status,SKU,Option1 name,"
        "Option1 value,Price,Product image URL",
        "Clay Mug,clay-mug,Holds tea.,Oakhollow,TRUE,Active,MUG-R,Color,Red,12.50,"
        "https://cdn.shopify.com/mug.jpg",
        ",clay-mug,,,,,MUG-B,,Blue,12.50,",
        "Pine Tray,pine-tray,Carries mugs.,Oakhollow,TRUE,Active,TRAY,Title,Default Title,30,"
        "https://cdn.shopify.com/tray.jpg",
    ),
    key=("URL handle",),
    name="Title",
    links=2,
    page="https://www.oakhollow.example/products/clay-mug",
    shop="https://www.oakhollow.example/",
)
WOOCOMMERCE = Shape(
    file="wc-product-export.csv",
    text=_table(
        "ID,Type,SKU,Name,Published,Is featured?,Visibility in catalog,Regular price,Categories,"
        "Images,Parent,External URL,Position",
        '31,variable,tee,Tea Towel,1,0,visible,,Kitchen,"https://shop.oakhollow.example/wp-content/'
        'uploads/tee.png, https://shop.oakhollow.example/wp-content/uploads/tee-2.png",,,0',
        "32,variation,tee-red,Tea Towel - Red,1,0,visible,9,,"
        "https://shop.oakhollow.example/wp-content/uploads/red.png,tee,,0",
        '33,"variation, virtual",tee-pdf,Tea Towel - Pattern,1,0,visible,2,,'
        "https://shop.oakhollow.example/wp-content/uploads/pdf.png,tee,,1",
        "34,simple,apron,Apron,1,1,visible,25,Kitchen,"
        "https://shop.oakhollow.example/wp-content/uploads/apron.png,,,2",
        "35,external,gift,Gift Card,1,0,visible,10,Kitchen,"
        "https://shop.oakhollow.example/wp-content/uploads/gift.png,,https://gifts.example/,3",
        "36,simple,glove,Oven Glove,-1,0,visible,8,Kitchen,"
        "https://shop.oakhollow.example/wp-content/uploads/glove.png,,,4",
    ),
    key=("ID",),
    name="Name",
    links=3,
    page="https://shop.oakhollow.example/?p=31",
)
WOOCOMMERCE_IMPORT = Shape(
    file="import.csv",
    text=_table(
        "Type,SKU,Name,Published,Visibility in catalog,Regular price,Images,Parent,BUTTON TEXT",
        "simple,APRON,Kitchen Apron,1,visible,25,"
        "http://oakhollow.example/shop/wp-content/uploads/apron.jpg,,",
        "external,,Gift Card,1,visible,10,,,Buy it there",
        "variable,TOWEL,Tea & Towel,1,visible,,"
        "http://oakhollow.example/shop/wp-content/uploads/towel.jpg,,",
        "variation,,,1,visible,9,http://oakhollow.example/shop/wp-content/uploads/red.jpg,TOWEL,",
    ),
    key=("Name",),
    name="Name",
    links=3,
    page="https://oakhollow.example/shop/?post_type=product&s=Kitchen%20Apron",
)
GOOGLE_TSV = Shape(
    file="merchant_feed.tsv",
    text=_table(
        "id\ttitle\tdescription\tlink\timage_link\tprice\tsale_price\tavailability\tbrand\tgtin\t"
        "quantity",
        "tea_01\tGreen Tea 100 G\tA tin.\thttps://teas.example/p?id=tea_01&c=green\t"
        "https://pics.example/300x300?text=Green+Tea\t12.00 EUR\t10.00 EUR\tin stock\tOakhollow\t"
        "4006381333931\t100 G",
        "tea_02\tBlack Tea 250 G\tA bag.\thttps://teas.example/p?id=tea_02&c=black\t"
        "https://pics.example/300x300?text=Black+Tea\t15.00 EUR\t\tin stock\tOakhollow\t"
        "4006381333948\t1",
    ),
    key=("id",),
    name="title",
    links=2,
    page="https://teas.example/p?id=tea_01&c=green",
)
GOOGLE_XML = Shape(
    file="merchant_feed.xml",
    text=_table(
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>',
        "<title>Teas</title><link>https://teas.example</link>",
        "<item><g:id>tea_01</g:id><title>شاي أخضر</title><link>https://teas.example/p/tea_01</link>"
        "<g:image_link>https://teas.example/i/1.webp</g:image_link><g:price>12 AED</g:price>"
        "<g:availability>in stock</g:availability></item>",
        "<item><g:id>tea_02</g:id><title>شاي أسود</title><link>https://teas.example/p/tea_02</link>"
        "<g:image_link>https://teas.example/i/2.webp</g:image_link><g:price>15 AED</g:price>"
        "<g:availability>in stock</g:availability></item>",
        "</channel></rss>",
    ),
    key=("id",),
    name="title",
    links=2,
    page="https://teas.example/p/tea_01",
)
GOOGLE_JSON = Shape(
    file="merchant_feed.json",
    text='{"feed_info": {"title": "Teas", "link": "https://teas.example/"}, "products": ['
    '{"id": "tea_1", "title": "Green", "price": "12.00 AED", "image": "https://pics.example/a?w=4",'
    ' "link": "https://teas.example/p?id=tea_1", "availability": "in stock"},'
    '{"id": "tea_2", "title": "Black", "price": "15.00 AED", "image": "https://pics.example/b?w=4",'
    ' "link": "https://teas.example/p?id=tea_2", "availability": "in stock"}]}',
    key=("id",),
    name="title",
    links=2,
    page="https://teas.example/p?id=tea_1",
)
NUMBERED_JSON = Shape(
    file="all-products.json",
    text='{"products": ['
    '{"id": 1, "nameAR": "شاي أخضر", "nameEN": "Green Tea", "category": "tea", "priceAED": 29},'
    '{"id": 2, "nameAR": "شاي أسود", "nameEN": "Black Tea", "category": "tea", "priceAED": 34},'
    '{"id": 3, "nameAR": "قهوة", "nameEN": "Coffee", "category": "coffee", "priceAED": 39}],'
    ' "summary": {"total": 3, "categories": {"tea": 2}}}',
    key=("id",),
    name="nameEN",
    links=3,
    page="https://teas.example/p/1",
    shop="https://teas.example/p/{id}",
)
PRESTASHOP = Shape(
    file="products_import.csv",
    text=_table(
        "Product ID;Active (0/1);Name *;Categories (x,y,z...);Price tax excluded;Reference #;"
        "Manufacturer;EAN13;Quantity;URL rewritten;Image URLs (x,y,z...);ID / Name of shop",
        "4;1;Oak Bench;Garden;100;B-4;Oakhollow;4006381333931;16;oak-bench;"
        "http://localhost/shop/img/p/1/1.jpg,http://localhost/shop/img/p/1/2.jpg;0",
        "9;1;Ash Stool;Garden;25;S-9;Oakhollow;4006381333931;25;ash-stool;"
        "http://localhost/shop/img/p/9/1.jpg;0",
        "12;0;Old Chair;Garden;25;C-12;Oakhollow;4006381333931;0;old-chair;;0",
    ),
    key=("Product ID",),
    name="Name *",
    links=2,
    page="https://oak.example/index.php?controller=product&id_product=4",
    shop="https://oak.example",
)
PRESTASHOP_16 = Shape(
    file="products-1.6.csv",
    text=_table(
        "ID;Active (0/1);Name *;Price tax excluded or Price tax included;Reference #;;;;Weight;"
        "Quantity;Description;URL rewritten;ID / Name of shop ",
        "1;1;Oak Bench;100;B-1;0.6;0.2;0.4;7;160;<p>Long.</p>;oak-bench;",
        "2;1;Ash Stool;60;S-2;0.1;0.1;0.1;3;120;<p>Small.</p>;ash-stool;",
    ),
    key=("ID",),
    name="Name *",
    links=2,
    page="https://oak.example/shop/index.php?controller=product&id_product=1",
    shop="https://oak.example/shop/",
)
MAGENTO = Shape(
    file="catalog_product.csv",
    text=_table(
        "sku,store_view_code,attribute_set_code,product_type,product_websites,name,url_key,price,"
        "product_online,visibility,qty",
        'L-1,,Default,simple,base,Oil Lamp,oil-lamp,40.0000,1,"Catalog, Search",7.0000',
        "L-1,german,Default,simple,,Öllampe,oellampe,,,,",
        'L-2,,Default,simple,base,Wick,wick,2.0000,1,"Catalog, Search",70.0000',
        "L-2-S,,Default,simple,base,Wick S,wick-s,2.0000,1,Not Visible Individually,5.0000",
    ),
    key=("sku",),
    name="name",
    links=2,
    page="https://lamps.example/oil-lamp.html",
    shop="https://lamps.example",
)
MAGENTO_1 = Shape(
    file="export_all_products.csv",
    text=_table(
        '"store","websites","attribute_set","type","sku","name","url_key","url_path","price",'
        '"status","visibility","qty","store_id","product_name"',
        '"admin","base","Default","simple","10-44-1","Oil Lamp","oil-lamp","lamps/oil-lamp.html",'
        '"40.0000","Enabled","Catalog, Search","7.0000","0","Oil Lamp"',
    ),
    key=("sku",),
    name="name",
    links=1,
    page="https://lamps.example/lamps/oil-lamp.html",
    shop="https://lamps.example",
)
BIGCOMMERCE = Shape(
    file="bigcommerce.csv",
    text=_table(
        "Item,ID,Name,Type,SKU,Options,Price,Brand ID,Product URL",
        "Product,77,Wool Rug,physical,RUG,,200,1,/wool-rug/",
        "Variant,88,,,RUG-S,Type=Rectangles|Name=Size|Value=S,,,",
        "Product,78,Jute Rug,physical,JUTE,,90,1,/jute-rug/",
    ),
    key=("ID",),
    name="Name",
    links=2,
    page="https://rugs.example/wool-rug/",
    shop="https://rugs.example",
)
NO_PRODUCTS = Shape(
    file="foods.csv",
    text=_table(
        'Ingrédient,"Facteur GES',
        ' kg CO2 par kg",',
        'Riz,"2,3",carbon:fr:Riz',
        '"Blé, entier ","1,1","carbon:fr:Blé, entier"',
        '"Olives ""du Sud""","1,7","carbon:fr:Olives ""du Sud"""',
    ),
    key=("Ingrédient",),
    name="Ingrédient",
    links=3,
    page="https://foods.example/f?q=Riz",
    shop="https://foods.example/f?q={Ingrédient}",
)
SCRAPED = Shape(
    file="scraped.csv",
    text=_table(
        "Name,Category,Product ID,Product URL,Price,Rating",
        "Oat Flakes,Breakfast,00054,https://www.grocer.example/oats/p/00054,£1.99 each,3.8 of 5",
        "Oat Flakes,Offers,00054,https://www.grocer.example/oats/p/00054,£1.99 each,3.8 of 5",
        "Rye Bread,Bakery,00991,https://www.grocer.example/rye/p/00991,£2.49 ,",
    ),
    key=("Product ID",),
    name="Name",
    links=2,
    page="https://www.grocer.example/oats/p/00054",
)
SHAPES = (
    *(SHOPIFY, SHOPIFY_2025, WOOCOMMERCE, WOOCOMMERCE_IMPORT, GOOGLE_TSV, GOOGLE_XML),
    *(GOOGLE_JSON, NUMBERED_JSON, PRESTASHOP, PRESTASHOP_16, MAGENTO, MAGENTO_1, BIGCOMMERCE),
    *(NO_PRODUCTS, SCRAPED),
)
