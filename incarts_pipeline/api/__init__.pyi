from .client import (
    IncartsClient as IncartsClient,
    client_of as client_of,
    new_correlation_id as new_correlation_id,
)
from .endpoints import LINKS as LINKS, QR_CODES as QR_CODES, Endpoint as Endpoint
from .probe import Probe as Probe
from .responses import is_id as is_id
