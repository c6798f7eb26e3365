from .api_key import checked_key as checked_key, key_fingerprint as key_fingerprint
from .environment import check_proxy as check_proxy, tls_context as tls_context
from .files import FILE_NAME as FILE_NAME, own_file as own_file
from .hosts import (
    checked_base_url as checked_base_url,
    host_of as host_of,
    is_loopback as is_loopback,
    named_host as named_host,
)
from .key_sources import check_private as check_private
from .ledger_place import LedgerPlace as LedgerPlace
from .loading import load_settings as load_settings
from .resolved import (
    CallSettings as CallSettings,
    ClientSettings as ClientSettings,
    LedgerSettings as LedgerSettings,
    PlanSettings as PlanSettings,
    ResolvedSettings as ResolvedSettings,
)
from .settings import MOST as MOST, TRY_IT as TRY_IT, Settings as Settings
from .spellings import parse_duration as parse_duration
from .trusted_hosts import (
    FACT as FACT,
    TrustedHost as TrustedHost,
    keep_trusted as keep_trusted,
    kept_hosts as kept_hosts,
    trusted_host as trusted_host,
    withdraw as withdraw,
)
