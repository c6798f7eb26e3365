"""Changed rows: which fields differ in how many rows of a plan, in which pattern, and the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from incarts_pipeline.kinds import Kind
from incarts_pipeline.models import Action, Reason
from incarts_pipeline.plan import change_queries as queries
from incarts_pipeline.plan.examples import Example, examples_of
from incarts_pipeline.plan.patterns import Pattern, proposals
from incarts_pipeline.plan.workspace import Workspace
from incarts_pipeline.text import counted

_ORDER = {action.value: place for place, action in enumerate(Action)}
_EXAMPLES = 3  # rows
_SETS = 5  # sets of fields that are told of, and fields
_SAMPLE = 1_000  # changes that patterns are proposed from
_FROM = 0.25  # share of a field's changes, below which a pattern says little


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSet:
    """How many rows change in just these fields."""

    fields: Sequence[str]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """How many values of one field change, and how many of them in the commonest pattern."""

    field: str
    values: int
    pattern: Pattern | None = None
    alike: int = 0

    def __str__(self) -> str:
        return f"{self.alike:,} of {self.values:,} {self.field}: {self.pattern}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRows:
    """What changes in the rows that get one action for one reason.

    `sets` are the commonest sets of fields and `fields` the commonest fields; all are counted over
    all rows. `others` are rows in further sets. `unknown` are rows of which nobody knows what their
    link was made with, as it was imported.
    """

    link_set: str
    action: Action
    reason: Reason
    rows: int
    sets: Sequence[FieldSet]
    fields: Sequence[FieldChange]
    examples: Sequence[Example]
    others: int = 0
    unknown: int = 0

    def patterns(self) -> list[str]:
        """Return what the rows have in common, a line for each set of fields and each pattern."""
        lines = [
            f"{one.rows:,} of {self.rows:,}: only {', '.join(one.fields)}" for one in self.sets
        ]
        if self.others:
            lines.append(f"{self.others:,} of {self.rows:,}: other fields")
        if self.unknown:
            were = counted(self.unknown, "was an imported link", "were imported links")
            lines.append(f"{were}, whose earlier content nobody knows")
        return lines + [str(one) for one in self.fields if one.pattern is not None]


def changed_rows(workspace: Workspace, kind: Kind) -> list[ChangedRows]:
    """Return what changes in the rows that have a link of other content, action by action."""
    kinds = workspace.db.execute(queries.KINDS).fetchall()
    return [
        _changed_rows(workspace, kind, link_set, Action(action), Reason(reason))
        for link_set, action, reason in sorted(kinds, key=lambda one: (_ORDER[one[1]], one))
    ]


def replaced_lines(changed: Sequence[ChangedRows], link_set: str) -> list[str]:
    """Return what the links of a set that would be replaced have in common, and the first ones."""
    return [
        line
        for one in changed
        if (one.link_set, one.action) == (link_set, Action.REPLACE)
        for line in (*one.patterns(), *map(str, one.examples))
    ]


def _changed_rows(
    workspace: Workspace, kind: Kind, link_set: str, action: Action, reason: Reason
) -> ChangedRows:
    db = workspace.db
    asked = {"link_set": link_set, "action": action.value, "reason": reason.value}
    db.execute(queries.OF_KIND, asked)
    [(rows, unknown)] = db.execute(queries.COUNT).fetchall()
    sets = [
        FieldSet(fields=fields, rows=n)
        for fields, n in db.execute(queries.FIELD_SETS, {"most": _SETS}).fetchall()
    ]
    return ChangedRows(
        link_set=link_set,
        action=action,
        reason=reason,
        rows=rows,
        sets=sets,
        fields=list(_fields(db)),
        examples=examples_of(workspace, kind, **asked, n=_EXAMPLES),
        others=rows - unknown - sum(one.rows for one in sets),
        unknown=unknown,
    )


def _fields(db: duckdb.DuckDBPyConnection) -> Iterator[FieldChange]:
    for field, n in db.execute(queries.FIELDS, {"most": _SETS}).fetchall():
        sample = db.execute(queries.SAMPLE, {"field": field, "n": _SAMPLE}).fetchall()
        pattern, alike = _commonest(db, field, proposals(sample))
        telling = alike >= _FROM * n
        yield FieldChange(
            field=field,
            values=n,
            pattern=pattern if telling else None,
            alike=alike if telling else 0,
        )


def _commonest(
    db: duckdb.DuckDBPyConnection, field: str, proposed: Sequence[Pattern]
) -> tuple[Pattern | None, int]:
    """Return the pattern that most changes of a field have, counted in all of them."""
    best: tuple[Pattern | None, int] = (None, 0)
    for pattern in proposed:
        query = queries.ALIKE.format(condition=pattern.form.value)
        [(n,)] = db.execute(query, {"field": field, **pattern.parameters()}).fetchall()
        if n > best[1]:
            best = (pattern, n)
    return best
