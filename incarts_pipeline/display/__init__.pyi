from .html.codes import code_png as code_png, code_svg as code_svg, encoded as encoded
from .html.failures import FAILED as FAILED
from .html.link_card import link_card as link_card
from .html.plan_card import plan_card as plan_card
from .html.plan_page import plan_page as plan_page
from .html.report import Reported as Reported, run_report as run_report
from .html.result_card import LINKS as LINKS, result_card as result_card
from .html.sheet import qr_sheet as qr_sheet
from .html.suggestion_card import suggestion_card as suggestion_card
from .remedies import REASONS as REASONS, came_to as came_to
from .summary import (
    COUNTED_FROM_0 as COUNTED_FROM_0,
    calls_to_make as calls_to_make,
    changed_lines as changed_lines,
    figures_lines as figures_lines,
    forbidden_lines as forbidden_lines,
    last_night as last_night,
    left_lines as left_lines,
    made_line as made_line,
    nights_lines as nights_lines,
    pending_rows as pending_rows,
    problem_groups as problem_groups,
)
from .tones import TONES as TONES, Tone as Tone
