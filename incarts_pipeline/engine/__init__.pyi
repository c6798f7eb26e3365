from .blocks import (
    NUMBERS as NUMBERS,
    look as look,
    numbered_block as numbered_block,
    typed_block as typed_block,
    values_of as values_of,
)
from .buckets import compared as compared, links_by_bucket as links_by_bucket
from .hashes import SEEN as SEEN, seen as seen
from .nights import Night as Night
from .passed import PASSED as PASSED, What as What, batch_of as batch_of
from .snapshot import STATE as STATE, Before as Before
from .spool import Spool as Spool
from .stamp import stamp_of as stamp_of
from .work import Work as Work, needs_buckets as needs_buckets, other_rows as other_rows
from .workers import prepared as prepared, prepared_block as prepared_block
