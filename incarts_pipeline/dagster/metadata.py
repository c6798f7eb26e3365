"""Metadata of runs and plans: plain numbers that plot over time, and tables that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from incarts_pipeline.dagster.columns import KEY_COLUMN, MEANINGS
from incarts_pipeline.dagster.reasons import cell, table
from incarts_pipeline.differences import told
from incarts_pipeline.outgoing import in_markdown, safe, shown
from incarts_pipeline.text import Surface, each_part, joined, spelled

if TYPE_CHECKING:
    import pyarrow as pa

    from incarts_pipeline.mapping import Mapping as LinkMapping
    from incarts_pipeline.pipeline import RunResult
    from incarts_pipeline.plan import Plan, PlanFigures
    from incarts_pipeline.settings import LedgerPlace
    from incarts_pipeline.write import RunMetrics

Metadata = dict[str, Any]

LEDGER = "incarts/ledger"  # which ledger a materialization was made from, and how far it had come
_FAILURES = 10
_VALUES = 3  # of one row, as they were and will be
# Shares, rates and nights can't be added up: the last partition's are shown.
_NOT_ADDED = {"incarts/share_429", "incarts/limit_per_second", "incarts/nights_left"}


def run_metadata(result: RunResult, metrics: RunMetrics) -> Metadata:
    """Return what one run over one catalog, or partition, did.

    Args:
        result: how the run came out.
        metrics: what it counted on the way.
    """
    # Also those that are 0: a plot has no gaps then.
    counts = {f"incarts/{status.value}": n for status, n in result.published.by_status.items()}
    refused = metrics.errors["429"]
    links = result.published.output.links
    place = safe(links)
    found: Metadata = {
        "dagster/row_count": sum(counts.values()),
        **counts,
        "incarts/missing": sum(result.figures.missing.values()),
        "incarts/requests": result.written.requests,
        "incarts/remaining": result.written.remaining,
        "incarts/share_429": refused / result.written.requests if result.written.requests else 0.0,
        "incarts/seconds": round(result.seconds, 3),
        "incarts/run_id": result.written.run_id,
        LEDGER: _ledger_mark(result.ledger),
        "dagster/uri": place,
        "path": dg.MetadataValue.path(place),
    }
    if metrics.limit is not None:
        found["incarts/rate_limit"] = str(metrics.limit)
        found["incarts/limit_per_second"] = float(metrics.limit.rate)
    if result.figures.catalog_version is not None:
        found["incarts/catalog_version"] = result.figures.catalog_version
    if result.nights_left is not None:
        found["incarts/nights_left"] = result.nights_left
    if result.figures.scopes:
        found["incarts/scopes"] = ", ".join(sorted(result.figures.scopes))
    failures = failures_table(links)
    if failures:
        found["first failures"] = dg.MetadataValue.md(failures)
    return found


def _ledger_mark(ledger: LedgerPlace | None) -> dg.JsonMetadataValue:
    """Return how far a ledger has come: an older one can't pass for the newest then."""
    from incarts_pipeline.ledger import LedgerReader

    facts = LedgerReader(ledger).facts if ledger is not None else {}
    names = {"ledger_id": "ledger_id", "ledger_sequence": "sequence", "base_url": "base_url"}
    return dg.MetadataValue.json({own: facts.get(name, "") for own, name in names.items()})


def summed(parts: Sequence[Metadata]) -> Metadata:
    """Return the metadata of several partitions together: what can be added is added."""
    total: Metadata = {}
    for part in parts:
        for name, value in part.items():
            adds = isinstance(value, int | float) and name not in _NOT_ADDED
            total[name] = total.get(name, 0) + value if adds else value
    # There is no one file any more that a link could lead to.
    if len(parts) > 1:
        total.pop("path", None)
        total.pop("dagster/uri", None)
    return total


def run_line(result: RunResult) -> str:
    """Return on one line what a run made, and how: for the log, also of one that was terminated."""
    from incarts_pipeline.text import counted

    written = result.written
    rows = [f"{n:,} {status.value}" for status, n in result.published.by_status.items() if n]
    line = (
        f"run {written.run_id}: {counted(written.accepted, 'link')} made with "
        f"{counted(written.requests, 'request')} in {result.seconds:,.1f} s; "
        f"rows: {', '.join(rows) or 'none'}"
    )
    if written.stopped is not None:
        line += f"; stopped ({written.stopped.value}), run again to go on"
    return shown(line)


def plan_line(plan: Plan) -> str:
    """Return a plan's numbers on one line: calls, rows by action and reason, broken rules."""
    from incarts_pipeline.display import problem_groups

    figures = plan.figures
    rows: Counter[tuple[str, str]] = Counter()
    for count in figures.counts:
        rows[count.action.value, count.reason.value] += count.rows
    line = "; ".join([f"{_calls(figures)} for {figures.rows:,} rows", *_nights(figures)])
    if rows:
        line += ": " + ", ".join(f"{n:,} {act} ({why})" for (act, why), n in rows.items())
    broken = problem_groups(plan)
    if broken:
        line += "; problems: " + ", ".join(f"{g.rows:,} {g.field} {g.code}" for g in broken)
    return shown(line)


def plan_text(figures: PlanFigures, partition: str | None) -> str:
    """Return a plan as Markdown."""
    lines = [f"**{in_markdown(partition)}**\n"] if partition is not None else []
    lines += ["| action | reason | rows | calls |", "|---|---|---:|---:|"]
    lines += [
        f"| {count.action.value} | {count.reason.value} | {count.rows:,} | {count.calls:,} |"
        for count in figures.counts
    ]
    lines += _changed(figures)
    if figures.catalog_version is not None:
        lines.append(f"\nThe catalog is {figures.catalog_version}.")
    if figures.doubts:
        lines.append(f"\n{figures.doubts:,} calls in doubt would be settled first.")
    if figures.seconds is not None:
        lines.append(f"\n{_calls(figures)}, about {figures.seconds:,.0f} s.")
    lines += [f"\nHeld to its limit and time, {line}." for line in _nights(figures)]
    if figures.scopes:
        lines.append(f"\nScopes needed: {in_markdown(', '.join(sorted(figures.scopes)))}.")
    lines += [f"\n{in_markdown(spelled(warning, Surface.DAGSTER))}" for warning in figures.warnings]
    for refusal in figures.refusals:
        text = spelled(
            each_part(joined(" ", [refusal.message, refusal.fix]), shown), Surface.DAGSTER
        )
        said = "  \n".join(map(in_markdown, text.split("\n")))  # two spaces keep the break
        lines.append(f"\n**Would be refused** ({in_markdown(refusal.guard)}): {said}")
    lines.append(f"\nDigest: `{figures.digest}`")
    return "\n".join(lines)


def _calls(figures: PlanFigures) -> str:
    from incarts_pipeline.display import calls_to_make

    return calls_to_make(figures, "call")


def _nights(figures: PlanFigures) -> list[str]:
    from incarts_pipeline.display import nights_lines

    return nights_lines(figures)


def _changed(figures: PlanFigures) -> list[str]:
    """Return what changes in rows that have a link: patterns, and a table of the first values."""
    lines = []
    for one in figures.changed:
        where = f"{one.action.value} ({one.reason.value})"
        lines.append(f"\n**{where}**\n")
        lines += [f"- {cell(line)}" for line in one.patterns()]
        lines += ["", "| key | field | was | will be |", "|---|---|---|---|"]
        lines += [
            "| "
            + " | ".join(map(cell, (row.keys, found.path, told(found.old), told(found.new))))
            + " |"
            for row in one.examples
            for found in row.differences[:_VALUES]
        ]
    return lines


def failures_table(links: str) -> str:
    """Return the first rows without a link of an output as a Markdown table, empty for none."""
    import pyarrow.compute as pc

    from incarts_pipeline.publish import published_batches

    names = ["catalog_row", "row_key", "status", "reason", "problems", "error_message"]
    failed = ["rejected", "in_doubt", "pending"]
    failed_rows: list[dict[str, Any]] = []
    for batch in published_batches(links, names):  # only these, and no further than needed
        wrong = batch.filter(pc.is_in(batch.column("status"), _array(failed)))
        failed_rows += wrong.slice(0, _FAILURES - len(failed_rows)).to_pylist()
        if len(failed_rows) >= _FAILURES:
            break
    if not failed_rows:
        return ""
    lines = []
    for row in failed_rows:
        why = "; ".join(f"{p['field']}: {p['message']}" for p in row["problems"] or ())
        cells = (row["catalog_row"], row["row_key"], row["status"], row["reason"])
        lines.append([*cells, why or row["error_message"]])
    return table(["row", "key", "status", "reason", "why"], lines)


def _array(values: Iterable[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(values))


def column_schema(links: str) -> dg.TableSchema:
    """Return the columns of an output, from its file, and what each means."""
    from incarts_pipeline.publish import published_schema

    return dg.TableSchema(
        [
            dg.TableColumn(field.name, str(field.type), MEANINGS.get(field.name, KEY_COLUMN))
            for field in published_schema(links)
            if field.name
        ]
    )


def column_lineage(
    upstream: dg.AssetKey, mapping: LinkMapping, columns: Sequence[str]
) -> dg.TableColumnLineage:
    """Say which columns of the catalog each column of the output comes from.

    Args:
        upstream: the catalog's asset.
        mapping: which columns make up key and content.
        columns: those of the output.
    """
    keys = list(mapping.unique_key)
    used = sorted(mapping.columns())
    # What the API answers comes from no column; only what is computed from the catalog has a line.
    deps: Mapping[str, list[str]] = {
        **{name: [name] for name in keys if name in columns},
        "row_key": keys,
        "content_hash": used,
    }
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(upstream, name) for name in names]
            for column, names in deps.items()
        }
    )
