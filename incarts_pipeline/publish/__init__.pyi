from .delta_columns import check_columns as check_columns
from .files import (
    as_delta as as_delta,
    check_place as check_place,
    exists as exists,
    files_of as files_of,
    resolve as resolve,
    write_table as write_table,
)
from .manifest import Manifest as Manifest
from .night_before import night_of as night_of, still_stands as still_stands
from .output import (
    Output as Output,
    Owner as Owner,
    Published as Published,
    facts_of as facts_of,
    is_folder as is_folder,
    metadata_of as metadata_of,
    within as within,
)
from .ownership import (
    check_newest as check_newest,
    check_output as check_output,
    check_owner as check_owner,
    check_replaceable as check_replaceable,
)
from .published_rows import (
    parts_of_history as parts_of_history,
    published_batches as published_batches,
    published_by as published_by,
    published_schema as published_schema,
    read_published as read_published,
)
