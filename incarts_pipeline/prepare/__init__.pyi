from .columns import Columns as Columns
from .cores import on_all_cores as on_all_cores
from .dead_destinations import DeadDestinations as DeadDestinations, Reach as Reach
from .partition import Chosen as Chosen, Partition as Partition
from .placed import Placed as Placed, numbered as numbered
from .problems import Findings as Findings
from .qr_codes import (
    code_requests as code_requests,
    request_schema as request_schema,
)
from .qr_mapping import choose_mapping as choose_mapping
