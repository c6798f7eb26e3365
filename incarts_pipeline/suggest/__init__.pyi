from .destination import PLACEHOLDER as PLACEHOLDER
from .findings import Answers as Answers, Finding as Finding
from .form import suggestion_of as suggestion_of
from .suggestion import (
    Suggestion as Suggestion,
    preset_text as preset_text,
    suggestion_for as suggestion_for,
)
from .yaml_text import flow as flow, shown as shown
