from .client import (
    IncartsClient as IncartsClient,
    client_of as client_of,
    new_correlation_id as new_correlation_id,
)
from .endpoints import Endpoint as Endpoint, endpoint_of as endpoint_of
from .probe import Probe as Probe
from .responses import is_given_id as is_given_id, is_id as is_id
