from .accept import accepting as accepting
from .default import (
    check_told as check_told,
    default_mapping as default_mapping,
    own_columns as own_columns,
)
from .expressions import (
    Column as Column,
    Constant as Constant,
    Members as Members,
    Name as Name,
    Node as Node,
    Source as Source,
    Template as Template,
    ValueKind as ValueKind,
    columns_of as columns_of,
    named as named,
    named_group as named_group,
    names_of as names_of,
    parse_source as parse_source,
)
from .mapping import (
    LinkMapping as LinkMapping,
    LocationMapping as LocationMapping,
    Mapping as Mapping,
    ProductMapping as ProductMapping,
    ReadMapping as ReadMapping,
    TooLong as TooLong,
    TrackingMapping as TrackingMapping,
    for_set as for_set,
    load_mapping as load_mapping,
    mapping_content as mapping_content,
)
from .presets import (
    PRESETS as PRESETS,
    RETAILER as RETAILER,
    SHOP as SHOP,
    Condition as Condition,
    Preset as Preset,
    page_of as page_of,
    preset_named as preset_named,
    where_of as where_of,
)
from .reading import mapping_file as mapping_file
from .type_rules import is_list as is_list, is_text as is_text
from .where import (
    Compared as Compared,
    Filled as Filled,
    Filter as Filter,
    Inverted as Inverted,
    Value as Value,
    Where as Where,
)
