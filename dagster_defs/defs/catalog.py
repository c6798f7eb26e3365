"""The asset `incarts/catalog`: the sample products, as a nightly export would leave them."""

import shutil
from pathlib import Path

import dagster as dg

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_data" / "catalog.csv"
CATALOG = ROOT / "demo" / "catalog.csv"


class CatalogConfig(dg.Config):
    """Where the export is; the sample unless you say otherwise."""

    export: str = str(SAMPLE)


@dg.asset(key=["incarts", "catalog"], group_name="incarts", kinds={"csv"})
def catalog(config: CatalogConfig) -> dg.MaterializeResult[None]:
    """Copy the export to where the links' catalog is read from."""
    CATALOG.parent.mkdir(exist_ok=True)
    shutil.copyfile(config.export, CATALOG)
    rows = sum(1 for _ in CATALOG.open(encoding="utf-8")) - 1
    return dg.MaterializeResult(
        metadata={"lines": rows, "path": dg.MetadataValue.path(str(CATALOG))}
    )
