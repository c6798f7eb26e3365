"""Failures of a run, grouped by why, each group with its fix and a few rows. Pure Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from incarts_pipeline.display import answer_remedies, remedies
from incarts_pipeline.models import SUSPICIONS, NoteCode, Reason, Status

FAILED = (Status.REJECTED, Status.IN_DOUBT, Status.HELD, Status.PENDING)
COLUMNS = (
    *("catalog_row", "row_key", "status", "reason"),
    *("http_status", "error_code", "error_message", "problems"),
)
_BY_RULE = pa.array(sorted({Reason.INVALID, Reason.DUPLICATE_KEY, *SUSPICIONS}))
_KEYS = ["status", "reason", "field", "code", "http_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that failed alike; `examples` are (catalog row, row key, what was said)."""

    status: Status
    what: str
    meaning: str
    fix: str
    rows: int
    examples: Sequence[tuple[int, str, str]] = field(default=())


def failure_groups(table: pa.Table, *, examples: int = 3, most: int = 20) -> list[Group]:
    """Group the failed rows of a table with the columns of links.parquet, largest groups first.

    A row that breaks several rules counts in each of their groups. At most `most` groups.

    Args:
        table: rows with the columns `COLUMNS` of links.parquet.
        examples: rows shown of each group.
        most: groups returned.
    """
    failed = table.select(COLUMNS).filter(pc.is_in(table["status"], pa.array(FAILED)))
    # Two kinds of rows: those that never left are told by their rules, the others by their answer.
    flat = pa.concat_tables([_by_rule(failed), _by_answer(failed)])
    counts = flat.group_by(_KEYS).aggregate([("catalog_row", "count_distinct")]).to_pylist()
    # What Incarts or we refused first, then doubts; what is merely pending last.
    counts.sort(key=lambda one: (FAILED.index(one["status"]), -one["catalog_row_count_distinct"]))
    return [_group(flat, one, examples) for one in counts[:most]]


def _by_rule(failed: pa.Table) -> pa.Table:
    """Return a row per broken rule, or suspicion, of the rows that were never sent."""
    own = failed.filter(pc.is_in(failed["reason"], _BY_RULE)).combine_chunks()
    problems = own["problems"].combine_chunks()
    # `combine_chunks` leaves a column without rows chunked.
    if isinstance(problems, pa.ChunkedArray):
        problems = pa.concat_arrays(problems.chunks or [pa.array([], problems.type)])
    parents = pc.list_parent_indices(problems)
    parts = pc.list_flatten(problems)
    code = pc.struct_field(parts, "code")
    flat = pa.table(
        {
            **{name: own[name].take(parents) for name in ("catalog_row", "row_key", "status")},
            "reason": own["reason"].take(parents),
            "field": pc.struct_field(parts, "field"),
            "code": code,
            "http_status": pa.nulls(len(parts), pa.int32()),
            "message": pc.struct_field(parts, "message"),
        }
    )
    # Notes reject and hold nothing. By the code, since files of earlier versions name no severity.
    return flat.filter(pc.invert(pc.is_in(code, pa.array(list(NoteCode)))))


def _by_answer(failed: pa.Table) -> pa.Table:
    """Return the other rows, told apart by the last answer where it matters."""
    others = failed.filter(pc.invert(pc.is_in(failed["reason"], _BY_RULE)))
    # For a pending row, the last answer is an older attempt's, and would split its group.
    said = pc.is_in(
        others["reason"],
        pa.array([Reason.REFUSED_BY_API, Reason.ANSWER_UNKNOWN, Reason.NEEDS_REVIEW]),
    )
    message = pc.coalesce(others["error_message"], others["error_code"], pa.scalar(""))
    return pa.table(
        {
            **{name: others[name] for name in ("catalog_row", "row_key", "status", "reason")},
            "field": pa.nulls(len(others), pa.string()),
            "code": pc.if_else(said, others["error_code"], None),
            "http_status": pc.if_else(said, others["http_status"], None),
            "message": pc.if_else(said, message, ""),
        }
    )


def _group(flat: pa.Table, key: Mapping[str, object], examples: int) -> Group:
    mask = None
    for name in _KEYS:
        column, value = flat[name], key[name]
        # Null equals nothing, and groups have nulls in their key.
        same = pc.is_null(column) if value is None else pc.equal(column, pa.scalar(value))
        mask = same if mask is None else pc.and_kleene(mask, same)
    shown = flat.filter(mask).slice(0, examples)
    reason, code, http_status = Reason(str(key["reason"])), key["code"], key["http_status"]
    if key["field"] is not None:
        fix, what = (
            remedies.PROBLEMS.get(str(code), remedies.REASONS[reason]),
            f"{key['field']}: {code}",
        )
    else:
        status = http_status if isinstance(http_status, int) else None
        said = str(code) if code is not None else None
        fix = answer_remedies.of_row(reason, http_status=status, error_code=said)
        what = " ".join(str(part) for part in (reason.value, status, said) if part is not None)
    return Group(
        status=Status(str(key["status"])),
        what=what,
        meaning=fix.meaning,
        fix=fix.fix,
        rows=int(str(key["catalog_row_count_distinct"])),
        examples=[
            (row["catalog_row"], row["row_key"] or "", row["message"] or "")
            for row in shown.select(["catalog_row", "row_key", "message"]).to_pylist()
        ],
    )
