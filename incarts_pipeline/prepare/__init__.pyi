from .columns import Columns as Columns
from .partition import Chosen as Chosen, Partition as Partition
from .problems import Findings as Findings
from .qr_codes import (
    choose_mapping as choose_mapping,
    code_requests as code_requests,
    request_schema as request_schema,
)
