from .api_key import checked_key as checked_key, key_fingerprint as key_fingerprint
from .environment import check_proxy as check_proxy, tls_context as tls_context
from .resolved import (
    CallSettings as CallSettings,
    ClientSettings as ClientSettings,
    LedgerSettings as LedgerSettings,
    PlanSettings as PlanSettings,
    ResolvedSettings as ResolvedSettings,
)
from .settings import (
    FILE_NAME as FILE_NAME,
    MOST as MOST,
    Settings as Settings,
    checked_base_url as checked_base_url,
    is_loopback as is_loopback,
    load_settings as load_settings,
    parse_duration as parse_duration,
)
