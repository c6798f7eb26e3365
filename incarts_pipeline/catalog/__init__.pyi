from .arrow_types import member_names as member_names
from .catalog import Catalog as Catalog, Part as Part, cannot_read as cannot_read
from .dataframes import from_dicts as from_dicts, from_pandas as from_pandas, is_pandas as is_pandas
from .extras import package as package
from .fingerprint import Fingerprint as Fingerprint, dataset_fingerprint as dataset_fingerprint
from .lake_uris import (
    DeltaUri as DeltaUri,
    TableVersion as TableVersion,
    delta_uri as delta_uri,
    is_delta_uri as is_delta_uri,
    table_place as table_place,
)
from .lakes import delta_storage as delta_storage
from .open import open_catalog as open_catalog
from .options import FORMATS as FORMATS
from .paths import would_read as would_read
