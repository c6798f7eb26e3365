from .arrow_types import member_names as member_names
from .catalog import Catalog as Catalog, cannot_read as cannot_read
from .dataframes import from_dicts as from_dicts, from_pandas as from_pandas, is_pandas as is_pandas
from .fingerprint import Fingerprint as Fingerprint, dataset_fingerprint as dataset_fingerprint
from .open import open_catalog as open_catalog
from .options import FORMATS as FORMATS
from .paths import would_read as would_read
