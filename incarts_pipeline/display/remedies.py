"""Remedies: what each reason and broken rule means, and what to do, in one table for all.

The shell, the cards and the run report say the same, because they say it from here; the docs'
troubleshooting page has the same codes, with more words. The keys are closed sets; tests see to it
that none is left out, here or there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from incarts_pipeline.models import SUSPICIONS, NoteCode, ProblemCode, Reason, Status
from incarts_pipeline.text import Option, OptionText


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What something means, and what to do about it.

    `fix` is empty when nothing is to be done. `done` says what happened, where a run did what the
    reason asks for.
    """

    meaning: str
    fix: str = ""
    done: str = ""


RUN_AGAIN = "Run the same again to go on; nothing is made twice."
# Which of the two it is, only Incarts' own records can tell.
REVIEW = (
    "Look it up with `incarts review list`; then `incarts review adopt KEY LINK_ID` if the link "
    "exists, or `incarts review recreate KEY` if it doesn't."
)
_AS_TEXT = "in a frame or spreadsheet, keep the column as text."


def _accept(code: Reason, fix: str) -> OptionText:
    """Return what to do about a suspicion: put it right, or accept it."""
    option = Option(name="accept", value=[code.value], stand_in=code.value)
    return OptionText(f"{fix} If the values are right, ", option, " lets them through.")


# Meanings go on a sentence, "create: no link yet", so they begin small and have no full stop.
REASONS: Mapping[Reason, Fix] = {
    Reason.NEW: Fix(meaning="no link yet", done="new: its link was made"),
    Reason.CHANGED: Fix(
        meaning="content changed", done="content changed: a new link was made for it"
    ),
    Reason.CHANGED_BACK: Fix(
        meaning="content is back to one that has a link",
        done="content is back to one that has a link: it uses that again",
    ),
    Reason.REKEYED: Fix(
        meaning="has left the catalog under another key",
        done="has the link that it had under another key",
    ),
    Reason.SAME: Fix(meaning="link is up to date"),
    Reason.IGNORED_CHANGE: Fix(meaning="changed only where that is ignored"),
    Reason.ANSWER_UNKNOWN: Fix(
        meaning="sent, answer unknown",
        fix="Run again soon: it is settled first, under its own key and bytes.",
    ),
    Reason.NEEDS_REVIEW: Fix(meaning="may exist at Incarts; needs a person", fix=REVIEW),
    Reason.EARLIER_IN_DOUBT: Fix(
        meaning="older content is in doubt",
        fix="Settle the older content first: run again soon, or see `incarts review list`.",
    ),
    Reason.POLICY_HOLD: Fix(
        meaning="changed, and the policy says hold",
        fix="To let the change through, set on_change of that group to replace (or ignore).",
    ),
    Reason.PINNED: Fix(
        meaning="changed, but the link is pinned",
        fix="Its code is in use as it is. To make a new link, clear the row's pinned column.",
    ),
    Reason.LOOKS_REKEYED: Fix(
        meaning="new, with the content of a row that left the catalog",
        fix=OptionText(
            *("The same rows under other keys? ", Option(name="rekeyed", value="move")),
            *(" moves their links over. Other rows? ", Option(name="rekeyed", value="new")),
            " makes new ones.",
        ),
    ),
    Reason.LOOKS_LIKE_GTIN: Fix(
        meaning="held: an item id looks like a GTIN, the number of a barcode",
        fix=_accept(Reason.LOOKS_LIKE_GTIN, "Map the column with the retailer's own item ids."),
    ),
    Reason.LOOKS_ROUNDED: Fix(
        meaning="held: an item id looks rounded, as spreadsheets do from the 16th digit on",
        fix=_accept(Reason.LOOKS_ROUNDED, f"Take the ids from their source again; {_AS_TEXT}"),
    ),
    Reason.NOT_ONE_ID: Fix(
        meaning="held: an item id looks like an address, or like several ids",
        fix=_accept(Reason.NOT_ONE_ID, "Take the one id out of it: extract, or split."),
    ),
    Reason.LOOKS_EMPTY: Fix(
        meaning="held: a name or a part of a key may stand for an empty cell",
        fix=_accept(Reason.LOOKS_EMPTY, "Fill the cell in, or leave it empty."),
    ),
    Reason.LOOKS_CONVERTED: Fix(
        meaning="held: a key is written as a spreadsheet writes numbers, dates or truth",
        fix=_accept(Reason.LOOKS_CONVERTED, f"Take the keys from their source again; {_AS_TEXT}"),
    ),
    Reason.ODD_CHARACTER: Fix(
        meaning="held: a name has a character that nobody sees, or that was garbled",
        fix=_accept(Reason.ODD_CHARACTER, "Remove the character that the message names."),
    ),
    Reason.LOST_ZEROS: Fix(
        meaning="held: a key is shorter than those beside it, which begin with zeros",
        fix=_accept(Reason.LOST_ZEROS, f"Write the key with its zeros; {_AS_TEXT}"),
    ),
    Reason.PRIVATE_HOST: Fix(
        meaning="held: only its own network can open a URL",
        fix=_accept(Reason.PRIVATE_HOST, "Write the shop's public host."),
    ),
    Reason.PLACEHOLDER_IN_URL: Fix(
        meaning="held: something in a URL seems not to be filled in",
        fix=_accept(Reason.PLACEHOLDER_IN_URL, "Write what belongs there."),
    ),
    Reason.NOT_HTTPS: Fix(
        meaning="held: a URL begins with http://",
        fix=_accept(Reason.NOT_HTTPS, "Write https://, which nearly every shop has."),
    ),
    Reason.NON_ASCII_HOST: Fix(
        meaning="held: a URL's host has letters beyond a to z",
        fix=_accept(Reason.NON_ASCII_HOST, "Write the host as the message spells it: xn--…."),
    ),
    Reason.DEAD_DESTINATION: Fix(
        meaning="held: a URL led nowhere when it was checked",
        fix=_accept(
            Reason.DEAD_DESTINATION, "Correct the URL; if it works again, run `incarts check` anew."
        ),
    ),
    Reason.INVALID: Fix(
        meaning="breaks a rule; see problems", fix="Correct the row, and run again."
    ),
    Reason.DUPLICATE_KEY: Fix(
        meaning="rows share a key but differ",
        fix="Keep one of the rows, or add a column to unique_key.",
    ),
    Reason.REFUSED_BY_API: Fix(
        meaning="refused by Incarts",
        fix=OptionText(
            "Correct what the message names; the row is tried again once it has changed, or with ",
            Option(name="retry_rejected", value=True),
            ".",
        ),
    ),
    Reason.NO_PRODUCTS: Fix(meaning="no link wanted"),
    Reason.OVER_LIMIT: Fix(
        meaning="over the limit given", fix=f"{RUN_AGAIN} A higher limit does more."
    ),
    Reason.OUT_OF_TIME: Fix(meaning="out of the time given", fix=RUN_AGAIN),
    Reason.STOPPED: Fix(meaning="the run was stopped", fix=RUN_AGAIN),
    Reason.CIRCUIT_OPEN: Fix(
        meaning="the run had to end early",
        fix="See why the run ended, put that right, and run again: nothing is made twice.",
    ),
    Reason.ENQUEUED: Fix(
        meaning="waits for a worker",
        fix="Run `incarts work`, as often and on as many hosts as you like; then publish again.",
    ),
    Reason.NOT_ENQUEUED: Fix(
        meaning="not enqueued since it was planned", fix="Enqueue again, or apply."
    ),
    Reason.CLAIMED_ELSEWHERE: Fix(
        meaning="another run is sending it", fix="Run again when the other run is over."
    ),
    Reason.CHANGED_ELSEWHERE: Fix(meaning="another run moved it on", fix="Plan again, and run."),
}

# Texts rather than one enum as keys: problems, notes and a reason share the column `problems`.
PROBLEMS: Mapping[str, Fix] = {
    ProblemCode.MISSING: Fix(
        meaning="a required value is empty", fix="Fill it in, or give the mapping a default."
    ),
    ProblemCode.NO_MATCH: Fix(
        meaning="`extract` finds nothing in the value",
        fix="Correct the value, or the mapping's regular expression.",
    ),
    ProblemCode.TOO_LONG: Fix(
        meaning="too many characters", fix="Shorten it; names may be cut by on_too_long: truncate."
    ),
    ProblemCode.NOT_A_COUNT: Fix(
        meaning="a quantity that is no whole number from 1 on", fix="Correct the quantity."
    ),
    ProblemCode.OVER_LIMIT: Fix(
        meaning="over a limit", fix="Make it smaller, or raise the limit in the settings."
    ),
    ProblemCode.SPREADSHEET_ERROR: Fix(
        meaning="a spreadsheet's error in place of a value",
        fix="Correct the cell's formula, or leave the cell empty.",
    ),
    ProblemCode.SPREADSHEET_TEXT: Fix(
        meaning="a formula, or text with a spreadsheet's mark before it",
        fix="Write the plain value, without = and quotes.",
    ),
    ProblemCode.NO_VALUE: Fix(
        meaning="a word that stands for an empty cell",
        fix="Fill the cell in, or leave it empty.",
    ),
    ProblemCode.INVISIBLE_CHARACTER: Fix(
        meaning="a character that nobody sees", fix="Remove it; the message says where it is."
    ),
    ProblemCode.REPEATS_HEADER: Fix(
        meaning="the row is the header once more",
        fix="Remove the row, or put files together without their headers.",
    ),
    ProblemCode.NUMBER_LIKE_ID: Fix(
        meaning="an id that is written as a number",
        fix=f"Write the id's own digits; {_AS_TEXT}",
    ),
    ProblemCode.WHITE_SPACE: Fix(meaning="an id has white space in it", fix="Remove it."),
    ProblemCode.NOT_A_ZIP_CODE: Fix(
        meaning="not a ZIP code of five digits",
        fix="Write all five digits, without the four of a ZIP+4 (extract: '^(\\d{5})' in the "
        f"mapping); {_AS_TEXT}",
    ),
    ProblemCode.STORE_WITHOUT_ZIP_CODE: Fix(
        meaning="a store without a ZIP code", fix="Map zip_code too, or leave store_id out."
    ),
    ProblemCode.NOT_A_URL: Fix(
        meaning="not an http(s) URL",
        fix="Begin it with https://, name a host, and encode its spaces.",
    ),
    ProblemCode.CREDENTIALS_IN_URL: Fix(
        meaning="a URL with a user's name or password",
        fix="Remove what stands before @, and change the password if it was one.",
    ),
    ProblemCode.HTML_IN_URL: Fix(
        meaning="a URL as HTML writes it", fix="Write & for &amp;, and so on."
    ),
    ProblemCode.UNKNOWN_INTENT: Fix(
        meaning="an intent that isn't known",
        fix="Use custom_url, add_to_cart, product_detail, shopping_list or recipe.",
    ),
    ProblemCode.UNKNOWN_RETAILER: Fix(
        meaning="a retailer that isn't known",
        fix="Correct it, use the intent custom_url, or set allow_unknown: true.",
    ),
    ProblemCode.WRONG_RETAILER: Fix(
        meaning="the intent belongs to another retailer", fix="Change the intent or the retailer."
    ),
    ProblemCode.WRONG_CASE: Fix(
        meaning="not in lower case, or white space around it",
        fix="Write it as the message does, or in the mapping, as a constant, where all rows are "
        "the same.",
    ),
    ProblemCode.NEEDED: Fix(
        meaning="the intent can't do without a field", fix="Fill the field, or map it."
    ),
    ProblemCode.NOT_A_FLAG: Fix(
        meaning="`pinned` is neither true nor false",
        fix="Use true, false, 1, 0, yes, no, y, n or nothing.",
    ),
    ProblemCode.NOT_JSON: Fix(meaning="text that should be JSON isn't", fix="Correct the JSON."),
    ProblemCode.NOT_AN_OBJECT: Fix(meaning="JSON, but not an object", fix="Give an object: {...}."),
    ProblemCode.DUPLICATE_NAME: Fix(
        meaning="a JSON object has a name twice", fix="Keep one of them."
    ),
    ProblemCode.INEXACT_NUMBER: Fix(
        meaning="a JSON number that not every program reads alike", fix="Give it as text."
    ),
    ProblemCode.TOO_DEEP: Fix(meaning="JSON nested too deep", fix="Make it flatter."),
    ProblemCode.LONE_SURROGATE: Fix(
        meaning="text with half a character", fix="Encode the source as UTF-8."
    ),
    ProblemCode.EMPTY_KEY: Fix(
        meaning="a key column is empty", fix="Fill it in, or choose another unique_key."
    ),
    ProblemCode.NUL_IN_KEY: Fix(
        meaning="a key has a NUL character (U+0000)",
        fix="Remove it at the source, or choose another unique_key.",
    ),
    ProblemCode.EXPOSES_KEY: Fix(
        meaning="a value has an API key in it, or another secret",
        fix="Take it out of the catalog, and have the key replaced if others may have seen it.",
    ),
    ProblemCode.NO_LINK: Fix(
        meaning="a QR code is wanted for a row that has no link in this ledger",
        fix="Correct the row if it was rejected, and make its link with `incarts apply`; or point "
        "INCARTS_LEDGER at the ledger that has it.",
    ),
    ProblemCode.LINK_CHANGED: Fix(
        meaning="the table has another link than the row uses now",
        fix="Publish links.parquet again with `incarts apply`, and take that.",
    ),
    ProblemCode.NOT_AN_IDENTIFIER: Fix(
        meaning="not an identifier of a QR code", fix="Use 3 to 64 letters, digits and dashes."
    ),
    ProblemCode.IDENTIFIER_TAKEN: Fix(
        meaning="the link has a QR code of this identifier that the ledger doesn't know",
        fix="Take another identifier, or `incarts review adopt KEY QR_CODE_ID`.",
    ),
    ProblemCode.BASKET_DIFFERS: Fix(
        meaning="rows of one basket disagree about the link",
        fix="Give all rows of the basket the same link fields.",
    ),
    **{code: REASONS[code] for code in (Reason.LOOKS_REKEYED, *SUSPICIONS)},
    Reason.DUPLICATE_KEY: REASONS[Reason.DUPLICATE_KEY],
    NoteCode.TRUNCATED: Fix(meaning="the name was cut to 160 characters"),
    NoteCode.BACKUP_DROPPED: Fix(meaning="a backup was the product itself, or given twice"),
    NoteCode.PRIORITY_IGNORED: Fix(meaning="the priority is not a number"),
    NoteCode.KEY_PADDED: Fix(
        meaning="the unique key begins or ends with white space: without it the row is another one"
    ),
    NoteCode.ODD_ID: Fix(meaning="a product id is unlike nearly all others"),
    NoteCode.TAB_OR_BREAK: Fix(meaning="a name has a tab or a line break, and keeps it"),
    NoteCode.KEPT: Fix(meaning="a QR code keeps the name and metadata that it was made with"),
    NoteCode.NOT_ACTIVE: Fix(meaning="Incarts said that the link's status is not active"),
    NoteCode.SHARED_LINK: Fix(meaning="another row that leads to the same has this link as well"),
}

# Statuses of rows for which a run did what their reason asks for.
_DONE = frozenset({Status.CREATED, Status.REPLACED, Status.REUSED, Status.REKEYED})


def came_to(status: Status, reason: Reason) -> str:
    """Return in words why a row has its status once a run is over: what happened, or didn't."""
    own = REASONS[reason]
    return own.done if status in _DONE and own.done else own.meaning
