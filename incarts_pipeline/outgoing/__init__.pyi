from .characters import visible as visible
from .children import (
    environment_of_child as environment_of_child,
    environment_of_helper as environment_of_helper,
)
from .columns import (
    column_without_secrets as column_without_secrets,
    columns_without_secrets as columns_without_secrets,
    rows_with_secrets as rows_with_secrets,
)
from .keys import (
    SecretBytes as SecretBytes,
    SecretKey as SecretKey,
    SecretText as SecretText,
    fingerprint as fingerprint,
)
from .lacking_signs import STAND_INS as STAND_INS, fit as fit, fitting as fitting
from .logs import (
    SafeRecords as SafeRecords,
    logger_of as logger_of,
    records_of_run as records_of_run,
)
from .markdown import in_markdown as in_markdown
from .secrets import (
    MASK as MASK,
    SHAPE as SHAPE,
    SHORTEST as SHORTEST,
    holds_secret as holds_secret,
    keep_secret as keep_secret,
    searched_pattern as searched_pattern,
    without_secrets as without_secrets,
)
from .told import (
    safe as safe,
    safe_content as safe_content,
    shown as shown,
    shown_lines as shown_lines,
)
from .uris import (
    has_credentials as has_credentials,
    keep_credentials as keep_credentials,
    uri_place as uri_place,
    without_credentials as without_credentials,
)
