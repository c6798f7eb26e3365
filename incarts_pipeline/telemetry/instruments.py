"""Instruments: the metrics of a run, counted as its answers come and when it ends."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from incarts_pipeline.models import Answer, AnswerKind
from incarts_pipeline.telemetry.spans import cleaned, note
from incarts_pipeline.telemetry.switch import meter

# Of one answer: itself, its seconds, and limit and pace as of then, in requests a second.
Heard = Callable[[Answer, float, float | None, float | None], None]


def answers_heard() -> Heard | None:
    """Return what is to hear of each answer, None where nobody wants metrics."""
    made = _instruments()
    return None if made is None else made.heard


def run_ended(
    *, run_id: str, kind: str, rows: Mapping[str, int], requests: int, seconds: float
) -> None:
    """Tell how a run came out: attributes of its span, and metrics.

    Args:
        run_id: of the ledger.
        kind: what was made: link or qr_code.
        rows: rows by status.
        requests: attempts that left.
        seconds: of the run.
    """
    counts = {f"rows.{status}": n for status, n in rows.items()}
    note(run_id=run_id, kind=kind, requests=requests, seconds=round(seconds, 3), **counts)
    made = _instruments()
    if made is not None:
        for status, n in rows.items():
            if n:
                made.links.add(n, cleaned({"status": status, "kind": kind}))
        made.doubts.set(rows.get("in_doubt", 0), cleaned({"kind": kind}))
        made.runs.record(seconds, cleaned({"kind": kind}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """OpenTelemetry's instruments, which docs/observability.md lists."""

    links: Any
    requests: Any
    refusals: Any
    latency: Any
    pace: Any
    limit: Any
    doubts: Any
    runs: Any

    def heard(
        self, answer: Answer, latency: float, limit: float | None, pace: float | None
    ) -> None:
        """Count one answer."""
        # Few values each: a text of the server's in an attribute would be a series of its own.
        outcome = cleaned({"outcome": answer.kind.value})
        self.requests.add(1, outcome)
        self.latency.record(latency, outcome)
        if answer.kind is not AnswerKind.LINK:
            self.refusals.add(1, outcome | cleaned({"http_status": answer.status}))
        if pace is not None:
            self.pace.set(pace)
        if limit is not None:
            self.limit.set(limit)


def _instruments() -> Instruments | None:
    made = meter()
    return None if made is None else _of(made)


@functools.cache
def _of(made: Any) -> Instruments:
    return Instruments(
        links=made.create_counter("incarts.links", "{row}", "Rows by the status they ended with."),
        requests=made.create_counter("incarts.requests", "{request}", "Answers by outcome."),
        refusals=made.create_counter("incarts.refusals", "{request}", "Answers without a link."),
        latency=made.create_histogram(
            "incarts.request.duration", "s", "From sending a request to its answer."
        ),
        pace=made.create_gauge("incarts.pace", "{request}/s", "What the run aims at."),
        limit=made.create_gauge("incarts.limit", "{request}/s", "The limit that was learned."),
        doubts=made.create_gauge("incarts.doubts", "{row}", "Rows in doubt after the last run."),
        runs=made.create_histogram("incarts.run.duration", "s", "From planned to published."),
    )
