"""Problems of a batch: errors, suspicions and notes, collected by column and handed out by row."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.models import Problem, ProblemCode, Severity, severity_of
from incarts_pipeline.outgoing import column_without_secrets, rows_with_secrets
from incarts_pipeline.schemas import PROBLEM, PROBLEMS

Rows = npt.NDArray[np.int64]
_SHOWN = 80  # characters of a value in a message
# Odd spaces and what is drawn as nothing; joiners belong to emoji and to scripts.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u180b-\u180f\u2000-\u200b\u200e\u200f"
    "\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Findings:
    """Problems of `rows` rows: kept as columns, so that no row costs a Python object.

    Codes in `accepted` are not recorded.
    """

    def __init__(self, rows: int, accepted: Collection[str] = ()) -> None:
        self.rows = rows
        self.accepted = accepted
        self._found: list[tuple[Rows, str, str, pa.Array]] = []

    def add(self, where: pa.Array | Rows, field: str, code: str, *message: str | pa.Array) -> None:
        """Record a problem for each of some rows.

        Args:
            where: a mask over the rows, null counting as false, or their numbers.
            field: the path of the field at fault.
            code: a ProblemCode, a suspicion or a NoteCode.
            message: fixed texts, and arrays with a value per row of the batch, which are shown
                shortened; joined.
        """
        if code in self.accepted:
            return
        rows = where if isinstance(where, np.ndarray) else true_rows(where)
        # The usual case: joining messages is only paid for where something is wrong.
        if not len(rows):
            return
        # Values are taken before they are joined, so that a message costs only its own rows.
        parts = [part if isinstance(part, str) else shown(part.take(rows)) for part in message]
        if all(isinstance(part, str) for part in parts):
            texts = pa.repeat("".join(parts), len(rows))
        else:
            texts = pc.binary_join_element_wise(*parts, "")
        self._found.append((rows, field, code, texts))

    def add_texts(self, rows: Rows, field: str, code: str, texts: pa.Array) -> None:
        """Record ready messages, one for each of `rows`."""
        if len(rows) and code not in self.accepted:
            self._found.append((rows, field, code, texts))

    def replace(self, rows: Rows, field: str, code: str, message: str) -> None:
        """Record one problem of some rows in place of all that was found in them."""
        found = [(had, ~np.isin(had, rows), *rest) for had, *rest in self._found]
        self._found = [
            (had[kept], name, was, texts.filter(pa.array(kept)))
            for had, kept, name, was, texts in found
            if kept.any()
        ]
        self.add(rows, field, code, message)

    def absorb(self, parts: Findings, rows: Rows) -> None:
        """Take over what was found in parts of the rows.

        Args:
            parts: findings about parts, such as a list's elements.
            rows: the row that each part belongs to.
        """
        for found, field, code, texts in parts._found:
            self._found.append((rows[found], field, code, texts))

    def mask(self, field: str = "", code: str | None = None) -> npt.NDArray[np.bool_]:
        """Return which rows have an error, or that code, in fields whose path begins so."""
        found = np.zeros(self.rows, np.bool_)
        for rows, name, found_code, _ in self._found:
            # `options.instacart.recipe` includes what is wrong inside of it.
            asked = code == found_code if code else severity_of(found_code) is Severity.ERROR
            if asked and name.startswith(field):
                found[rows] = True
        return found

    def problems(self) -> list[Problem]:
        """Return everything as values, in the order of recording."""
        return [
            Problem(field=field, code=code, message=text)
            for _, field, code, texts in self._found
            for text in texts.to_pylist()
        ]

    def lists(self, without: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
        """Return each row's errors, suspicions and notes; none for rows in `without`."""
        if not self._found:
            return empty_lists(self.rows)
        rows = np.concatenate([rows for rows, *_ in self._found])
        severities = [severity_of(code) for _, _, code, _ in self._found]
        ranks = [
            np.full(len(f[0]), _RANKS[s]) for f, s in zip(self._found, severities, strict=True)
        ]
        # Stable, so that within a severity the order of the checks stays.
        order = np.lexsort((np.concatenate(ranks), rows))
        if without is not None:
            order = order[~without[rows[order]]]
        counts = np.bincount(rows[order], minlength=self.rows)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        sizes = [len(found) for found, *_ in self._found]
        found = (
            _repeated(severities, sizes),
            _repeated([field for _, field, _, _ in self._found], sizes),
            _repeated([code for _, _, code, _ in self._found], sizes),
            pa.concat_arrays([texts for *_, texts in self._found]),
        )
        columns = [column.take(pa.array(order)) for column in found]
        values = pa.StructArray.from_arrays(columns, fields=list(PROBLEM.fields))
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=PROBLEMS)


def placed(values: pa.Array, rows: Rows, count: int) -> pa.Array:
    """Return values of some of `count` rows at their places, for a message; others don't matter."""
    places = np.zeros(count, np.int64)
    places[rows] = np.arange(len(rows))
    return values.take(pa.array(places))


def _repeated(values: Sequence[str], sizes: Sequence[int]) -> pa.StringArray:
    parts = [pa.repeat(str(value), size) for value, size in zip(values, sizes, strict=True)]
    return pa.concat_arrays(parts)


def empty_lists(rows: int) -> pa.ListArray:
    """Return `rows` empty lists of problems."""
    offsets = pa.array(np.zeros(rows + 1, np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array([], PROBLEM), type=PROBLEMS)


def true_rows(mask: pa.Array) -> Rows:
    """Return the numbers of the rows where `mask` is true."""
    if mask.true_count == 0:
        return np.empty(0, np.int64)
    filled = pc.fill_null(mask, False) if mask.null_count else mask
    return np.flatnonzero(filled.to_numpy(zero_copy_only=False)).astype(np.int64)


def check_secrets(texts: pa.StringArray, field: str, findings: Findings) -> None:
    """Refuse rows with an API key, or another live secret, in what is sent, stored or published.

    Args:
        texts: one of each row, as it would be.
        field: what they are, for messages.
        findings: takes the problems.
    """
    told = (
        "has an API key in it, or another secret; take it out of the catalog, and have it "
        "replaced if others may have seen it"
    )
    findings.add(np.array(rows_with_secrets(texts), np.int64), field, ProblemCode.EXPOSES_KEY, told)


def shown(values: pa.Array) -> pa.Array:
    """Return values as a message shows them: shortened, and nothing in them unseen."""
    texts = values.cast(pa.string()) if values.type != pa.string() else values
    texts = column_without_secrets(texts)  # before it is cut, and a secret in it too
    # One cell may hold a page, and would be repeated in every table and log.
    long = pc.greater(pc.utf8_length(texts), _SHOWN)
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, _SHOWN), "…", "")
    texts = pc.fill_null(pc.if_else(long, cut, texts), "")
    # One look at all of them: most have none.
    for character in sorted(set(_UNSEEN.findall("".join(texts.to_pylist())))):
        texts = pc.replace_substring(texts, character, f"<U+{ord(character):04X}>")
    return texts
