"""HTML of plans, results, links, QR codes and runs: pure functions from data to text.

Everything is self-contained: no script, no font, no image from anywhere else, and every text from a
catalog or the API is escaped by the one builder that all of it is made with.
"""

from incarts_pipeline.display.codes import code_png, code_svg
from incarts_pipeline.display.link_card import link_card
from incarts_pipeline.display.plan_card import plan_card
from incarts_pipeline.display.report import Reported, run_report
from incarts_pipeline.display.result_card import result_card
from incarts_pipeline.display.sheet import qr_sheet

__all__ = [
    "Reported",
    "code_png",
    "code_svg",
    "link_card",
    "plan_card",
    "qr_sheet",
    "result_card",
    "run_report",
]
