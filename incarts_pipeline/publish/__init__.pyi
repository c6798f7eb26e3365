from .files import (
    check_place as check_place,
    exists as exists,
    resolve as resolve,
    write_table as write_table,
)
from .output import (
    Output as Output,
    Owner as Owner,
    Published as Published,
    facts_of as facts_of,
    metadata_of as metadata_of,
)
from .ownership import (
    check_newest as check_newest,
    check_output as check_output,
    check_owner as check_owner,
    check_replaceable as check_replaceable,
)
